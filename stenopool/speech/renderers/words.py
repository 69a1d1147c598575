"""Words of a transcript in a uniform form: clean text and a time for each. Used by all renderers except json.

Engines differ: openai-whisper's words start with a space (`" the"`), WhisperX's do not; numbers may have no times; a
segment may have no words at all.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from stenopool.languages import find_blanks, have_blank_between
from stenopool.runtime.characters import CONTROLS, INVISIBLE
from stenopool.speech.renderers.breaking import Direction, direction, units
from stenopool.speech.transcript import Segment, Transcript, Word


class Token(NamedTuple):
    """A unit that is never broken across lines, usually a word. ``space``: whether a space is before it.

    ``timed``: false if its time is estimated from its neighbours.
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
    def direction(self) -> Direction:
        return direction(join(self.tokens))

    @property
    def start(self) -> float:
        return self.tokens[0].start

    @property
    def end(self) -> float:
        return self.tokens[-1].end


def clean(text: str) -> str:
    """The text on one line, with single spaces, none at the ends, and without control or misleading characters."""
    return " ".join(_visible(text).split())


def _visible(text: str) -> str:
    return INVISIBLE.sub("", CONTROLS.sub(" ", text))


def join(tokens: Iterable[Token]) -> str:
    """The tokens as running text."""
    return "".join(" " * token.space + token.text for token in tokens).lstrip()


def stretches(transcript: Transcript) -> Iterator[Stretch]:
    """The transcript's stretches in order, cut where the speaker changes. Skips segments without text."""
    before = ""
    for segment in transcript.segments:
        tokens = tokenize(segment, before)
        before = join(tokens) or before
        for _, group in groupby(tokens, key=lambda token: token.speaker):
            yield Stretch(segment, tuple(group))


def tokenize(segment: Segment, before: str = "") -> list[Token]:
    """The words of a segment, or the parts of its text if it has no words. ``before``: the text before the segment.

    Times never decrease. Words without times share the gap between their neighbours, in proportion to their length.
    """
    words = [word for word in segment.words if clean(word.word)]
    texts = _word_texts(words, segment, before) if words else _text_alone(segment.text, before)
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
    """Distribute the tokens from start to end, in proportion to the length of their text."""
    rate = (end - start) / max(1, sum(len(token.text) for token in tokens))
    spread = []
    for token in tokens:
        stop = min(end, start + rate * len(token.text))
        spread.append(token._replace(start=start, end=stop))
        start = stop
    return spread


def _word_texts(words: Sequence[Word], segment: Segment, before: str) -> Iterator[list[tuple[str, bool]]]:
    """For each word, its text and whether a space is before it; several pairs if the word contains spaces.

    Spaces are taken from the segment's text; if that differs from the words, from the words themselves; or, if they
    have none, from the scripts that they are written in.
    """
    raw = [_visible(word.word) for word in words]
    blanks = find_blanks([clean(text) for text in raw], clean(segment.text))
    if blanks is None and any(text[0].isspace() for text in raw):
        blanks = [text[0].isspace() or earlier[-1:].isspace() for earlier, text in zip(["", *raw], raw, strict=False)]
    for number, text in enumerate(raw):
        blank = blanks[number] if number and blanks is not None else have_blank_between(before, text)
        first, *rest = text.split()
        yield [(first, blank), *((part, True) for part in rest)]
        before = (before + text)[-64:]


def _text_alone(text: str, before: str) -> list[list[tuple[str, bool]]]:
    """The text cut at spaces and, in scripts without spaces, where lines may break."""
    parts = [units(part) for part in clean(text).split()]
    blank = have_blank_between(before, text)
    return [[(unit, not n and (blank or at > 0)) for at, part in enumerate(parts) for n, unit in enumerate(part)]]
