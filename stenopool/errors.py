"""Every error a person can meet: a code, what happened, and what to do.

Three kinds, by who has to act:

* `RecordingError`: this one recording cannot be transcribed. It is quarantined; the others go on.
* `TransientError`: the world failed for a moment (network, storage, memory). Tasks retry these, and only these.
* `SetupError`: nothing can be done until somebody changes the installation or the request. The run stops.

A condition that callers catch, or that many places find, has a class of its own below these three (`ObjectNotFound`,
`OptionsInvalid`, ...), so that nobody compares codes. Such a code is raised through its class and nothing else.
"""

from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict


class ErrorCode(StrEnum):
    """Stable names for what can go wrong, in receipts, reports and API answers, each with the usual remedy."""

    remedy: str

    def __new__(cls, value: str, remedy: str) -> Self:
        code = str.__new__(cls, value)
        code._value_, code.remedy = value, remedy
        return code

    @property
    def retryable(self) -> bool:
        """Whether the same work may succeed later without anybody changing anything."""
        return self in TRANSIENT_CODES

    # one recording
    EMPTY_FILE = "EMPTY_FILE", "The object holds no bytes; upload it again."
    NOT_AUDIO = "NOT_AUDIO", "The file is not audio or video that FFmpeg knows; check what wrote it, or exclude it."
    NO_AUDIO_STREAM = "NO_AUDIO_STREAM", "The file has no audio track; exclude it, or export it again with sound."
    INPUT_CORRUPT = "INPUT_CORRUPT", "The file is damaged beyond decoding; upload it again from its origin."
    UNSUPPORTED_CODEC = "UNSUPPORTED_CODEC", "Convert the file to a common codec (FLAC, Opus, AAC, MP3)."
    DECODE_TIMEOUT = "DECODE_TIMEOUT", "Check the file, or raise STENOPOOL_AUDIO__DECODE_TIMEOUT."
    TOO_LONG = "TOO_LONG", "Split the recording, or raise --max-duration."
    TOO_LARGE = "TOO_LARGE", "Split or compress the file, or raise --max-bytes."
    TOO_MANY_CHANNELS = "TOO_MANY_CHANNELS", "At most 8 channels can be split; mix them down, or use --channels mix."
    TOO_MANY_STREAMS = "TOO_MANY_STREAMS", "Export the audio track alone; a recording has one, or a few."
    SAMPLE_RATE_UNUSABLE = "SAMPLE_RATE_UNUSABLE", "Export it again at 16,000 Hz or more; its header may be wrong."
    EXPANDS_TOO_MUCH = "EXPANDS_TOO_MUCH", "Check what wrote it; for a recording, raise STENOPOOL_AUDIO__MAX_RATIO."
    DECODE_MEMORY = "DECODE_MEMORY", "Check the file, or raise STENOPOOL_AUDIO__DECODE_MEMORY."
    EXTERNAL_REFERENCE = "EXTERNAL_REFERENCE", "Give the recordings that it names, not the file that names them."
    KEY_UNUSABLE = "KEY_UNUSABLE", "Rename the object: its key cannot be written at the destination."
    SOURCE_CHANGED = "SOURCE_CHANGED", "The recording was replaced while it was read; the next run takes the new one."
    ENGINE_FAILED = "ENGINE_FAILED", "Run `stenopool retry`; if it fails again, try another engine and report it."
    DIARIZER_FAILED = "DIARIZER_FAILED", "Run again with --diarization off, or with another diarizer."
    TRANSCRIPT_MISSING = "TRANSCRIPT_MISSING", "Delete its receipt, and the next run transcribes it again."
    INTERNAL = "INTERNAL", "This is a fault of Stenopool; report it with the message. `stenopool retry` tries again."
    # the world, for a moment
    SOURCE_UNAVAILABLE = "SOURCE_UNAVAILABLE", "Check the source's endpoint; the next run retries the recording."
    STORAGE_UNAVAILABLE = "STORAGE_UNAVAILABLE", "Check the destination's endpoint; the next run retries the recording."
    OUT_OF_MEMORY = "OUT_OF_MEMORY", "Lower --batch-size or use a smaller model."
    DEVICE_LOST = "DEVICE_LOST", "The GPU stopped answering; the next run retries the recording."
    SCRATCH_FULL = "SCRATCH_FULL", "Free space, or point STENOPOOL_SCRATCH__DIR at a larger disk."
    RUN_LOST = "RUN_LOST", "The next run retries the recording; Prefect's page says what ended this one."
    # the installation or the request
    OBJECT_NOT_FOUND = "OBJECT_NOT_FOUND", "Check the folder, or the bucket, the key and the region."
    ACCESS_DENIED = "ACCESS_DENIED", "Check the credentials and the bucket policy; `stenopool doctor` tests both sides."
    OPTIONS_INVALID = "OPTIONS_INVALID", "Change one of the options named."
    EXTRA_MISSING = "EXTRA_MISSING", "Install the extra that is named, e.g. `uv sync --extra whisperx`."
    MODEL_MISSING = "MODEL_MISSING", "Run `stenopool models fetch NAME`, or set STENOPOOL_MODELS__MIRROR to a mirror."
    MODEL_GATED = "MODEL_GATED", "Accept the model's terms on its page and set HF_TOKEN, or give a local folder."
    MODEL_CORRUPT = "MODEL_CORRUPT", "Remove the folder named and fetch the model again."
    DEVICE_UNAVAILABLE = "DEVICE_UNAVAILABLE", "Use --device cpu, or run `stenopool doctor` to see what CUDA lacks."
    LOCATION_INVALID = "LOCATION_INVALID", "Give a folder, s3://bucket/prefix or block://s3-bucket/NAME/prefix."
    RECEIPT_CORRUPT = "RECEIPT_CORRUPT", "Delete the object that is named; the next run does its recording again."
    DEPLOYMENT_MISSING = "DEPLOYMENT_MISSING", "Run `stenopool deploy`, or set STENOPOOL_DISPATCH__BY=inline."
    NAME_TAKEN = "NAME_TAKEN", "Rename what has the name, or give `stenopool deploy --adopt` to overwrite it."


