"""Renderers: pure functions from a transcript to the text of a json, srt, vtt, txt, tsv, rttm or html file.

Every renderer makes a valid file of any transcript, also of an empty one.
"""

from stenopool.options import Format, SubtitleOptions
from stenopool.speech.renderers import html, rttm, srt, tsv, txt, vtt
from stenopool.speech.transcript import Transcript

__all__ = ["CONTENT_TYPES", "render"]

CONTENT_TYPES: dict[Format, str] = {
    "json": "application/json",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
    "tsv": "text/tab-separated-values; charset=utf-8",
    "rttm": "text/plain; charset=utf-8",
    "html": "text/html; charset=utf-8",
}


def render(
    transcript: Transcript,
    format: Format,
    style: SubtitleOptions = SubtitleOptions(),  # noqa: B008 (frozen)
    *,
    title: str | None = None,
    audio: str | None = None,
) -> str:
    """The transcript as the text of a file; encode it as UTF-8.

    ``title``: heading of the page; by default the name of the recording. ``audio``: where the page finds the recording,
    as a relative or absolute URL or a data: URI.
    """
    match format:
        case "json":  # all keys, null if unknown, on one line; the schema is docs/transcript.schema.json
            return transcript.model_dump_json() + "\n"
        case "srt":
            return srt.render(transcript, style)
        case "vtt":
            return vtt.render(transcript, style)
        case "txt":
            return txt.render(transcript)
        case "tsv":
            return tsv.render(transcript)
        case "rttm":
            return rttm.render(transcript)
        case "html":
            return html.render(transcript, title, audio)
