"""HTML: one self-contained page to listen, read and search. It loads nothing but the recording.

A transcript is untrusted text: Jinja2 escapes it, no data is in the script, and the Content-Security-Policy only allows
the script and the style whose digests it has.
"""

import base64
import hashlib
import html
import re
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from stenopool.speech.clock_text import format_clock
from stenopool.speech.renderers.view import doubt, view
from stenopool.speech.transcript import Transcript

HERE = Path(__file__).parent

# Written by this template: an attribute's value has no quotation mark.
_AUDIO = re.compile(r'<audio id="audio"[^>]* src="([^"]*)">')


def render_html(transcript: Transcript, heading: str | None = None, audio: str | None = None) -> str:
    """The transcript as a page. ``audio``: the recording's URL; without it the page asks for the file."""
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
    """The ``audio`` with which a page was rendered."""
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
