"""HTML: one self-contained page to listen, read and search. It loads nothing but the recording itself.

Everything in a transcript is untrusted text: Jinja2 escapes it, no data stands inside the script, and the page's
Content-Security-Policy lets only the script and the style run whose digests it names.
"""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from stenopool.renderers.facts import clock, doubt, facts, title
from stenopool.renderers.paragraphs import Paragraph, paragraphs
from stenopool.renderers.style import RenderStyle
from stenopool.renderers.words import clean
from stenopool.transcript import Transcript

COLOURS = 7  # c0 to c6 in transcript.css, then again from c0: names tell speakers apart, too
GREY = 7  # who speaks is not known
_HERE = Path(__file__).parent

Lane = list[tuple[float, float]]


def render(transcript: Transcript, style: RenderStyle) -> str:
    """The transcript as a page. ``style.audio`` is where it finds the recording; without, it asks for the file."""
    body = list(paragraphs(transcript))
    lanes = _lanes(transcript, body)
    named = [speaker for speaker in lanes if speaker]
    script, css = _asset("transcript.js"), _asset("transcript.css")
    return _template().render(
        title=style.title or title(transcript),
        audio=style.audio,
        facts=facts(transcript),
        duration=max([transcript.duration, *(end for spans in lanes.values() for _, end in spans)]),
        lanes={speaker: spans for speaker, spans in lanes.items() if spans},
        colours={speaker: number % COLOURS for number, speaker in enumerate(named)} | {None: GREY if named else 0},
        paragraphs=body,
        language=transcript.language,
        script=Markup(script),  # noqa: S704  (our own file)
        css=Markup(css),  # noqa: S704
        script_digest=_digest(script),
        css_digest=_digest(css),
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


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"clock": clock, "doubt": doubt}
    return environment.get_template("transcript.html.j2")


@cache
def _asset(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
