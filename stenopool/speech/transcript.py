"""The transcript: the pipeline's typed result, a superset of openai-whisper's and WhisperX's JSON.

Times are float seconds from the start of the file, with 3 decimals. A word may have no times (numbers, for example),
and a speaker may be unknown.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, computed_field

SCHEMA_VERSION = "1.0"

# NaN is not valid in JSON or subtitles: an unknown time is None.
Seconds = Annotated[float, Field(allow_inf_nan=False), AfterValidator(lambda value: round(value, 3))]
Measure = Annotated[float, Field(allow_inf_nan=False), AfterValidator(lambda value: round(value, 4))]
Probability = Measure

# Flags of a segment
HALLUCINATION_SUSPECTED = "hallucination_suspected"
LOW_CONFIDENCE = "low_confidence"
# Flags of a transcript
TRUNCATED = "truncated"  # the decoded audio is shorter than the headers say
NO_SPEECH = "no_speech"  # not an error: the text is empty
OPPOSITE_PHASE = "opposite_phase"  # the channels would cancel each other in a mix; the louder one was transcribed
TRACKS_LEFT_OUT = "tracks_left_out"  # other audio tracks of the file may also contain speech
SINGLE_CHANNEL = "single_channel"  # channels=split, but the recording has one; speakers were identified by voice
DUPLICATE_CHANNELS = "duplicate_channels"  # channels with the same audio were transcribed once
CHANNEL_BLEED = "channel_bleed"  # one channel's audio is audible in another, and was muted there
SILENT_CHANNEL = "silent_channel"  # a split channel is silent
CHANNEL_NAMES_MISMATCH = "channel_names_mismatch"  # the number of names differs from the number of channels
ALIGNMENT_UNAVAILABLE = "alignment_unavailable"  # alignment was requested, but has no model for the language
DECODE_ERRORS = "decode_errors"  # damaged parts were skipped
HEADER_MISMATCH = "header_mismatch"  # the headers contradict each other or the data
PROMPT_SHORTENED = "prompt_shortened"  # prompt and vocabulary were too long: the model read their last tokens
SPEECH_UNCLEAR = "speech_unclear"  # possible speech could not be transcribed; see ``untranscribed``


class _Published(BaseModel):
    """The published schema requires every key, because written files have them all."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True, use_attribute_docstrings=True)


class Word(_Published):
    """A spoken word. ``start`` and ``end`` can be null."""

    word: str
    """The text, with punctuation and the space before it."""
    start: Seconds | None = None
    """Start time, in seconds."""
    end: Seconds | None = None
    """End time, in seconds."""
    probability: Probability | None = None
    """The engine's confidence, from 0 to 1."""
    speaker: str | None = None
    """The speaker."""

    @computed_field(description="Same as probability, under whisperX's name.")  # type: ignore[prop-decorator]
    @property
    def score(self) -> float | None:
        return self.probability


class Segment(_Published):
    """A stretch of speech, about a sentence long."""

    id: int = 0
    """Number of the segment, from 0."""
    start: Seconds
    """Start time, in seconds."""
    end: Seconds
    """End time, in seconds."""
    text: str
    """The text."""
    speaker: str | None = None
    """The speaker."""
    channel: int | None = None
    """The segment's channel, if channels are split."""
    language: str | None = None
    """The language."""
    avg_logprob: Measure | None = None
    """Average log probability of the tokens."""
    no_speech_prob: Probability | None = None
    """Probability that the segment has no speech, from 0 to 1."""
    compression_ratio: Measure | None = None
    """Compression ratio of the text; a high value means repetition."""
    temperature: float | None = None
    """Temperature of the decoder."""
    flags: list[str] = Field(default_factory=list)
    """Reasons to doubt the text: hallucination_suspected, low_confidence."""
    words: list[Word] = Field(default_factory=list)
    """The words."""


class Span(_Published):
    """A part of a recording."""

    start: Seconds
    """Start time, in seconds."""
    end: Seconds
    """End time, in seconds."""


class SpeakerTurn(BaseModel):
    """A period in which one speaker talks. Turns may overlap."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    start: Seconds
    """Start time, in seconds."""
    end: Seconds
    """End time, in seconds."""
    speaker: str
    """The speaker."""


class Channel(_Published):
    """One channel of a split recording."""

    index: int
    """Number of the channel, from 0."""
    name: str
    """Label of the channel's speaker."""
    language: str | None = None
    """The language."""
    language_probability: Probability | None = None
    """The engine's confidence in the language, from 0 to 1."""


class Source(_Published):
    """The object that was transcribed."""

    uri: str
    """URI of the object."""
    key: str
    """Key of the object."""
    etag: str
    """ETag, which identifies the content."""
    version_id: str | None = None
    """Always null."""
    size: int
    """Size in bytes."""
    sha256: str | None = None
    """SHA-256 digest, if computed."""