TRANSIENT_CODES = frozenset(
    {
        ErrorCode.SOURCE_UNAVAILABLE,
        ErrorCode.STORAGE_UNAVAILABLE,
        ErrorCode.OUT_OF_MEMORY,
        ErrorCode.DEVICE_LOST,
        ErrorCode.SCRATCH_FULL,
        ErrorCode.SOURCE_CHANGED,
        ErrorCode.RUN_LOST,
    }
)


class Failure(BaseModel):
    """Why one recording has no transcript: what a receipt keeps and a report prints."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    code: ErrorCode
    """A stable name; docs/errors.md lists them."""
    message: str
    """What happened."""
    remedy: str
    """What to do."""
    stage: str | None = None
    """The stage in which it happened."""


class StenopoolError(Exception):
    """Base of Stenopool's errors: ``code``, ``message``, ``remedy``."""

    code: ErrorCode

    def __init__(self, code: ErrorCode, message: str, *, remedy: str | None = None) -> None:
        super().__init__(code, message)  # the arguments of a copy out of a pickle, which then gets our attributes
        self.code = code
        self.message = message
        self.remedy = remedy or code.remedy

    def __str__(self) -> str:
        return f"{self.code}: {self.message} {self.remedy}"

    def failure(self, stage: str | None = None) -> Failure:
        """This error as the record that a receipt keeps."""
        return Failure(code=self.code, message=self.message, remedy=self.remedy, stage=stage)


class RecordingError(StenopoolError):
    """One recording cannot be transcribed; the others go on."""


class TransientError(StenopoolError):
    """The world failed for a moment; trying again may help."""


class SetupError(StenopoolError):
    """Installation or request must change before anything can run."""


class _Condition(StenopoolError):
    """An error with one code, which the class names; ``remedy`` replaces that of the catalogue."""

    def __init_subclass__(cls, *, code: ErrorCode) -> None:
        cls.code = code

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(self.code, message, remedy=remedy)
        self.args = (message,)


class KeyUnusable(_Condition, RecordingError, code=ErrorCode.KEY_UNUSABLE):
    """The store cannot hold an object with this key."""


class SourceChanged(_Condition, TransientError, code=ErrorCode.SOURCE_CHANGED):
    """The object has been replaced since it was listed."""


class StorageUnavailable(_Condition, TransientError, code=ErrorCode.STORAGE_UNAVAILABLE):
    """The store does not answer, or answers with an error of its own."""


class RunLost(_Condition, TransientError, code=ErrorCode.RUN_LOST):
    """A run ended without finishing its recordings; the next one takes them."""


class OutOfMemory(_Condition, TransientError, code=ErrorCode.OUT_OF_MEMORY):
    """The machine or its GPU has no memory left."""


class ObjectNotFound(_Condition, SetupError, code=ErrorCode.OBJECT_NOT_FOUND):
    """There is no such object, folder, bucket, block or file."""


class AccessDenied(_Condition, SetupError, code=ErrorCode.ACCESS_DENIED):
    """The credentials are missing, wrong, or not enough."""


class ReceiptCorrupt(_Condition, SetupError, code=ErrorCode.RECEIPT_CORRUPT):
    """A receipt says nothing that can be read."""


class OptionsInvalid(_Condition, SetupError, code=ErrorCode.OPTIONS_INVALID):
    """An option, a setting or a request says something that cannot be done."""


class LocationInvalid(_Condition, SetupError, code=ErrorCode.LOCATION_INVALID):
    """What is given as a source, a destination or a mirror cannot be one."""


class ModelMissing(_Condition, SetupError, code=ErrorCode.MODEL_MISSING):
    """The weights are neither on this machine nor to be had."""


class DeviceUnavailable(_Condition, SetupError, code=ErrorCode.DEVICE_UNAVAILABLE):
    """The device that was requested cannot be used."""
