"""Find misspellings, and phrases that are not plain English, in all tracked text: ``python -m docs.plain [PATH ...]``.

Prints ``file:line: phrase => suggestion`` and exits with 1 if it finds anything. `codespell` checks single words, with
its own dictionaries and `plain-words.txt`; `plain-phrases.txt` lists the phrases. A line with ``codespell:ignore`` is
skipped. ``--sample 40`` prints random sentences instead, for the check that no tool can do: none of them should need a
second reading.
"""

import io
import random
import re
import subprocess
import sys
import tokenize
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[1]
PHRASES = Path(__file__).with_name("plain-phrases.txt")
WORDS = Path(__file__).with_name("plain-words.txt")
SKIPPED = re.compile(
    r"(^|/)(vendor|cases)/|\.(png|svg|lock)$|^LICENSE$"
    r"|^docs/(openapi\.json|transcript\.schema\.json|faults\.(json|md)|plain-\w+\.txt)$|^monitoring/(grafana|kubernetes)/"
    r"|^stenopool/languages\.json$"
)
"""Vendored and generated files, codes of languages, hostile test input, and the lists of phrases."""

GENERATED = "<!-- Written by `python -m"
RELEASED = "\n## [0."
"""Where the history begins in CHANGELOG.md."""

IGNORED = "codespell:ignore"
# Between two words: spaces, an underscore, or the end of a line (and of a string) and the start of the next.
GAP = re.compile(r"_|[ \t]*[\"'`]?[ \t]*(?:\n[ \t]*(?:(?:#:?|//|\*|>|--)[ \t])?[rf]?[\"'`]?)+|[ \t]+")


class Finding(NamedTuple):
    path: str
    line: int
    text: str
    suggestion: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text} => {self.suggestion}"


def read_phrases() -> list[tuple[re.Pattern[str], str]]:
    """The phrases, each as a pattern for text whose gaps are single spaces, with the suggestion."""
    lines = [line for line in PHRASES.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    pairs = [line.rpartition(" => ")[::2] for line in lines]
    return [(re.compile(pattern, re.IGNORECASE), suggestion) for pattern, suggestion in pairs]


def tracked(paths: Sequence[str] = ()) -> list[str]:
    """The files to check, relative to the repository."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *paths]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    names = [name for name in listed.splitlines() if not SKIPPED.search(name) and (REPOSITORY / name).is_file()]
    return [name for name in names if GENERATED not in (REPOSITORY / name).read_text("utf-8", "replace")[:200]]


def find_phrases(path: str, text: str, phrases: list[tuple[re.Pattern[str], str]]) -> Iterator[Finding]:
    """The phrases in the text, also those that a line break divides."""
    if path == "CHANGELOG.md":
        text = text.partition(RELEASED)[0]
    lines = text.splitlines()
    spaced, starts, end = [], [], 0  # the text with single spaces, and where each of its parts starts in the original
    length = 0
    for gap in GAP.finditer(text):
        spaced += [text[end : gap.start()], " "]
        starts += [(length, end), (length + gap.start() - end, gap.start())]
        length += gap.start() - end + 1
        end = gap.end()
    spaced.append(text[end:])
    starts.append((length, end))
    joined = "".join(spaced)
    for pattern, suggestion in phrases:
        for match in pattern.finditer(joined):
            place = _original(match.start(), starts)
            line = text.count("\n", 0, place) + 1
            last = text.count("\n", 0, _original(match.end() - 1, starts)) + 1
            if not any(IGNORED in each for each in lines[line - 1 : last]):
                yield Finding(path, line, match.group(), suggestion)


def _original(place: int, starts: list[tuple[int, int]]) -> int:
    at, origin = starts[bisect_right(starts, (place, sys.maxsize)) - 1]
    return origin + place - at


def find_words(paths: list[str]) -> Iterator[Finding]:
    """What codespell finds; its own settings are in pyproject.toml."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "codespell_lib",
        "--quiet-level=35",
        f"--dictionary={WORDS}",
        "--dictionary=-",
    ]
    for start in range(0, len(paths), 500):
        done = subprocess.run(
            [*command, *paths[start : start + 500]], cwd=REPOSITORY, capture_output=True, text=True, check=False
        )
        if done.returncode not in (0, 65):
            raise SystemExit(done.stderr or done.stdout)
        for path, line, text, suggestion in re.findall(r"^(.+?):(\d+): (.+?) ==> (.+)$", done.stdout, re.MULTILINE):
            if path != "CHANGELOG.md" or int(line) <= _unreleased():
                yield Finding(path, int(line), text, suggestion.rstrip(","))


def _unreleased() -> int:
    """The last line of CHANGELOG.md before the history."""
    return (REPOSITORY / "CHANGELOG.md").read_text("utf-8").partition(RELEASED)[0].count("\n")


def read_sentences(path: str) -> Iterator[str]:
    """The sentences of a page's prose, or of the comments, docstrings and messages of a Python file."""
    text = (REPOSITORY / path).read_text("utf-8", "replace")
    if path.endswith(".md"):
        text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
        blocks = re.split(r"\n\s*\n|\n\s*(?:[*-]|\d+\.) |\|", text)
    elif path.endswith(".py"):
        blocks, comment = [], ""
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                comment += token.string.lstrip("# ") + " "
            elif token.type != tokenize.NL:
                blocks.append(comment)
                comment = ""
                if token.type == tokenize.STRING:
                    blocks += re.split(r"\n\s*\n", token.string.strip("rfb\"'"))
    else:
        return
    for block in blocks:
        for sentence in re.split(r"(?<=[.:]) +(?=[A-Z])", re.sub(r"\s+", " ", block).strip()):
            if sentence.endswith(".") and len(sentence.split()) >= 6:
                yield sentence


def print_sample(count: int, paths: Sequence[str] = ()) -> None:
    """Print sentences at random."""
    found = [(path, sentence) for path in tracked(paths) for sentence in read_sentences(path)]
    for path, sentence in random.sample(found, min(count, len(found))):
        print(f"{path}: {sentence}")


def main(paths: Sequence[str] = ()) -> int:
    """Check all tracked text, or what is below the paths."""
    if paths and paths[0] == "--sample":
        print_sample(int(paths[1]), paths[2:])
        return 0
    files, phrases = tracked(paths), read_phrases()
    found = list(find_words(files))
    for path in files:
        found += find_phrases(path, (REPOSITORY / path).read_text("utf-8", "replace"), phrases)
    for finding in sorted(found):
        print(finding)
    if found:
        folders = Counter(finding.path.partition("/")[0] for finding in found)
        print(f"{len(found)} in {len(files)} files:", ", ".join(f"{name} {n}" for name, n in folders.most_common()))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
