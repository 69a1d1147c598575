"""Renderers: pure functions from a transcript to the text of a json, srt, vtt, txt, tsv, rttm or html file.

Every renderer produces a valid file from any transcript, including an empty one.
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
    """Render the transcript as the text of a file, to be encoded as UTF-8.

    ``title``: heading of the HTML page, by default the name of the recording. ``audio``: the recording for the page, as
    a relative or absolute URL or a data: URI.
    """
    match format:
        case "json":  # one line with all keys, null if unknown; the schema is docs/transcript.schema.json
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
    """One paragraph per speaker change, separated by blank lines, each starting with its speaker if known."""
    turns = groupby(stretches(transcript), key=lambda stretch: (stretch.speaker, stretch.segment.channel))
    return "\n".join(
        (f"{speaker}: " if speaker else "") + join(chain.from_iterable(stretch.tokens for stretch in turn)) + "\n"
        for (speaker, _), turn in turns
    )


def _render_tsv(transcript: Transcript) -> str:
    """One row per segment and speaker: openai-whisper's columns (integer milliseconds), then the speaker.

    Nothing is quoted, as in openai-whisper. A text that a spreadsheet would treat as a formula gets a leading
    apostrophe.
    """

    def cell(text: str) -> str:
        # Also full-width forms, which some spreadsheets treat like the plain ones.
        return f"'{text}" if text.startswith(tuple("=+-@＝＋－＠")) else text

    rows = (
        f"{round(stretch.start * 1000)}\t{round(stretch.end * 1000)}\t"
        f"{cell(join(stretch.tokens))}\t{cell(stretch.speaker or '')}"
        for stretch in stretches(transcript)
    )
    return "\n".join(("start\tend\ttext\tspeaker", *rows, ""))


def _render_rttm(transcript: Transcript) -> str:
    """One line per speaker turn, in order of time, in NIST's format (RT-09 evaluation plan, appendix A).

    The file ID is the recording's key without its extension.
    """

    def field(text: str) -> str:
        """Replace spaces, which separate fields."""
        return clean(text).replace(" ", "_") or "<NA>"

    name = field(splitext(transcript.source.key)[0] if transcript.source else "recording")
    return "".join(
        f"SPEAKER {name} 1 {turn.start:.3f} {turn.end - turn.start:.3f} <NA> <NA> {field(turn.speaker)} <NA> <NA>\n"
        for turn in sorted(transcript.turns, key=lambda turn: (turn.start, turn.end))
        if turn.end > turn.start  # scoring tools refuse a turn of zero length
    )
