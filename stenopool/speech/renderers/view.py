"""A transcript as pages show it: facts, who speaks when, and paragraphs whose words have times."""

from collections.abc import Sequence
from dataclasses import dataclass

from stenopool.speech.renderers.facts import facts, title
from stenopool.speech.renderers.paragraphs import Paragraph, paragraphs
from stenopool.speech.renderers.words import clean
from stenopool.speech.transcript import Transcript

COLOURS = 7  # c0 to c6 in transcript.css, then again from c0: names tell speakers apart, too
GREY = 7  # who speaks is not known

Lane = list[tuple[float, float]]


@dataclass(frozen=True)
class View:
    """``lanes``: who speaks when, in seconds; None is nobody known. ``colours``: the number of each one's colour."""

    title: str
    facts: list[tuple[str, str]]
    duration: float
    language: str | None
    lanes: dict[str | None, Lane]
    colours: dict[str | None, int]
    paragraphs: Sequence[Paragraph]


def view(transcript: Transcript) -> View:
    """What a page shows of this transcript."""
    body = list(paragraphs(transcript))
    lanes = _lanes(transcript, body)
    named = [speaker for speaker in lanes if speaker]
    return View(
        title=title(transcript),
        facts=facts(transcript),
        duration=max([transcript.duration, *(end for spans in lanes.values() for _, end in spans)]),
        language=transcript.language,
        lanes={speaker: spans for speaker, spans in lanes.items() if spans},
        colours={speaker: number % COLOURS for number, speaker in enumerate(named)} | {None: GREY if named else 0},
        paragraphs=body,
    )


def _lanes(transcript: Transcript, body: Sequence[Paragraph]) -> dict[str | None, Lane]:
    """Who speaks when, for the timeline: from the turns, or where there are none, from the words."""
    lanes: dict[str | None, Lane] = {clean(speaker) or None: [] for speaker in transcript.speakers}
    for paragraph in body:
        lane = lanes.setdefault(paragraph.speaker, [])
        if not transcript.turns:
            lane += [(stretch.start, stretch.end) for stretch in paragraph.stretches]
    for turn in transcript.turns:
        lanes.setdefault(clean(turn.speaker) or None, []).append((turn.start, max(turn.start, turn.end)))
    return lanes
