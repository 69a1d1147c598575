"""Paragraphs for people to read, on the page and in the terminal."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stenopool.speech.renderers.words import Stretch, stretches
from stenopool.speech.transcript import Transcript

PAUSE = 3.0  # seconds of silence that begin a new paragraph
LONG = 600  # characters after which the next segment begins a new paragraph: about 40 seconds of speech


@dataclass(frozen=True)
class Paragraph:
    """Stretches of one speaker that follow each other."""

    stretches: Sequence[Stretch]

    @property
    def speaker(self) -> str | None:
        return self.stretches[0].speaker

    @property
    def start(self) -> float:
        return self.stretches[0].start


def paragraphs(transcript: Transcript) -> Iterator[Paragraph]:
    """The transcript in paragraphs: a new one at each speaker change, long pause, or when one has grown long."""
    gathered: list[Stretch] = []
    for stretch in stretches(transcript):
        if gathered and not _continues(gathered, stretch):
            yield Paragraph(gathered)
            gathered = []
        gathered.append(stretch)
    if gathered:
        yield Paragraph(gathered)


def _continues(gathered: Sequence[Stretch], stretch: Stretch) -> bool:
    last = gathered[-1]
    return (
        (last.speaker, last.segment.channel) == (stretch.speaker, stretch.segment.channel)
        and stretch.start - last.end <= PAUSE
        and sum(len(token.text) for earlier in gathered for token in earlier.tokens) < LONG
    )
