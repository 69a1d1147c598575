"""The transcript: the pipeline's typed result, a superset of openai-whisper's and WhisperX's JSON.

Times are float seconds from the start of the file, with 3 decimals. Words may lack times (digits), and speakers may be
unknown.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, computed_field

SCHEMA_VERSION = "1.0"

# NaN is valid neither in JSON nor in subtitles: an unknown time is None.
Seconds = Annotated[float, Field(allow_inf_nan=False), AfterValidator(lambda value: round(value, 3))]
Measure = Annotated[float, Field(allow_inf_nan=False), AfterValidator(lambda value: round(value, 4))]
Probability = Measure

# Flags of a segment
HALLUCINATION_SUSPECTED = "hallucination_suspected"
LOW_CONFIDENCE = "low_confidence"
# Flags of a transcript
TRUNCATED = "truncated"  # less was decoded than the container promises
NO_SPEECH = "no_speech"  # not an error: the text is empty
OPPOSITE_PHASE = "opposite_phase"  # a mix would have cancelled; one channel was taken instead
ALIGNMENT_UNAVAILABLE = "alignment_unavailable"  # alignment was requested, but has no model for the language
DECODE_ERRORS = "decode_errors"  # damaged parts were skipped


class _Published(BaseModel):
    """Written files have every key, so the published schema requires them all."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)


class Word(_Published):
    """A word as spoken. ``start`` and ``end`` may be missing: readers have to expect that."""

    word: str
    start: Seconds | None = None
    end: Seconds | None = None
    probability: Probability | None = None
    speaker: str | None = None

    @computed_field(description="The probability again, under whisperX's name.")  # type: ignore[prop-decorator]
    @property
    def score(self) -> float | None:
        return self.probability


class Segment(_Published):
    """A stretch of speech, about a sentence long."""

    id: int = 0
    start: Seconds
    end: Seconds
    text: str
    speaker: str | None = None
    channel: int | None = None
    language: str | None = None
    avg_logprob: Measure | None = None
    no_speech_prob: Probability | None = None
    compression_ratio: Measure | None = None
    temperature: float | None = None
    flags: list[str] = Field(default_factory=list)
    words: list[Word] = Field(default_factory=list)


class SpeakerTurn(BaseModel):
    """One speaker speaks from ``start`` to ``end``. Turns may overlap."""

    model_config = ConfigDict(frozen=True)

    start: Seconds
    end: Seconds
    speaker: str


class Channel(_Published):
    """One channel of a split recording."""

    index: int
    name: str
    language: str | None = None
    language_probability: Probability | None = None


class Source(_Published):
    """The object the transcript was made from. ``version_id`` is null: the ETag says which content it was."""

    uri: str
    key: str
    etag: str
    version_id: str | None = None
    size: int
    sha256: str | None = None


class AudioInfo(_Published):
    """What was in the file, and the gain it was given."""

    duration: Seconds
    sample_rate: int
    channels: int
    codec: str
    container: str
    start_time: Seconds = 0.0
    gain_db: float = 0.0


class Prepared(BaseModel):
    """A recording's audio and the FLAC file made of it."""

    audio: AudioInfo
    channels: int
    """Channels of the FLAC file: 1, or all with ``split``."""
    flags: list[str]
    """For the transcript: truncated, decode_errors, opposite_phase."""


class Provenance(_Published):
    """How the transcript was made: enough to make it again."""

    stenopool_version: str
    engine: str
    engine_version: str
    model: str
    model_digest: str | None = None
    device: str
    compute_type: str
    options: dict[str, Any]
    fingerprint: str
    stages: dict[str, int]
    word_timestamps: Literal["alignment", "attention"] | None = None
    diarizer: str | None = None
    diarizer_version: str | None = None
    created_at: datetime


class Transcript(_Published):
    """What was said, when and by whom.

    An engine fills text, language and segments; the last stage adds speakers, source, audio and provenance.
    """

    schema_version: str = SCHEMA_VERSION
    text: str = ""
    language: str | None = None
    language_probability: Probability | None = None
    duration: Seconds = 0.0
    segments: list[Segment] = Field(default_factory=list)
    speakers: list[str] = Field(default_factory=list)
    turns: list[SpeakerTurn] = Field(default_factory=list)
    channels: list[Channel] = Field(default_factory=list)
    flags: list[str] = Field(default_factory=list)
    source: Source | None = None
    audio: AudioInfo | None = None
    provenance: Provenance | None = None
    timings: dict[str, Seconds] = Field(default_factory=dict)

    @computed_field(description="All words in order, as whisperX lists them.")  # type: ignore[prop-decorator]
    @property
    def word_segments(self) -> list[Word]:
        return [word for segment in self.segments for word in segment.words]


def all_flags(transcript: Transcript) -> tuple[str, ...]:
    """The transcript's flags and those of its segments, each once."""
    of_segments = (flag for segment in transcript.segments for flag in segment.flags)
    return tuple(dict.fromkeys([*transcript.flags, *of_segments]))
