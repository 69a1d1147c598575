"""What the page and the terminal show of a transcript in addition to its words."""

from posixpath import basename

from stenopool.languages import LANGUAGES
from stenopool.speech.clock_text import format_clock
from stenopool.speech.renderers.words import clean
from stenopool.speech.transcript import HALLUCINATION_SUSPECTED, LOW_CONFIDENCE, Segment, Transcript

_DOUBTS = {
    HALLUCINATION_SUSPECTED: "may be made up: check the recording",
    LOW_CONFIDENCE: "low confidence",
}


def title(transcript: Transcript) -> str:
    """The recording's own name."""
    return (clean(basename(transcript.source.key)) if transcript.source else "") or "Transcript"


def facts(transcript: Transcript) -> list[tuple[str, str]]:
    """Duration, language, and how the transcript was made, as (name, value); only what is known."""
    provenance = transcript.provenance
    found = [("Duration", format_clock(transcript.duration)), ("Language", _languages(transcript))]
    if provenance:
        made = provenance.created_at
        found += [
            ("Model", f"{provenance.model} · {provenance.engine}"),
            ("Speakers by", provenance.diarizer or ""),
            ("Made", f"{made.day} {made:%B %Y, %H:%M %Z}"),
        ]
    found.append(("Note", ", ".join(flag.replace("_", " ") for flag in transcript.flags)))
    return [(name, clean(value)) for name, value in found if clean(value)]


def doubt(segment: Segment) -> str | None:
    """What a reader should know of a flagged segment, in words."""
    return clean("; ".join(_DOUBTS.get(flag, flag.replace("_", " ")) for flag in segment.flags)) or None


def _languages(transcript: Transcript) -> str:
    codes = dict.fromkeys([transcript.language, *(segment.language for segment in transcript.segments)])
    names = [LANGUAGES.get(code, code).title() for code in codes if code]
    if len(names) == 1 and transcript.language_probability is not None:
        return f"{names[0]} ({transcript.language_probability:.0%})"
    return ", ".join(names)
