"""Plain text: a paragraph per speaker change."""

from itertools import chain, groupby

from stenopool.speech.renderers.words import join, stretches
from stenopool.speech.transcript import Transcript


def render(transcript: Transcript) -> str:
    """The transcript to read: paragraphs parted by a blank line, each led by its speaker where known."""
    turns = groupby(stretches(transcript), key=lambda stretch: (stretch.speaker, stretch.segment.channel))
    return "\n".join(
        (f"{speaker}: " if speaker else "") + join(chain.from_iterable(stretch.tokens for stretch in turn)) + "\n"
        for (speaker, _), turn in turns
    )
