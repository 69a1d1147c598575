"""Whisper's languages: codes, names and writing systems."""

import json
import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import cache
from itertools import pairwise
from pathlib import Path

# Languages written without spaces between words (openai-whisper's set plus Khmer).
NO_SPACE_LANGUAGES = frozenset({"zh", "ja", "th", "lo", "km", "my", "yue"})

# Character ranges for regular expressions. Thai, Lao, Burmese and Khmer, and their punctuation:
SOUTH_EAST_ASIAN = (
    r"\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0edf\u1000-\u1049\u104c-\u109f\u1780-\u17d3\u17d7\u17dc-\u17dd"
    r"\ua9e0-\ua9fe\uaa60-\uaa7f"
)
_THEIR_PUNCTUATION = r"\u0e4f-\u0e5b\u104a\u104b\u17d4-\u17d6\u17d8-\u17da"
# Chinese, Japanese, and their punctuation and full-width forms.
HAN = r"\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u303b\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
KANA = r"\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_WIDE_FORMS = r"\u3001-\u3020\u3030\u303d\u3100-\u312f\u31a0-\u31bf\uff01-\uff65"
HANGUL = r"\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff"
# All scripts written without spaces. Korean is not one of them.
SPACELESS = SOUTH_EAST_ASIAN + _THEIR_PUNCTUATION + HAN + KANA + _WIDE_FORMS

# Digits and other marks are neutral: the adjacent letter decides.
_ENDS_SPACELESS = re.compile(rf"[{SPACELESS}](?:[^\w]|\d)*$")
_BEGINS_SPACELESS = re.compile(rf"(?:[^\w]|\d)*[{SPACELESS}]")

# Latin, ellipsis, Chinese and Japanese, Arabic and Urdu, Indic, Burmese, Khmer, Tibetan, Amharic, Armenian.
SENTENCE_END = tuple(".?!…。？！؟۔।॥။។།።։")
CLAUSE_END = tuple(",;:—–、，；：،؛၊፣")
# Closing quotes and brackets, which may follow a punctuation mark.
CLOSING = "\"'»”’)]」』】"

# Marks that openai-whisper joins to the word after or before them.
PREPENDED = "\"'“¿([{-"
APPENDED = "\"'.。,，!！?？:：”)]}、"


@cache
def _spellings() -> dict[str, list[str]]:
    """Each code's English name, then its other names and its ISO 639 codes, including three-letter ones."""
    spellings: dict[str, list[str]] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    return spellings


@cache
def language_names() -> dict[str, str]:
    """The English name of each code, in openai-whisper's order (`yue` since large-v3)."""
    return {code: spellings[0] for code, spellings in _spellings().items()}


@cache
def _codes() -> dict[str, str]:
    """The code of each spelling."""
    return {spelling: code for code, spellings in _spellings().items() for spelling in (code, *spellings)}


def find_language(text: str) -> str | None:
    """The code for a language given as a code, an English name, a language tag or a locale; None if unknown.

    `de`, `deu`, `German`, `de-AT`, `de_DE.UTF-8`, `German (Austria)` and `zh-Hant` are all recognized. The region and
    script of a tag are ignored, because Whisper does not distinguish them.
    """
    wanted = re.sub(r"\s*\([^()]*\)$", "", text.strip().casefold())
    if found := _codes().get(re.sub(r"[-_\s]+", " ", wanted)):
        return found
    tag = re.fullmatch(r"([a-z]{2,3})((?:[-_][a-z0-9]{1,8})+)?(?:\.[\w-]+)?(?:@\w+)?", wanted)
    if tag is None:
        return None
    # `zh-yue` is Cantonese: a three-letter second part is an extended language subtag (RFC 5646).
    extended = re.match(r"[-_]([a-z]{3})(?![a-z0-9])", tag[2] or "")
    return (_codes().get(extended[1]) if extended else None) or _codes().get(tag[1])


def suggest_language(text: str) -> str:
    """`; did you mean de (german)?` for a misspelled language; empty if none is similar."""
    names = [name for name in _codes() if len(name) > 3]
    near = get_close_matches(text.strip().casefold(), names, n=1, cutoff=0.75)
    return f"; did you mean {_codes()[near[0]]} ({language_names()[_codes()[near[0]]]})?" if near else ""


def have_blank_between(before: str, after: str) -> bool:
    """Whether a space belongs between two texts: not if both (or only the second, at the start) are in a script without
    spaces.
    """
    return not ((before == "" or _ENDS_SPACELESS.search(before[-64:])) and _BEGINS_SPACELESS.match(after[:64]))


def join_texts(texts: Iterable[str]) -> str:
    """Join consecutive texts, e.g. of segments or channels."""
    parts = [stripped for text in texts if (stripped := text.strip())]
    return "".join(" " * have_blank_between(*pair) + pair[1] for pair in pairwise(["", *parts])).lstrip()


def find_blanks(words: Sequence[str], text: str) -> list[bool] | None:
    """Whether a space precedes each word in the text; None if the text does not consist of these words."""
    blanks, at = [], 0
    for word in words:
        begin = text.find(word, at)
        if begin < 0 or text[at:begin].strip():
            return None
        blanks.append(begin > at)
        at = begin + len(word)
    return None if text[at:].strip() else blanks


def strip_closing(text: str) -> str:
    """The text without trailing spaces, closing quotes and brackets."""
    return text.rstrip(CLOSING + " ")


def ends_sentence(text: str) -> bool:
    """Whether the text ends a sentence, ignoring closing quotes and brackets."""
    return strip_closing(text).endswith(SENTENCE_END)


def ends_clause(text: str) -> bool:
    """Whether the text ends a clause inside a sentence, ignoring closing quotes and brackets."""
    return strip_closing(text).endswith(CLAUSE_END)
