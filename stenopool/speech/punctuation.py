"""Punctuation of the languages that Whisper knows: where sentences and clauses end, in every part of Stenopool."""

# Latin, ellipsis, Chinese and Japanese, Arabic and Urdu, Indic, Burmese, Khmer, Tibetan, Amharic, Armenian.
SENTENCE_END = tuple(".?!…。？！؟۔।॥။។།።։")
CLAUSE_END = tuple(",;:—–、，；：،؛၊፣")
# Quotes and brackets that close after a mark.
CLOSING = "\"'»”’)]」』】"

# Marks that openai-whisper makes a part of the word after or before them.
PREPENDED = "\"'“¿([{-"
APPENDED = "\"'.。,，!！?？:：”)]}、"


def strip_closing(text: str) -> str:
    """The text without blanks, quotes and brackets at its end."""
    return text.rstrip(CLOSING + " ")


def ends_sentence(text: str) -> bool:
    """Whether the text ends with a sentence's mark, whatever quotes and brackets close after it."""
    return strip_closing(text).endswith(SENTENCE_END)


def ends_clause(text: str) -> bool:
    """Whether the text ends with a mark inside a sentence, whatever quotes and brackets close after it."""
    return strip_closing(text).endswith(CLAUSE_END)
