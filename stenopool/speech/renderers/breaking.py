"""Width, line breaks and reading direction of text in every script."""

import re
import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache
from itertools import accumulate, pairwise
from typing import Any, Literal

from stenopool.languages import HAN, HANGUL, KANA, SOUTH_EAST_ASIAN, SPACELESS

_BREAKING = re.compile(rf"[{SPACELESS}\u0f00-\u0fff]")  # Tibetan has spaces, but only after phrases
_RUN = re.compile(f"[{SOUTH_EAST_ASIAN}]+")
_THAI = re.compile("[\u0e00-\u0e7f]")
_KANA, _HAN, _HANGUL = re.compile(f"[{KANA}]"), re.compile(f"[{HAN}]"), re.compile(f"[{HANGUL}]")
# Thai and Lao vowels that are letters: those written after their consonant, and those written before it.
_FOLLOWING, _LEADING = "ฯะาำๅๆຯະາຳໆ", "เแโใไເແໂໃໄ"
_STACKED = "\u1039\u17d2"  # Burmese and Khmer: the next consonant is written below
_ASAT = "\u103a"  # Burmese: a consonant that ends its syllable

RTL, LTR, POP = "\u202b", "\u202a", "\u202c"  # embeddings: older than isolates, so more players support them
Direction = Literal["ltr", "rtl"]

# The libraries are imported only when a text needs them. English does not, and every command starts faster.


@lru_cache(maxsize=65_536)
def width(text: str) -> int:
    """Columns on a screen: two for a wide character or an emoji, none for a combining mark."""
    if text.isascii():
        return len(text)
    from wcwidth import width as width_of

    return max(0, width_of(text))


@lru_cache(maxsize=4096)
def clusters(text: str) -> tuple[str, ...]:
    """Split text into parts that must not be cut: a letter with its marks, vowels and stacked letters; an emoji."""
    parts: list[str] = []
    for part in _graphemes(text):
        if parts and _belong_together(parts[-1], part):
            parts[-1] += part
        else:
            parts.append(part)
    return tuple(parts)


def _belong_together(before: str, after: str) -> bool:
    return (
        unicodedata.category(after[0]).startswith("M")
        or after[0] in _FOLLOWING
        or before[-1] in _LEADING
        or before[-1] in _STACKED
        or _ASAT in after
    )


@lru_cache(maxsize=65_536)
def count(text: str) -> int:
    """Number of characters as a reader sees them (graphemes)."""
    return sum(1 for _ in _graphemes(text))


def _graphemes(text: str) -> Iterable[str]:
    if text.isascii():
        return text
    from wcwidth import iter_graphemes

    return iter_graphemes(text)


def _find_boundaries(text: str) -> set[int]:
    """Positions at which a line may begin according to UAX 14."""
    from uniseg.linebreak import line_break_boundaries

    return {*line_break_boundaries(text)}


def may_break_at_blank(before: str, after: str) -> bool:
    """Whether a line may end with ``before`` and the next begin with ``after``, if a space separates them (UAX 14).

    Lines do not break before closing punctuation, which follows a space in French, or after opening punctuation.
    """
    if before[-1:].isalnum() and after[:1].isalnum():
        return True
    return _may_break_at_blank(before[-8:], after[:8])


@lru_cache(maxsize=4096)
def _may_break_at_blank(before: str, after: str) -> bool:
    return len(before) + 1 in _find_boundaries(f"{before} {after}")


@lru_cache(maxsize=4096)
def find_breaks(text: str) -> dict[int, bool]:
    """Positions at which a text without spaces may break (UAX 14), and whether a phrase begins there.

    Empty if its script has spaces: such words are not broken, even at hyphens.
    """
    if not _BREAKING.search(text):
        return {}
    phrases = _find_phrases(text)
    inner = {*accumulate(map(len, clusters(text)))} - {len(text)}
    breaks = {at: at in phrases for at in _find_boundaries(text) if at in inner}
    # For these scripts, UAX 14 requires a dictionary. Thai has one here; the others break between syllables.
    for run in _RUN.finditer(text):
        within = {at: at in phrases for at in inner if run.start() < at < run.end()}
        breaks |= within if not _THAI.match(run[0]) else {at: True for at in within if at in phrases}
    return breaks


