"""Whisper's languages: their names, and how they are written."""

import json
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
def language_names() -> dict[str, str]:
    """Each code's English name, in openai-whisper's order (`yue` since large-v3)."""
    names: dict[str, str] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    return names


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
