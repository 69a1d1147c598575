"""Tab-separated values: openai-whisper's columns (integer milliseconds), then the speaker."""

from stenopool.speech.renderers.words import join, stretches
from stenopool.speech.transcript import Transcript

_FORMULA = tuple("=+-@＝＋－＠")


def render(transcript: Transcript) -> str:
    """A row per segment and speaker; the bare header for an empty transcript. Nothing is quoted, as in whisper.

    A text that a spreadsheet would take for a formula has an apostrophe before it.
    """
    rows = (
        f"{round(stretch.start * 1000)}\t{round(stretch.end * 1000)}\t"
        f"{_cell(join(stretch.tokens))}\t{_cell(stretch.speaker or '')}"
        for stretch in stretches(transcript)
    )
    return "\n".join(("start\tend\ttext\tspeaker", *rows, ""))


def _cell(text: str) -> str:
    # Also full-width forms, which some spreadsheets take for the plain ones.
    return f"'{text}" if text.startswith(_FORMULA) else text
