"""Renderers: pure functions from a transcript to the text of a json, srt, vtt, txt, tsv, rttm or html file.

Every renderer makes a valid file of any transcript, also of an empty one.
"""

from collections.abc import Callable

from stenopool.options import Format
from stenopool.speech.renderers import html, rttm, srt, tsv, txt, vtt
from stenopool.speech.renderers.style import RenderStyle
from stenopool.speech.transcript import Transcript

__all__ = ["CONTENT_TYPES", "EXTENSIONS", "RenderStyle", "render"]

_RENDERERS: dict[Format, Callable[[Transcript, RenderStyle], str]] = {
    # All keys, null where unknown, as one line. Its schema is docs/transcript.schema.json.
    "json": lambda transcript, _: transcript.model_dump_json() + "\n",
    "srt": srt.render,
    "vtt": vtt.render,
    "txt": txt.render,
    "tsv": tsv.render,
    "rttm": rttm.render,
    "html": html.render,
}

CONTENT_TYPES: dict[Format, str] = {
    "json": "application/json",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
    "tsv": "text/tab-separated-values; charset=utf-8",
    "rttm": "text/plain; charset=utf-8",
    "html": "text/html; charset=utf-8",
}

EXTENSIONS: dict[Format, str] = {format: f".{format}" for format in _RENDERERS}

_DEFAULT_STYLE = RenderStyle()


def render(transcript: Transcript, format: Format, style: RenderStyle = _DEFAULT_STYLE) -> str:
    """The transcript as the text of a file; encode it as UTF-8."""
    return _RENDERERS[format](transcript, style)
