"""Words into segments: about a sentence each, as readers of subtitles and transcripts expect."""

from collections.abc import Sequence

from stenopool.speech.punctuation import ends_clause, ends_sentence, strip_closing
from stenopool.speech.transcript import Word

PAUSE_SECONDS = 1.0
LONG_SECONDS = 12.0


def split(words: Sequence[Word]) -> list[list[Word]]:
    """Cut after sentence ends, at pauses over a second, and at clauses once a segment is over 12 seconds."""
    segments: list[list[Word]] = []
    current: list[Word] = []
    for i, word in enumerate(words):
        current.append(word)
        following = words[i + 1] if i + 1 < len(words) else None
        if following is None or _ends_here(current, word, following):
            segments.append(current)
            current = []
    return segments


def _ends_here(current: Sequence[Word], word: Word, following: Word) -> bool:
    spoken = (word.end or 0.0) - (current[0].start or 0.0)
    pause = following.start - word.end if following.start is not None and word.end is not None else 0.0
    if pause > PAUSE_SECONDS:
        return True
    if ends_sentence(word.word) and not _is_abbreviation(word.word, following):
        return True
    return spoken > LONG_SECONDS and ends_clause(word.word)


def _is_abbreviation(text: str, following: Word) -> bool:
    """``Mr. Smith``, ``3. 5``, ``U.S. army``: a full stop that ends no sentence."""
    bare = strip_closing(text).strip()
    if not bare.endswith("."):
        return False
    after = following.word.strip()
    if after[:1].islower():
        return True
    stem = bare.rstrip(".")
    return (len(stem) <= 3 and stem.lower() in {"mr", "mrs", "ms", "dr", "st", "jr", "sr", "no", "vs"}) or (
        len(stem) == 1 and stem.isalpha() and stem.isupper()
    )
