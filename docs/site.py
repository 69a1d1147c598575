"""Build these pages as a site: ``python -m docs.site [FOLDER]``.

Zensical reads one folder of pages, so this copies every Markdown file of the repository, with its pictures, to
`FOLDER/pages` under the same path. Links between pages stay; links to any other file lead to GitHub. `zensical.toml`
orders the pages. A broken link fails the build. The default folder is `build/docs`; the site is in `FOLDER/site`.
"""

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]
CONFIGURATION = REPOSITORY / "zensical.toml"
SOURCE = "https://github.com/stenopool/stenopool"

PICTURES = {".png", ".svg"}
_CODE = re.compile(r"(^ *```.*?^ *```$|`[^`\n]*`)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<=\]\()[^)\s]+(?=\))")


def find_pages() -> list[Path]:
    """The Markdown files, relative to the repository."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    return [Path(name) for name in listed.splitlines() if "vendor" not in name and (REPOSITORY / name).exists()]


def navigation(entries: list[Any] | None = None) -> Iterator[str]:
    """The pages that `zensical.toml` lists, in their order."""
    if entries is None:
        entries = tomllib.loads(CONFIGURATION.read_text("utf-8"))["project"]["nav"]
    for entry in entries:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            yield from navigation(value) if isinstance(value, list) else [value]


def rewrite(page: Path, text: str, pages: set[Path]) -> tuple[str, set[Path]]:
    """The text with links that work on the site, and the pictures that it shows."""
    pictures = set()

    def resolve(match: re.Match[str]) -> str:
        path, _, anchor = match.group().partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return match.group()
        target = (REPOSITORY / page.parent / path).resolve()
        if not target.exists():
            raise SystemExit(f"{page}: the link {match.group()} leads nowhere")
        relative = target.relative_to(REPOSITORY)
        if relative.suffix in PICTURES:
            pictures.add(relative)
        elif relative not in pages:
            kind = "tree" if target.is_dir() else "blob"
            return f"{SOURCE}/{kind}/main/{relative}" + (f"#{anchor}" if anchor else "")
        return match.group()

    parts = _CODE.split(text)
    parts[::2] = [_LINK.sub(resolve, part) for part in parts[::2]]
    return _indent("".join(parts)), pictures


def _indent(text: str) -> str:
    """Indent blocks that are nested in a list by four spaces, which Python-Markdown requires and GitHub does not."""
    lines, fenced, shift = [], False, 0
    for line in text.split("\n"):
        spaces = len(line) - len(line.lstrip(" "))
        if not fenced:
            shift = 4 - spaces if spaces in (2, 3) else 0
        if line.lstrip().startswith("```"):
            fenced = not fenced
        lines.append(" " * shift + line if line else line)
    return "\n".join(lines)


def collect(folder: Path) -> None:
    """Write pages and pictures to the folder."""
    pages = find_pages()
    for page in pages:
        text, pictures = rewrite(page, (REPOSITORY / page).read_text("utf-8"), set(pages))
        (folder / page).parent.mkdir(parents=True, exist_ok=True)
        (folder / page).write_text(text, "utf-8")
        for picture in pictures:
            (folder / picture).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / picture, folder / picture)


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Zensical on the pages that `collect` wrote to `folder/pages`."""
    configuration = shutil.copy(CONFIGURATION, folder)
    command = [sys.executable, "-P", "-m", "zensical", "build", "--strict", "--clean", f"--config-file={configuration}"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def main(folder: Path) -> int:
    """Collect the pages and build the site."""
    shutil.rmtree(folder / "pages", ignore_errors=True)
    collect(folder / "pages")
    done = build(folder)
    print(done.stdout, done.stderr if done.returncode else folder / "site" / "index.html", sep="")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else REPOSITORY / "build" / "docs")))