def find_any_breaks(text: str) -> dict[int, bool]:
    """Positions between characters, at which a text without spaces may break if it does not fit on a line."""
    parts = clusters(text)
    ends = accumulate(map(len, parts))
    better = _find_boundaries(text)  # e.g. after a slash
    return {at: at in better for at, *pair in zip(ends, parts, parts[1:], strict=False) if not _hold_together(*pair)}


def _hold_together(before: str, after: str) -> bool:
    """Whether one closes or opens the other as punctuation. False for a repeated mark, which may form a long row."""
    closes = unicodedata.category(after[0]) in ("Pe", "Pf", "Po")
    return before != after and (closes or unicodedata.category(before[-1]) in ("Ps", "Pi"))


def _find_phrases(text: str) -> set[int]:
    """Positions at which Thai words, or phrases in Japanese and Chinese, begin."""
    for script, language in ((_THAI, "thai"), (_KANA, "japanese"), (_HAN, "simplified_chinese")):
        if script.search(text):
            return {*accumulate(map(len, _parser(language).parse(text)))}
    return set()


@cache
def _parser(language: str) -> Any:
    import budoux

    return getattr(budoux, f"load_default_{language}_parser")()


def is_wide(text: str) -> bool:
    """Whether most of the text consists of wide characters: Chinese, Japanese, Korean."""
    return not text.isascii() and 2 * width(text) > 3 * count(text)


def reading_speed(text: str) -> int:
    """Characters per second that people can read: Netflix's limits for captions in the spoken language."""
    if not is_wide(text):
        return 20
    kana, han, hangul = (len(kind.findall(text)) for kind in (_KANA, _HAN, _HANGUL))
    if hangul > kana + han:
        return 14
    return 7 if kana else 11


def directions(text: str) -> dict[Direction, int]:
    """Number of letters in each reading direction."""
    if text.isascii():
        return {"ltr": sum(map(str.isalpha, text)), "rtl": 0}
    kinds = [unicodedata.bidirectional(character) for character in text]
    return {"ltr": kinds.count("L"), "rtl": kinds.count("R") + kinds.count("AL")}


def direction(text: str) -> Direction:
    """The reading direction of most letters of the text, even if it begins with a word in the other direction."""
    found = directions(text)
    return "rtl" if found["rtl"] > found["ltr"] else "ltr"


def embed(line: str, reading: Direction) -> str:
    """Mark the line so that every player shows it in this direction. Lines without right-to-left text stay as is."""
    if not directions(line)["rtl"]:
        return line
    return (RTL if reading == "rtl" else LTR) + line + POP


def units(text: str) -> list[str]:
    """A text without spaces, cut where lines may break."""
    return _cut_at(text, find_breaks(text))


def find_lines(text: str, columns: int) -> list[int]:
    """Positions at which to divide a text with single spaces into lines of at most this width."""
    pieces: list[str] = []
    for number, word in enumerate(text.split(" ")):
        first, *rest = units(word) if word else [""]
        if number and may_break_at_blank(pieces[-1], first):
            pieces[-1] += " "
            pieces.append(first)
        else:
            pieces.append(f"{pieces.pop()} {first}" if number else first)
        pieces += rest
    cuts, at, across = [], 0, 0
    for piece in pieces:
        whole = width(piece.rstrip()) <= columns
        for part in [piece] if whole else _cut_at(piece, find_any_breaks(piece)):
            wide = width(part.rstrip())
            if across and across + wide > columns:
                cuts.append(at)
                across = 0
            at, across = at + len(part), across + width(part)
    return cuts


def _cut_at(text: str, cuts: Iterable[int]) -> list[str]:
    return [text[begin:end] for begin, end in pairwise([0, *sorted(cuts), len(text)]) if end > begin]