class AudioTrack(_Published):
    """One audio track of a file that has several."""

    number: int
    """Number of the track, from 1, as for `--tracks`."""
    codec: str
    """Codec, by FFmpeg's name; unknown if FFmpeg cannot decode it."""
    channels: int
    """Number of channels."""
    duration: Seconds | None = None
    """Duration in seconds, according to the file's headers."""
    language: str | None = None
    """Language, as given in the file."""
    title: str | None = None
    """Title."""
    roles: list[str] = Field(default_factory=list)
    """FFmpeg's dispositions of the track: default, comment, visual_impaired, ..."""
    transcribed: bool
    """Whether the transcript includes this track."""


class AudioInfo(_Published):
    """The audio of the file, and the gain applied to it."""

    duration: Seconds
    """Duration in seconds."""
    sample_rate: int
    """Sample rate in hertz."""
    channels: int
    """Number of channels."""
    codec: str
    """Codec, by FFmpeg's name."""
    container: str
    """Container, by FFmpeg's name."""
    start_time: Seconds = 0.0
    """Time of the first sample, in seconds."""
    gain_db: float = 0.0
    """Gain applied, in decibels."""
    tracks: list[AudioTrack] = Field(default_factory=list)
    """The audio tracks, if the file has several."""


class Prepared(BaseModel):
    """Facts about a recording's audio and about its prepared FLAC file."""

    audio: AudioInfo
    channels: int
    """Channels of the FLAC file: 1, or all with ``split``."""
    undivided: bool = False
    """Whether all speakers are in one channel although channels=split was requested."""
    channel_names: list[str] = Field(default_factory=list)
    """Names of the channels according to the file; empty if it has none."""
    flags: list[str]
    """Flags for the transcript: truncated, decode_errors, header_mismatch, opposite_phase, and those of tracks and
    channels."""


class Provenance(_Published):
    """How the transcript was made, in enough detail to reproduce it."""

    stenopool_version: str
    """Version of Stenopool."""
    engine: str
    """Speech engine."""
    engine_version: str
    """Version of the engine."""
    model: str
    """Whisper model."""
    model_digest: str | None = None
    """Digest of the weights."""
    device: str
    """cpu or cuda."""
    compute_type: str
    """Number format of the computation."""
    options: dict[str, Any]
    """The options, as TranscriptionOptions."""
    fingerprint: str
    """Digest of the recording's identity, the options and the stage versions."""
    stages: dict[str, int]
    """Version of each stage."""
    word_timestamps: Literal["alignment", "attention"] | None = None
    """Method that timed the words."""
    diarizer: str | None = None
    """Diarizer that identified the speakers."""
    diarizer_version: str | None = None
    """Version of the diarizer."""
    created_at: datetime
    """Time of creation."""


class Transcript(_Published):
    """What was said, when and by whom.

    An engine sets text, language and segments; later stages add speakers, source, audio and provenance.
    """

    schema_version: str = SCHEMA_VERSION
    """Version of this schema. The first number changes with incompatible changes."""
    text: str = ""
    """The whole text."""
    language: str | None = None
    """The main language."""
    language_probability: Probability | None = None
    """The engine's confidence in the language, from 0 to 1."""
    duration: Seconds = 0.0
    """Duration of the audio in seconds."""
    segments: list[Segment] = Field(default_factory=list)
    """The text, sentence by sentence."""
    speakers: list[str] = Field(default_factory=list)
    """All speakers."""
    turns: list[SpeakerTurn] = Field(default_factory=list)
    """Speaker turns: who speaks when."""
    channels: list[Channel] = Field(default_factory=list)
    """The channels, if they are split."""
    flags: list[str] = Field(default_factory=list)
    """Problems and peculiarities: truncated, no_speech, opposite_phase, alignment_unavailable, decode_errors,
    header_mismatch, prompt_shortened, speech_unclear, tracks_left_out, single_channel, duplicate_channels,
    channel_bleed, silent_channel, channel_names_mismatch."""
    untranscribed: list[Span] = Field(default_factory=list)
    """Possible speech that could not be transcribed."""
    source: Source | None = None
    """The object that was transcribed."""
    audio: AudioInfo | None = None
    """The audio of the file."""
    provenance: Provenance | None = None
    """How the transcript was made."""
    timings: dict[str, Seconds] = Field(default_factory=dict)
    """Duration of each stage, in seconds."""

    @computed_field(description="All words in order, as in whisperX's output.")  # type: ignore[prop-decorator]
    @property
    def word_segments(self) -> list[Word]:
        return [word for segment in self.segments for word in segment.words]


def all_flags(transcript: Transcript) -> tuple[str, ...]:
    """The flags of the transcript and its segments, without duplicates."""
    of_segments = (flag for segment in transcript.segments for flag in segment.flags)
    return tuple(dict.fromkeys([*transcript.flags, *of_segments]))
