"""Human-readable views of a transcript, for the HTML page and the terminal: facts, speaker timeline and paragraphs.

The page is one self-contained HTML file with a player and a search. It loads only the recording. A transcript is
untrusted text: Jinja2 escapes it, the script contains no data, and the Content-Security-Policy allows only the script
and the style sheet with the digests in it.
"""

import base64
import hashlib
import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from posixpath import basename

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from stenopool.languages import language_names
from stenopool.speech.clock_text import format_clock
from stenopool.speech.renderers.breaking import Direction, direction, width
from stenopool.speech.renderers.words import Stretch, clean, join, stretches
from stenopool.speech.transcript import HALLUCINATION_SUSPECTED, LOW_CONFIDENCE, Segment, Transcript

HERE = Path(__file__).parent
# Matches pages from this template only, in which attribute values contain no quotation marks.
_AUDIO = re.compile(r'<audio id="audio"[^>]* src="([^"]*)">')

COLOURS = 7  # c0 to c6 in transcript.css; further speakers reuse them, and are distinguished by name
GREY = 7  # an unknown speaker
PAUSE = 3.0  # seconds of silence before a new paragraph
LONG = 600  # columns after which the next segment starts a new paragraph: about 40 seconds of speech
_DOUBTS = {
    HALLUCINATION_SUSPECTED: "may be a hallucination: check the recording",
    LOW_CONFIDENCE: "low confidence",
}

Lane = list[tuple[float, float]]


@dataclass(frozen=True)
class Paragraph:
    """Consecutive stretches of one speaker."""

    stretches: Sequence[Stretch]

    @property
    def speaker(self) -> str | None:
        return self.stretches[0].speaker

    @property
    def direction(self) -> Direction:
        """The direction of most of its letters, because an Arabic text may begin with an English name."""
        return direction(" ".join(join(stretch.tokens) for stretch in self.stretches))

    @property
    def start(self) -> float:
        return self.stretches[0].start


@dataclass(frozen=True)
class View:
    """A page's content. ``lanes``: when each speaker (None: unknown) speaks, in seconds; ``colours``: their colours."""

    title: str
    facts: list[tuple[str, str]]
    duration: float
    language: str | None
    lanes: dict[str | None, Lane]
    colours: dict[str | None, int]
    paragraphs: Sequence[Paragraph]


def view(transcript: Transcript) -> View:
    """Build the view of a transcript that a page shows."""
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
    """The timeline of each speaker: from the turns or, if there are none, from the words."""
    lanes: dict[str | None, Lane] = {clean(speaker) or None: [] for speaker in transcript.speakers}
    for paragraph in body:
        lane = lanes.setdefault(paragraph.speaker, [])
        if not transcript.turns:
            lane += [(stretch.start, stretch.end) for stretch in paragraph.stretches]
    for turn in transcript.turns:
        lanes.setdefault(clean(turn.speaker) or None, []).append((turn.start, max(turn.start, turn.end)))
    return lanes


def title(transcript: Transcript) -> str:
    """The name of the recording."""
    return (clean(basename(transcript.source.key)) if transcript.source else "") or "Transcript"


def facts(transcript: Transcript) -> list[tuple[str, str]]:
    """Known facts as (name, value): duration, language, and how the transcript was made."""
    provenance = transcript.provenance
    found = [("Duration", format_clock(transcript.duration)), ("Language", _languages(transcript))]
    if provenance:
        made = provenance.created_at
        found += [
            ("Model", f"{provenance.model} · {provenance.engine}"),
            ("Diarizer", provenance.diarizer or ""),
            ("Created", f"{made.day} {made:%B %Y, %H:%M %Z}"),
        ]
    found.append(("Note", ", ".join(flag.replace("_", " ") for flag in transcript.flags)))
    return [(name, clean(value)) for name, value in found if clean(value)]


def doubt(segment: Segment) -> str | None:
    """A note for readers about a flagged segment."""
    return clean("; ".join(_DOUBTS.get(flag, flag.replace("_", " ")) for flag in segment.flags)) or None


def _languages(transcript: Transcript) -> str:
    codes = dict.fromkeys([transcript.language, *(segment.language for segment in transcript.segments)])
    names = [language_names().get(code, code).title() for code in codes if code]
    if len(names) == 1 and transcript.language_probability is not None:
        return f"{names[0]} ({transcript.language_probability:.0%})"
    return ", ".join(names)


def paragraphs(transcript: Transcript) -> Iterator[Paragraph]:
    """Split the transcript into paragraphs: at speaker changes, at long pauses, and when they get too long."""
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
        and sum(width(token.text) for earlier in gathered for token in earlier.tokens) < LONG
    )


def render_html(transcript: Transcript, heading: str | None = None, audio: str | None = None) -> str:
    """Render the transcript as a page. ``audio``: URL of the recording; without it, the page asks for the file."""
    shown = view(transcript)
    script, css = _asset("reader.js") + "read(document);\n", _asset("transcript.css")
    return _template().render(
        vars(shown),
        title=heading or shown.title,
        audio=audio,
        script=Markup(script),  # noqa: S704  (our own file)
        css=Markup(css),  # noqa: S704
        script_digest=_digest(script),
        css_digest=_digest(css),
    )


def find_audio(page: str) -> str | None:
    """Return the ``audio`` with which a page was rendered, None if it had none."""
    found = _AUDIO.search(page)
    return html.unescape(found.group(1)) if found else None


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"clock": format_clock, "doubt": doubt}
    return environment.get_template("transcript.html.j2")


@cache
def _asset(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
