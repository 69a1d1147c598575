"""The Markdown files of this repository: links, headings, commands."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[2]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(<?([^)\s>]+)>?\)")
OPERATORS = {"|", "||", "&", "&&", ";", ">", ">>", "<", "2>", "(", ")"}


class Command(NamedTuple):
    """A simple command in a shell block, without pipes and redirections."""

    words: list[str]
    place: str


def files() -> list[Path]:
    """Every Markdown file that git tracks or will track."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    return [REPOSITORY / name for name in listed.splitlines() if (REPOSITORY / name).exists()]


def broken_links(file: Path) -> list[str]:
    """Broken relative links of the file, including links to headings."""
    text = FENCE.sub("", file.read_text(encoding="utf-8"))
    found = []
    for link in LINK.findall(re.sub(r"`[^`\n]*`", "", text)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, heading = link.partition("#")
        target = (file.parent / path) if path else file
        if not target.exists() or (heading and target.suffix == ".md" and heading not in headings(target)):
            found.append(link)
    return found


def headings(file: Path) -> set[str]:
    """GitHub's anchors of the file's headings."""
    text = FENCE.sub("", file.read_text(encoding="utf-8"))
    names = re.findall(r"^#+ +(.*?)\s*$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", name).lower()).replace(" ", "-") for name in names}


def blocks(file: Path, language: str) -> Iterator[str]:
    """The fenced blocks of a language, without their indentation."""
    for indent, found, text in FENCE.findall(file.read_text(encoding="utf-8")):
        if found == language:
            yield re.sub(f"^{indent}", "", text, flags=re.MULTILINE)


def commands(file: Path) -> Iterator[Command]:
    """The simple commands in the file's shell blocks. Substitutions by the shell become 1."""
    for language in ("sh", "bash", "console"):
        for block in blocks(file, language):
            for line in block.replace("\\\n", " ").splitlines():
                yield from _simple(line, str(file.relative_to(REPOSITORY)))


def undefined(file: Path) -> list[str]:
    """Variables that the file's shell blocks use and that no line before gives a value, as in a newcomer's shell."""
    known, found = {"HOME", "PATH", "PWD", "USER"}, []
    for block in (block for language in ("sh", "bash", "console") for block in blocks(file, language)):
        for line in re.sub(r"'[^'\n]*'", "''", block).splitlines():
            line = line.partition(" # ")[0]
            known |= set(re.findall(r"(?:^|[\s;&(])(?:(?:export|for|read) +)?(\w+)(?==| in )", line))
            found += [name for name in re.findall(r"\$\{?([A-Za-z_]\w*)", line) if name not in known]
    return found


def _simple(line: str, place: str) -> Iterator[Command]:
    while (inner := re.sub(r"\$\([^()]*\)", "1", line)) != line:
        line = inner
    line = re.sub(r"\$\{?\w+\}?", "1", line)
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>()")
    lexer.whitespace_split = True
    words: list[str] = []
    try:
        tokens = list(lexer)
    except ValueError:  # a quotation over several lines, which our commands do not use
        return
    for token in [*tokens, ";"]:
        if token not in OPERATORS:
            words.append(token)
            continue
        # NAME=value in front is the command's environment.
        while words and re.match(r"[A-Z_]+=", words[0]):
            words.pop(0)
        if words:
            yield Command(words, place)
        words = []
