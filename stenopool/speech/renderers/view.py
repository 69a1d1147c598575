"""A transcript as people read it, on the page and in the terminal: facts, who speaks when, and paragraphs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from posixpath import basename

from stenopool.languages import language_names
from stenopool.speech.clock_text import format_clock
from stenopool.speech.renderers.words import Stretch, clean, stretches
from stenopool.speech.transcript import HALLUCINATION_SUSPECTED, LOW_CONFIDENCE, Segment, Transcript

COLOURS = 7  # c0 to c6 in transcript.css, repeated for more speakers: their names differ
GREY = 7  # an unknown speaker
PAUSE = 3.0  # seconds of silence before a new paragraph
LONG = 600  # characters after which the next segment begins a new paragraph: about 40 seconds of speech
_DOUBTS = {
    HALLUCINATION_SUSPECTED: "may be made up: check the recording",
    LOW_CONFIDENCE: "low confidence",
}

Lane = list[tuple[float, float]]


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


@dataclass(frozen=True)
class View:
    """``lanes``: when each speaker (None: unknown) speaks, in seconds. ``colours``: the number of their colour."""

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
    """Who speaks when, for the timeline: from the turns or, without any, from the words."""
    lanes: dict[str | None, Lane] = {clean(speaker) or None: [] for speaker in transcript.speakers}
    for paragraph in body:
        lane = lanes.setdefault(paragraph.speaker, [])
        if not transcript.turns:
            lane += [(stretch.start, stretch.end) for stretch in paragraph.stretches]
    for turn in transcript.turns:
        lanes.setdefault(clean(turn.speaker) or None, []).append((turn.start, max(turn.start, turn.end)))
    return lanes


def title(transcript: Transcript) -> str:
    """The recording's own name."""
    return (clean(basename(transcript.source.key)) if transcript.source else "") or "Transcript"


def facts(transcript: Transcript) -> list[tuple[str, str]]:
    """Duration, language, and how the transcript was made, as (name, value); only what is known."""
    provenance = transcript.provenance
    found = [("Duration", format_clock(transcript.duration)), ("Language", _languages(transcript))]
    if provenance:
        made = provenance.created_at
        found += [
            ("Model", f"{provenance.model} · {provenance.engine}"),
            ("Speakers by", provenance.diarizer or ""),
            ("Made", f"{made.day} {made:%B %Y, %H:%M %Z}"),
        ]
    found.append(("Note", ", ".join(flag.replace("_", " ") for flag in transcript.flags)))
    return [(name, clean(value)) for name, value in found if clean(value)]


def doubt(segment: Segment) -> str | None:
    """A note to readers on a flagged segment."""
    return clean("; ".join(_DOUBTS.get(flag, flag.replace("_", " ")) for flag in segment.flags)) or None


def _languages(transcript: Transcript) -> str:
    codes = dict.fromkeys([transcript.language, *(segment.language for segment in transcript.segments)])
    names = [language_names().get(code, code).title() for code in codes if code]
    if len(names) == 1 and transcript.language_probability is not None:
        return f"{names[0]} ({transcript.language_probability:.0%})"
    return ", ".join(names)


def paragraphs(transcript: Transcript) -> Iterator[Paragraph]:
    """The transcript in paragraphs, which end at a change of speaker, a long pause or a length."""
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
