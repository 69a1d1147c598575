"""Renderers: pure functions from a transcript to the text of a json, srt, vtt, txt, tsv, rttm or html file.

Every renderer makes a valid file of any transcript, also of an empty one.
"""

from itertools import chain, groupby
from posixpath import splitext

from stenopool.options import Format, SubtitleOptions
from stenopool.speech.renderers.subtitles import render_srt, render_vtt
from stenopool.speech.renderers.view import render_html
from stenopool.speech.renderers.words import clean, join, stretches
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
            return render_srt(transcript, style)
        case "vtt":
            return render_vtt(transcript, style)
        case "txt":
            return _render_txt(transcript)
        case "tsv":
            return _render_tsv(transcript)
        case "rttm":
            return _render_rttm(transcript)
        case "html":
            return render_html(transcript, title, audio)


def _render_txt(transcript: Transcript) -> str:
    """A paragraph per speaker change: parted by a blank line, each led by its speaker where known."""
    turns = groupby(stretches(transcript), key=lambda stretch: (stretch.speaker, stretch.segment.channel))
    return "\n".join(
        (f"{speaker}: " if speaker else "") + join(chain.from_iterable(stretch.tokens for stretch in turn)) + "\n"
        for (speaker, _), turn in turns
    )


def _render_tsv(transcript: Transcript) -> str:
    """A row per segment and speaker: openai-whisper's columns (integer milliseconds), then the speaker.

    Nothing is quoted, as in whisper. A text that a spreadsheet would take for a formula has an apostrophe before it.
    """

    def cell(text: str) -> str:
        # Also full-width forms, which some spreadsheets take for the plain ones.
        return f"'{text}" if text.startswith(tuple("=+-@＝＋－＠")) else text

    rows = (
        f"{round(stretch.start * 1000)}\t{round(stretch.end * 1000)}\t"
        f"{cell(join(stretch.tokens))}\t{cell(stretch.speaker or '')}"
        for stretch in stretches(transcript)
    )
    return "\n".join(("start\tend\ttext\tspeaker", *rows, ""))


def _render_rttm(transcript: Transcript) -> str:
    """A line per speaker turn, in order of time, in NIST's format (RT-09 evaluation plan, appendix A).

    The id is the recording's key without its extension.
    """

    def field(text: str) -> str:
        """Fields are parted by blanks, so none may hold one."""
        return clean(text).replace(" ", "_") or "<NA>"

    name = field(splitext(transcript.source.key)[0] if transcript.source else "recording")
    return "".join(
        f"SPEAKER {name} 1 {turn.start:.3f} {turn.end - turn.start:.3f} <NA> <NA> {field(turn.speaker)} <NA> <NA>\n"
        for turn in sorted(transcript.turns, key=lambda turn: (turn.start, turn.end))
        if turn.end > turn.start  # scoring tools refuse a turn of no length
    )
