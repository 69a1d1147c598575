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
TRACKS_LEFT_OUT = "tracks_left_out"  # other audio tracks of the file may hold talk too
SINGLE_CHANNEL = "single_channel"  # channels were to be split, but there is one; speakers were identified by voice
DUPLICATE_CHANNELS = "duplicate_channels"  # channels are copies of one another; they were transcribed once
CHANNEL_BLEED = "channel_bleed"  # one channel's sound is in another too; there it was muted
SILENT_CHANNEL = "silent_channel"  # a split channel holds nothing
CHANNEL_NAMES_MISMATCH = "channel_names_mismatch"  # more or fewer names than channels were given
ALIGNMENT_UNAVAILABLE = "alignment_unavailable"  # alignment was requested, but has no model for the language
DECODE_ERRORS = "decode_errors"  # damaged parts were skipped
HEADER_MISMATCH = "header_mismatch"  # the headers contradict one another or the data
PROMPT_SHORTENED = "prompt_shortened"  # prompt and vocabulary were too long: the model read their last tokens
SPEECH_UNCLEAR = "speech_unclear"  # what may be speech could not be transcribed; ``untranscribed`` says where


class _Published(BaseModel):
    """Written files have every key, so the published schema requires them all."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True, use_attribute_docstrings=True)


class Word(_Published):
    """A word as spoken. ``start`` and ``end`` may be missing: readers have to expect that."""

    word: str
    """Its text, with its punctuation and the space before it."""
    start: Seconds | None = None
    """Seconds from the beginning."""
    end: Seconds | None = None
    """Seconds from the beginning."""
    probability: Probability | None = None
    """How sure the engine is, from 0 to 1."""
    speaker: str | None = None
    """Who says it."""

    @computed_field(description="The probability again, under whisperX's name.")  # type: ignore[prop-decorator]
    @property
    def score(self) -> float | None:
        return self.probability


class Segment(_Published):
    """A stretch of speech, about a sentence long."""

    id: int = 0
    """Its number, from 0."""
    start: Seconds
    """Seconds from the beginning."""
    end: Seconds
    """Seconds from the beginning."""
    text: str
    """What is said."""
    speaker: str | None = None
    """Who says it."""
    channel: int | None = None
    """The channel that it is on, where channels are split."""
    language: str | None = None
    """Its language."""
    avg_logprob: Measure | None = None
    """Average log probability of its tokens."""
    no_speech_prob: Probability | None = None
    """How likely there is no speech, from 0 to 1."""
    compression_ratio: Measure | None = None
    """Of its text; a high one means repetition."""
    temperature: float | None = None
    """Of the decoder."""
    flags: list[str] = Field(default_factory=list)
    """Doubts: hallucination_suspected, low_confidence."""
    words: list[Word] = Field(default_factory=list)
    """Its words."""


class Span(_Published):
    """A stretch of a recording."""

    start: Seconds
    """Seconds from the beginning."""
    end: Seconds
    """Seconds from the beginning."""


class SpeakerTurn(BaseModel):
    """One speaker speaks from ``start`` to ``end``. Turns may overlap."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    start: Seconds
    """Seconds from the beginning."""
    end: Seconds
    """Seconds from the beginning."""
    speaker: str
    """Who speaks."""


class Channel(_Published):
    """One channel of a split recording."""

    index: int
    """Its number, from 0."""
    name: str
    """Its speaker's label."""
    language: str | None = None
    """Its language."""
    language_probability: Probability | None = None
    """How sure the engine is, from 0 to 1."""


class Source(_Published):
    """The object the transcript was made from."""

    uri: str
    """Its address."""
    key: str
    """Its key."""
    etag: str
    """Which content it was."""
    version_id: str | None = None
    """Always null."""
    size: int
    """Its size in bytes."""
    sha256: str | None = None
    """Its digest, where it was taken."""


class AudioTrack(_Published):
    """One audio track of a file that has several."""

    number: int
    """Its number, from 1, as `--tracks` takes it."""
    codec: str
    """Its codec, by FFmpeg's name; unknown if FFmpeg cannot decode it."""
    channels: int
    """Number of channels."""
    duration: Seconds | None = None
    """Seconds according to the file's headers."""
    language: str | None = None
    """Its language, as the file has it."""
    title: str | None = None
    """Its title."""
    roles: list[str] = Field(default_factory=list)
    """What it is marked as, in FFmpeg's words: default, comment, visual_impaired, ..."""
    transcribed: bool
    """Whether it is in the transcript; the others were left out."""


