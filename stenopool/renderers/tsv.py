"""Tab-separated values: openai-whisper's columns (integer milliseconds), then the speaker."""

from stenopool.renderers.style import RenderStyle
from stenopool.renderers.words import joined, stretches
from stenopool.transcript import Transcript


def render(transcript: Transcript, style: RenderStyle) -> str:  # noqa: ARG001  (one signature for all renderers)
    """A row per segment and speaker; the bare header for an empty transcript. Nothing is quoted, as in whisper."""
    rows = (
        f"{round(stretch.start * 1000)}\t{round(stretch.end * 1000)}\t{joined(stretch.pieces)}\t{stretch.speaker or ''}"
        for stretch in stretches(transcript)
    )
    return "\n".join(("start\tend\ttext\tspeaker", *rows, ""))
