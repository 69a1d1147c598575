"""A transcript as the page shows it: paragraphs, voices, and a time for every word."""

from typing import NamedTuple

from stenopool.api.schema import Described
from stenopool.pipeline import speaker_names
from stenopool.speech.renderers.breaking import Direction
from stenopool.speech.renderers.view import Paragraph, doubt, view
from stenopool.speech.renderers.words import Stretch, clean
from stenopool.speech.transcript import Transcript


class WordView(NamedTuple):
    """A word: its text, whether a space precedes it, its start and end in seconds."""

    text: str
    space: bool
    start: float
    end: float


class StretchView(Described):
    """Words of one sentence."""

    doubt: str | None
    """Why the words may be wrong."""
    language: str | None
    """The language, if it changes here."""
    direction: Direction
    """Reading direction."""
    words: list[WordView]
    """Text, whether a space precedes it, start and end in seconds, for each word."""


class ParagraphView(Described):
    """A paragraph of one speaker."""

    speaker: int | None
    """Index of the voice; null if unknown."""
    start: float
    """Seconds from the start."""
    direction: Direction
    """Reading direction of most of it."""
    stretches: list[StretchView]
    """Its sentences."""


class VoiceView(Described):
    """A speaker."""

    name: str | None
    """The speaker's name, or else the label."""
    labels: list[str]
    """All labels with this name."""
    colour: int
    """Index of the colour in the style sheet, 0 to 7."""
    seconds: float
    """Total speaking time in seconds."""
    spans: list[tuple[float, float]]
    """When they speak: start and end in seconds."""


class TranscriptView(Described):
    """A transcript to read and listen to."""

    id: str
    """The recording's id."""
    key: str
    """The recording's key."""
    title: str
    """The recording's name."""
    facts: list[tuple[str, str]]
    """How it was made, as pairs of name and value."""
    duration: float
    """Seconds of audio."""
    language: str | None
    """The main language."""
    voices: list[VoiceView]
    """The speakers."""
    paragraphs: list[ParagraphView]
    """The text, in order."""


def make_view(id: str, key: str, transcript: Transcript, names: dict[str, str]) -> TranscriptView:
    """Return the page's view of a transcript. ``names``: by the label from diarization."""
    labels: dict[str | None, list[str]] = {}
    for label in speaker_names.list_labels(transcript):
        labels.setdefault(clean(names.get(label, label)) or None, []).append(label)
    shown = view(speaker_names.apply_names(transcript, names))
    numbers = {name: number for number, name in enumerate(shown.lanes)}
    return TranscriptView(
        id=id,
        key=key,
        title=clean(key.rpartition("/")[2]),
        facts=shown.facts,
        duration=shown.duration,
        language=shown.language,
        voices=[
            VoiceView(
                name=name,
                labels=labels.get(name, []),
                colour=shown.colours[name],
                seconds=round(sum(end - start for start, end in spans), 3),
                spans=spans,
            )
            for name, spans in shown.lanes.items()
        ],
        paragraphs=[_paragraph(paragraph, numbers) for paragraph in shown.paragraphs],
    )


def _paragraph(paragraph: Paragraph, numbers: dict[str | None, int]) -> ParagraphView:
    return ParagraphView(
        speaker=numbers.get(paragraph.speaker) if paragraph.speaker else None,
        start=round(paragraph.start, 3),
        direction=paragraph.direction,
        stretches=[
            StretchView(
                doubt=doubt(stretch.segment),
                language=stretch.segment.language,
                direction=stretch.direction,
                words=_words(stretch),
            )
            for stretch in paragraph.stretches
        ],
    )


def _words(stretch: Stretch) -> list[WordView]:
    return [WordView(each.text, each.space, round(each.start, 3), round(each.end, 3)) for each in stretch.tokens]