class AudioInfo(_Published):
    """What was in the file, and the gain it was given."""

    duration: Seconds
    """Seconds of audio."""
    sample_rate: int
    """Samples per second."""
    channels: int
    """Number of channels."""
    codec: str
    """Its codec, by FFmpeg's name."""
    container: str
    """Its container, by FFmpeg's name."""
    start_time: Seconds = 0.0
    """Time of the first sample."""
    gain_db: float = 0.0
    """How much louder it was made."""
    tracks: list[AudioTrack] = Field(default_factory=list)
    """The file's audio tracks, where it has several."""


class Prepared(BaseModel):
    """A recording's audio and the FLAC file made of it."""

    audio: AudioInfo
    channels: int
    """Channels of the FLAC file: 1, or all with ``split``."""
    undivided: bool = False
    """Whether it has one channel with all parties although channels were to be split."""
    channel_names: list[str] = Field(default_factory=list)
    """Names for its channels from the file itself; empty if it has none."""
    flags: list[str]
    """For the transcript: truncated, decode_errors, header_mismatch, opposite_phase, those of tracks and channels."""


class Provenance(_Published):
    """How the transcript was made: enough to make it again."""

    stenopool_version: str
    """Version of Stenopool."""
    engine: str
    """The speech engine."""
    engine_version: str
    """Its version."""
    model: str
    """The Whisper model."""
    model_digest: str | None = None
    """Digest of the weights."""
    device: str
    """cpu or cuda."""
    compute_type: str
    """Number format of the weights."""
    options: dict[str, Any]
    """The options, as TranscriptionOptions."""
    fingerprint: str
    """Digest of recording, options and versions."""
    stages: dict[str, int]
    """Version of each stage."""
    word_timestamps: Literal["alignment", "attention"] | None = None
    """Where the times of words are from."""
    diarizer: str | None = None
    """What told the speakers apart."""
    diarizer_version: str | None = None
    """Its version."""
    created_at: datetime
    """When it was made."""


class Transcript(_Published):
    """What was said, when and by whom.

    An engine fills text, language and segments; the last stage adds speakers, source, audio and provenance.
    """

    schema_version: str = SCHEMA_VERSION
    """Version of this schema: the first number changes when readers have to."""
    text: str = ""
    """All that is said."""
    language: str | None = None
    """The language that is spoken most."""
    language_probability: Probability | None = None
    """How sure the engine is, from 0 to 1."""
    duration: Seconds = 0.0
    """Seconds of audio."""
    segments: list[Segment] = Field(default_factory=list)
    """What is said, sentence by sentence."""
    speakers: list[str] = Field(default_factory=list)
    """All speakers."""
    turns: list[SpeakerTurn] = Field(default_factory=list)
    """Who speaks when."""
    channels: list[Channel] = Field(default_factory=list)
    """The channels, where they are split."""
    flags: list[str] = Field(default_factory=list)
    """What is odd: truncated, no_speech, opposite_phase, alignment_unavailable, decode_errors, header_mismatch,
    prompt_shortened, speech_unclear, tracks_left_out, single_channel, duplicate_channels, channel_bleed,
    silent_channel, channel_names_mismatch."""
    untranscribed: list[Span] = Field(default_factory=list)
    """What may be speech and could not be transcribed."""
    source: Source | None = None
    """The object that it was made from."""
    audio: AudioInfo | None = None
    """What was in the file."""
    provenance: Provenance | None = None
    """How it was made."""
    timings: dict[str, Seconds] = Field(default_factory=dict)
    """Seconds that each stage took."""

    @computed_field(description="All words in order, as whisperX lists them.")  # type: ignore[prop-decorator]
    @property
    def word_segments(self) -> list[Word]:
        return [word for segment in self.segments for word in segment.words]


def all_flags(transcript: Transcript) -> tuple[str, ...]:
    """The transcript's flags and those of its segments, each once."""
    of_segments = (flag for segment in transcript.segments for flag in segment.flags)
    return tuple(dict.fromkeys([*transcript.flags, *of_segments]))
