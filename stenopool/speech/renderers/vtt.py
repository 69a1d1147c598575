"""WebVTT subtitles (https://www.w3.org/TR/webvtt1/): speakers as voices, `& < >` escaped."""

from stenopool.options import SubtitleOptions
from stenopool.speech.clock_text import format_timestamp
from stenopool.speech.renderers.cues import Cue, cues, split_moments
from stenopool.speech.renderers.words import Token, join
from stenopool.speech.transcript import Transcript


def render(transcript: Transcript, style: SubtitleOptions) -> str:
    """The transcript as WebVTT; the bare header for an empty transcript."""
    parts = (
        f"{format_timestamp(start, '.')} --> {format_timestamp(end, '.')}\n{_text(cue, spoken)}\n\n"
        for cue in cues(transcript, style, lambda _: "")
        for start, end, spoken in split_moments(cue, style)
    )
    return "WEBVTT\n\n" + "".join(parts)


def _text(cue: Cue, spoken: Token | None) -> str:
    voice = f"<v {_escape(cue.speaker)}>" if cue.speaker else ""
    return voice + "\n".join(join(_mark(token, token is spoken) for token in line) for line in cue.lines)


def _mark(token: Token, spoken: bool) -> Token:
    text = _escape(token.text)
    return token._replace(text=f"<u>{text}</u>" if spoken else text)


def _escape(text: str) -> str:
    """Also keeps `-->` out of cues, where it would end them."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
