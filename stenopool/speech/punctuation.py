"""Punctuation in Whisper's languages: where sentences and clauses end."""

# Latin, ellipsis, Chinese and Japanese, Arabic and Urdu, Indic, Burmese, Khmer, Tibetan, Amharic, Armenian.
SENTENCE_END = tuple(".?!…。？！؟۔।॥။។།።։")
CLAUSE_END = tuple(",;:—–、，；：،؛၊፣")
# Closing quotes and brackets, which may follow a mark.
CLOSING = "\"'»”’)]」』】"

# Marks that openai-whisper joins to the word after or before them.
PREPENDED = "\"'“¿([{-"
APPENDED = "\"'.。,，!！?？:：”)]}、"


def strip_closing(text: str) -> str:
    """The text without trailing blanks, closing quotes and brackets."""
    return text.rstrip(CLOSING + " ")


def ends_sentence(text: str) -> bool:
    """Whether the text ends a sentence, also before closing quotes and brackets."""
    return strip_closing(text).endswith(SENTENCE_END)


def ends_clause(text: str) -> bool:
    """Whether the text ends a clause inside a sentence, also before closing quotes and brackets."""
    return strip_closing(text).endswith(CLAUSE_END)
