"""JSON: the transcript itself, the file that every other format can be made from again."""

from stenopool.speech.renderers.style import RenderStyle
from stenopool.speech.transcript import Transcript


def render(transcript: Transcript, style: RenderStyle) -> str:  # noqa: ARG001  (one signature for all renderers)
    """All keys, null where unknown, as one line of UTF-8. Its schema is docs/transcript.schema.json."""
    return transcript.model_dump_json() + "\n"
