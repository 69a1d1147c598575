"""The words of a transcript in one form: each has clean text and a time. Used by all renderers but json.

Engines differ: openai-whisper's words start with a blank (`" the"`), WhisperX's do not; digits may have no times; a
segment may have no words at all.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import NamedTuple

from stenopool.languages import NO_SPACE_LANGUAGES, have_blank_between
from stenopool.runtime.characters import CONTROLS, INVISIBLE
from stenopool.speech.transcript import Segment, Transcript, Word


class Token(NamedTuple):
    """A unit without line breaks in it, mostly a word. ``space``: whether a blank is before it.

    ``timed``: false if its time is only estimated from its neighbours.
    """

    text: str
    space: bool
    start: float
    end: float
    speaker: str | None
    timed: bool


@dataclass(frozen=True)
class Stretch:
    """The words of one speaker within one segment; never empty."""

    segment: Segment
    tokens: Sequence[Token]

    @property
    def speaker(self) -> str | None:
        return self.tokens[0].speaker

    @property
    def start(self) -> float:
        return self.tokens[0].start

    @property
    def end(self) -> float:
        return self.tokens[-1].end


def clean(text: str) -> str:
    """The text on one line: single blanks, none at the ends, and no characters that control or mislead a reader."""
    return " ".join(_visible(text).split())


def _visible(text: str) -> str:
    return INVISIBLE.sub("", CONTROLS.sub(" ", text))


def join(tokens: Iterable[Token]) -> str:
    """The tokens as running text."""
    return "".join(" " * token.space + token.text for token in tokens).lstrip()


def stretches(transcript: Transcript) -> Iterator[Stretch]:
    """The transcript in order, cut where the speaker changes. Segments without text are left out."""
    before = transcript.segments[0].language if transcript.segments else None
    for segment in transcript.segments:
        language = segment.language or transcript.language
        tokens = tokenize(segment, language, blank=have_blank_between(before or transcript.language, language))
        before = language if tokens else before
        for _, group in groupby(tokens, key=lambda token: token.speaker):
            yield Stretch(segment, tuple(group))


def tokenize(segment: Segment, language: str | None, *, blank: bool) -> list[Token]:
    """The words of a segment, or its text if it has none. Times never decrease.

    Words without times share the gap between their neighbours, by length. ``blank``: one is before the first word.
    """
    words = [word for word in segment.words if clean(word.word)]
    texts = _word_texts(words, segment, language, blank) if words else _text_alone(segment.text, language, blank)
    first = next((word.start for word in words if word.start is not None and word.end is not None), segment.start)
    clock = max(0.0, min(first, segment.start))
    tokens: list[Token] = []
    untimed: list[Token] = []
    for word, parts in zip(words or [Word(word="")], texts, strict=True):
        speaker = clean(word.speaker or segment.speaker or "") or None
        fresh = [Token(text, space, 0.0, 0.0, speaker, False) for text, space in parts]
        if word.start is None or word.end is None:
            untimed += fresh
            continue
        start = max(word.start, clock)
        end = max(word.end, start)
        tokens += _spread(untimed, clock, start)
        tokens += [token._replace(timed=True) for token in _spread(fresh, start, end)]
        untimed, clock = [], end
    return tokens + _spread(untimed, clock, max(segment.end, clock))


def _spread(tokens: Sequence[Token], start: float, end: float) -> list[Token]:
    """Spread the tokens from start to end, in proportion to their text."""
    rate = (end - start) / max(1, sum(len(token.text) for token in tokens))
    spread = []
    for token in tokens:
        stop = min(end, start + rate * len(token.text))
        spread.append(token._replace(start=start, end=stop))
        start = stop
    return spread


def _word_texts(
    words: Sequence[Word], segment: Segment, language: str | None, blank: bool
) -> Iterator[list[tuple[str, bool]]]:
    """For each word its text and whether a blank is before it; several if the word contains blanks."""
    raw = [_visible(word.word) for word in words]
    blanks_are_given = (
        language in NO_SPACE_LANGUAGES
        or any(text[0].isspace() for text in raw)
        or clean("".join(raw)) == clean(segment.text)
    )
    for text in raw:
        blank = blank or text[0].isspace() or not blanks_are_given
        first, *rest = text.split()
        yield [(first, blank), *((part, True) for part in rest)]
        blank = text[-1].isspace()


def _text_alone(text: str, language: str | None, blank: bool) -> list[list[tuple[str, bool]]]:
    """The text cut at blanks, or between characters if the language has no blanks."""
    if language not in NO_SPACE_LANGUAGES:
        return [[(part, True) for part in clean(text).split()]]
    parts = [(list(_unbreakable(part)), blank or number > 0) for number, part in enumerate(clean(text).split())]
    return [[(unit, space and first == 0) for units, space in parts for first, unit in enumerate(units)]]


def _unbreakable(text: str) -> Iterator[str]:
    unit = text[:1]
    for before, after in pairwise(text):
        if not _belong_together(before, after):
            yield unit
            unit = ""
        unit += after
    yield unit


def _belong_together(before: str, after: str) -> bool:
    """No line breaks before marks, closing punctuation and following vowels, nor after opening or leading ones."""
    return (
        unicodedata.category(after) in ("Mn", "Mc", "Me", "Cf", "Lm", "Pe", "Pf", "Po")
        or unicodedata.category(before) in ("Ps", "Pi", "Cf")
        or after in "ะาำະາຳ"  # Thai and Lao
        or before in "เแโใไເແໂໃໄ"  # Thai and Lao: written first, spoken after the consonant
        or (before.isascii() and after.isascii())
    )
