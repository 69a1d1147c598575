"""SubRip subtitles: UTF-8, index from 1, ``HH:MM:SS,mmm``."""

import re
from itertools import chain

from stenopool.options import SubtitleOptions
from stenopool.speech.clock_text import format_timestamp
from stenopool.speech.renderers.cues import Cue, cues, split_moments
from stenopool.speech.renderers.words import Token, join
from stenopool.speech.transcript import Transcript


def render(transcript: Transcript, style: SubtitleOptions) -> str:
    """The transcript as SRT; empty for an empty transcript. Speakers stand before the text as whisperX writes them."""
    parts = chain.from_iterable(
        ((start, end, _text(cue, spoken)) for start, end, spoken in split_moments(cue, style))
        for cue in cues(transcript, style, _label)
    )
    return "".join(
        f"{index}\n{format_timestamp(start, ',')} --> {format_timestamp(end, ',')}\n{text}\n\n"
        for index, (start, end, text) in enumerate(parts, start=1)
    )


def _label(speaker: str | None) -> str:
    return f"[{speaker}]: " if speaker else ""


def _text(cue: Cue, spoken: Token | None) -> str:
    lines = (
        join(token._replace(text=f"<u>{token.text}</u>") if token is spoken else token for token in line)
        for line in cue.lines
    )
    # Readers take any line with an arrow for a time line; SRT knows no escape.
    return re.sub("-{2,}>", "->", _label(cue.speaker) + "\n".join(lines))
