"""Whisper's languages: their codes and names, and how they are written."""

import json
import re
from difflib import get_close_matches
from functools import cache
from pathlib import Path

# Written without spaces between words: joining words with blanks would be wrong (openai-whisper's set).
NO_SPACE_LANGUAGES = frozenset({"zh", "ja", "th", "lo", "my", "yue"})

# Latin, ellipsis, Chinese and Japanese, Arabic and Urdu, Indic, Burmese, Khmer, Tibetan, Amharic, Armenian.
SENTENCE_END = tuple(".?!…。？！؟۔।॥။។།።։")
CLAUSE_END = tuple(",;:—–、，；：،؛၊፣")
# Closing quotes and brackets, which may follow a mark.
CLOSING = "\"'»”’)]」』】"

# Marks that openai-whisper joins to the word after or before them.
PREPENDED = "\"'“¿([{-"
APPENDED = "\"'.。,，!！?？:：”)]}、"


@cache
def _spellings() -> dict[str, list[str]]:
    """For each code: its English name, then its other names and its ISO 639 codes, those of three letters included."""
    spellings: dict[str, list[str]] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    return spellings


@cache
def language_names() -> dict[str, str]:
    """Each code's English name, in openai-whisper's order (`yue` since large-v3)."""
    return {code: spellings[0] for code, spellings in _spellings().items()}


@cache
def _codes() -> dict[str, str]:
    """Each spelling's code."""
    return {spelling: code for code, spellings in _spellings().items() for spelling in (code, *spellings)}


def find_language(text: str) -> str | None:
    """The code of a language that is given as a code, an English name, a language tag or a locale; else None.

    `de`, `deu`, `German`, `de-AT`, `de_DE.UTF-8`, `German (Austria)` and `zh-Hant` are all known. A tag's region and
    script are dropped: Whisper has one language for all of them.
    """
    wanted = re.sub(r"\s*\([^()]*\)$", "", text.strip().casefold())
    if found := _codes().get(re.sub(r"[-_\s]+", " ", wanted)):
        return found
    tag = re.fullmatch(r"([a-z]{2,3})((?:[-_][a-z0-9]{1,8})+)?(?:\.[\w-]+)?(?:@\w+)?", wanted)
    if tag is None:
        return None
    # `zh-yue` is Cantonese: a second part of three letters is a language of its own (RFC 5646).
    extended = re.match(r"[-_]([a-z]{3})(?![a-z0-9])", tag[2] or "")
    return (_codes().get(extended[1]) if extended else None) or _codes().get(tag[1])


def suggest_language(text: str) -> str:
    """`; did you mean de (german)?` for a misspelt language; empty where none is near."""
    names = [name for name in _codes() if len(name) > 3]
    near = get_close_matches(text.strip().casefold(), names, n=1, cutoff=0.75)
    return f"; did you mean {_codes()[near[0]]} ({language_names()[_codes()[near[0]]]})?" if near else ""


def have_blank_between(before: str | None, after: str | None) -> bool:
    """Whether a blank stands between texts in these languages: not where both are written without."""
    return before not in NO_SPACE_LANGUAGES or after not in NO_SPACE_LANGUAGES


def strip_closing(text: str) -> str:
    """The text without trailing blanks, closing quotes and brackets."""
    return text.rstrip(CLOSING + " ")


def ends_sentence(text: str) -> bool:
    """Whether the text ends a sentence, also before closing quotes and brackets."""
    return strip_closing(text).endswith(SENTENCE_END)


def ends_clause(text: str) -> bool:
    """Whether the text ends a clause inside a sentence, also before closing quotes and brackets."""
    return strip_closing(text).endswith(CLAUSE_END)
