"""Rich Transcription Time Marked, NIST's format for who speaks when (RT-09 evaluation plan, appendix A)."""

from posixpath import splitext

from stenopool.speech.renderers.words import clean
from stenopool.speech.transcript import Transcript


def render(transcript: Transcript) -> str:
    """A line per speaker turn, in order of time. The id is the recording's key without its extension."""
    name = _field(splitext(transcript.source.key)[0] if transcript.source else "recording")
    return "".join(
        f"SPEAKER {name} 1 {turn.start:.3f} {turn.end - turn.start:.3f} <NA> <NA> {_field(turn.speaker)} <NA> <NA>\n"
        for turn in sorted(transcript.turns, key=lambda turn: (turn.start, turn.end))
        if turn.end > turn.start  # scoring tools refuse a turn of no length
    )


def _field(text: str) -> str:
    """Fields are parted by blanks, so none may hold one."""
    return clean(text).replace(" ", "_") or "<NA>"
