"""Stenopool's errors: each has a code, a message and a remedy.

There are three categories:

* `RecordingError`: one recording cannot be transcribed. Depending on the code, it is quarantined or waits for the next
  run. The other recordings continue.
* `TransientError`: a temporary failure (network, storage, memory). Tasks retry only these; recordings that still fail
  wait for the next run.
* `SetupError`: the installation or the request must be changed first. The run stops.

A condition that callers catch, or that is raised in many places, has its own subclass (`ObjectNotFound`,
`OptionsInvalid` and so on), so callers never compare codes. Raise such a code only through its class.
"""

from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict


class Disposition(StrEnum):
    """What happens to a recording after an error.

    A receipt is bound to the recording's content. A fault in the content or its name therefore leads to quarantine:
    another attempt would fail in the same way. A fault outside the recording (permissions, storage class, disk,
    network) can disappear while the content stays the same, so the recording waits.
    """

    QUARANTINE = "quarantine"
    """Requires attention. Later runs skip the recording; `stenopool retry` tries it again."""
    WAIT = "wait"
    """The next run tries the recording again automatically."""
    STOP = "stop"
    """The fault is not in a recording: the run ends, and no recording is marked. Fix the cause and run it again."""


_QUARANTINE, _WAIT, _STOP = Disposition.QUARANTINE, Disposition.WAIT, Disposition.STOP


class ErrorCode(StrEnum):
    """Stable error codes, used in receipts, reports and API responses.

    Each has a disposition, a meaning and the usual remedy. docs/what-happens-to-my-file.md and docs/errors.md are
    generated from this table.
    """

    disposition: Disposition
    meaning: str
    remedy: str

    def __new__(cls, value: str, disposition: Disposition, meaning: str, remedy: str) -> Self:
        code = str.__new__(cls, value)
        code._value_, code.disposition, code.meaning, code.remedy = value, disposition, meaning, remedy
        return code

    @property
    def retryable(self) -> bool:
        """Whether the next run tries the same recording again automatically."""
        return self.disposition is Disposition.WAIT

    # fmt: off
    # faults of the recording itself
    EMPTY_FILE = ("EMPTY_FILE", _QUARANTINE, "The file is empty.", "Upload it again.")
    NOT_AUDIO = ("NOT_AUDIO", _QUARANTINE, "FFmpeg does not recognize the file as audio or video.",
        "Check the program that wrote it, or exclude the file.")
    NO_AUDIO_STREAM = ("NO_AUDIO_STREAM", _QUARANTINE, "The file has no audio track.",
        "Exclude it, or export it again with an audio track.")
    INPUT_CORRUPT = ("INPUT_CORRUPT", _QUARANTINE, "The file is damaged beyond decoding.",
        "Upload it again from the original.")
    TRACK_NOT_FOUND = ("TRACK_NOT_FOUND", _QUARANTINE,
        "The file has no audio track with this number, language or title.",
        "Set --tracks to a track that exists, or omit it.")
    UNSUPPORTED_CODEC = ("UNSUPPORTED_CODEC", _QUARANTINE, "FFmpeg cannot decode the audio codec.",
        "Convert it to a common codec (FLAC, Opus, AAC, MP3).")
    DECODE_TIMEOUT = ("DECODE_TIMEOUT", _QUARANTINE, "Decoding exceeded the time limit.",
        "Check the file, or raise STENOPOOL_AUDIO__DECODE_TIMEOUT.")
    TOO_LONG = ("TOO_LONG", _QUARANTINE,
        "The recording exceeds the maximum duration.", "Split it, or raise --max-duration.")
    TOO_LARGE = ("TOO_LARGE", _QUARANTINE, "The file exceeds the maximum size.",
        "Split or compress it, or raise --max-bytes.")
    TOO_MANY_CHANNELS = ("TOO_MANY_CHANNELS", _QUARANTINE, "At most 8 channels can be split.",
        "Mix them down, or use --channels mix.")
    TOO_MANY_STREAMS = ("TOO_MANY_STREAMS", _QUARANTINE, "The file has too many tracks for a recording.",
        "Export only the audio track.")
    SAMPLE_RATE_UNUSABLE = ("SAMPLE_RATE_UNUSABLE", _QUARANTINE,
        "The sample rate is too low or too high for speech; the header may be wrong.",
        "Export it again at 16,000 Hz or more.")
    EXPANDS_TOO_MUCH = ("EXPANDS_TOO_MUCH", _QUARANTINE, "The file decodes to far more audio than its size suggests.",
        "Check the program that wrote it. If the file is a real recording, raise STENOPOOL_AUDIO__MAX_RATIO.")
    DECODE_MEMORY = ("DECODE_MEMORY", _QUARANTINE, "Decoding exceeded the memory limit.",
        "Check the file, or raise STENOPOOL_AUDIO__DECODE_MEMORY.")
    EXTERNAL_REFERENCE = ("EXTERNAL_REFERENCE", _QUARANTINE,
        "The file refers to other files instead of containing audio, as playlists do.",
        "Submit the recordings that it refers to.")
    KEY_UNUSABLE = ("KEY_UNUSABLE", _QUARANTINE,
        "The key or file name cannot be used: it is too long, not UTF-8, or not allowed at the destination.",
        "Rename the object.")
    NOT_A_FILE = ("NOT_A_FILE", _QUARANTINE,
        "A pipe, socket or device, or a link that is broken or points outside the folder. It is not opened.",
        "Remove it, or exclude it.")
    ENGINE_FAILED = ("ENGINE_FAILED", _QUARANTINE, "The engine failed on this recording.",
        "Run `stenopool retry`. If it fails again, try another engine and report the fault.")
    DIARIZER_FAILED = ("DIARIZER_FAILED", _QUARANTINE, "The diarizer failed on this recording.",
        "Run again with --diarization off, or with another diarizer.")
    TRANSCRIPT_MISSING = ("TRANSCRIPT_MISSING", _QUARANTINE,
        "The receipt exists but the transcript is missing.",
        "Delete the receipt to transcribe the recording again.")
    INTERNAL = ("INTERNAL", _QUARANTINE, "An internal error in Stenopool.",
        "Report it with the message. `stenopool retry` tries the recording again.")
    # faults in reading or writing its objects
    OBJECT_ARCHIVED = ("OBJECT_ARCHIVED", _WAIT,
        "The object is in a storage class that must be restored first, such as GLACIER or DEEP_ARCHIVE.",
        "Restore it, or exclude it. The next run after the restore transcribes it.")
    OBJECT_DENIED = ("OBJECT_DENIED", _WAIT,
        "Access to this object, file or folder is denied; the rest of the source is readable.",
        "Grant read access, or exclude it. The next run transcribes it once it is readable.")
    OBJECT_ENCRYPTED = ("OBJECT_ENCRYPTED", _WAIT,
        "The object is encrypted with a key that is disabled or not allowed for these credentials.",
        "Allow use of the key (kms:Decrypt), or exclude the object. The next run transcribes it once it is readable.")
    OBJECT_GONE = ("OBJECT_GONE", _WAIT, "The object was listed but had been removed before it was read.",
        "No action is needed if it was deleted or moved on purpose. The next run lists the source again.")
    OBJECT_UNREADABLE = ("OBJECT_UNREADABLE", _WAIT,
        "Reading this object fails repeatedly, although the source is available.",
        "Check the object and the disk or server that stores it. The next run tries again.")
    OUTPUT_DENIED = ("OUTPUT_DENIED", _WAIT,
        "Access to this recording's output files is denied, although the destination is writable.",
        "Check the owner, permissions and locks of its folder at the destination. The next run tries again.")
    SOURCE_CHANGED = ("SOURCE_CHANGED", _WAIT,
        "The recording was replaced or was still being written while it was read.",
        "No action is needed: the next run transcribes the new content.")
    # temporary faults
    SOURCE_UNAVAILABLE = ("SOURCE_UNAVAILABLE", _WAIT, "The source does not respond.",
        "Check its endpoint and the network; the next run tries again.")
    STORAGE_UNAVAILABLE = ("STORAGE_UNAVAILABLE", _WAIT,
        "A store does not respond, or responds with a server error.",
        "Check its endpoint and the network; the next run tries again.")
    OUT_OF_MEMORY = ("OUT_OF_MEMORY", _WAIT, "The machine or its GPU ran out of memory.",
        "Lower --batch-size or use a smaller model.")
    DEVICE_LOST = ("DEVICE_LOST", _WAIT, "The GPU stopped responding.",
        "Check the GPU and its driver. The next run tries again.")
    SCRATCH_FULL = ("SCRATCH_FULL", _WAIT, "The local disk for temporary files is full.",
        "Free space, or point STENOPOOL_SCRATCH__DIR at a larger disk.")
    RUN_LOST = ("RUN_LOST", _WAIT, "The run ended before this recording was done.",
        "The next run tries again. The Prefect UI shows why this run ended.")
    # faults of the installation or the request
    OBJECT_NOT_FOUND = ("OBJECT_NOT_FOUND", _STOP, "The folder, bucket or object does not exist.",
        "Check the folder's path, or the bucket, key and region.")
    ACCESS_DENIED = ("ACCESS_DENIED", _STOP,
        "The credentials are missing, invalid or not sufficient for the whole store.",
        "Check the credentials and the bucket policy, or the folder's permissions; `stenopool doctor` tests both.")
    OPTIONS_INVALID = ("OPTIONS_INVALID", _STOP, "An option is invalid, or cannot be combined with another.",
        "Change one of the options in the message.")
    EXTRA_MISSING = ("EXTRA_MISSING", _STOP, "A package required by the options is not installed.",
        "Install the extra in the message, e.g. `uv sync --extra whisperx`.")
    MODEL_MISSING = ("MODEL_MISSING", _STOP, "The weights are not on this machine.",
        "Run `stenopool models fetch NAME`, or set STENOPOOL_MODELS__MIRROR to a mirror.")
    MODEL_GATED = ("MODEL_GATED", _STOP, "The model's terms must be accepted first.",
        "Accept them on the model's page and set HF_TOKEN, or use a local folder.")
    MODEL_CORRUPT = ("MODEL_CORRUPT", _STOP, "The weights do not match the published checksums.",
        "Delete the folder in the message and fetch the model again.")
    DEVICE_UNAVAILABLE = ("DEVICE_UNAVAILABLE", _STOP,
        "The requested device cannot be used.",
        "Use --device cpu, or run `stenopool doctor` to find out what CUDA is missing.")
    LOCATION_INVALID = ("LOCATION_INVALID", _STOP,
        "The address of the source, destination or mirror is not valid.",
        "Use a folder, s3://bucket/prefix or block://s3-bucket/NAME/prefix.")
    RECEIPT_CORRUPT = ("RECEIPT_CORRUPT", _STOP, "A receipt cannot be read.",
        "Delete the object in the message. The next run transcribes the recording again.")
    DEPLOYMENT_MISSING = ("DEPLOYMENT_MISSING", _STOP, "Stenopool's deployments are not on the Prefect server.",
        "Run `stenopool deploy`, or set STENOPOOL_DISPATCH__BY=inline.")
    NAME_TAKEN = ("NAME_TAKEN", _STOP,
        "This name is already in use on the Prefect server, by something that is not part of Stenopool.",
        "Rename it, or run `stenopool deploy --adopt` to overwrite it.")
    # fmt: on


class Failure(BaseModel):
    """Why a recording has no transcript, as stored in receipts and shown in reports."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    code: ErrorCode
    """Stable error code; see docs/errors.md."""
    message: str
    """Description of the failure."""
    remedy: str
    """Suggested remedy."""
    stage: str | None = None
    """The stage that failed."""


class StenopoolError(Exception):
    """Base of Stenopool's errors: ``code``, ``message``, ``remedy``."""

    code: ErrorCode

    def __init__(self, code: ErrorCode, message: str, *, remedy: str | None = None) -> None:
        super().__init__(code, message)  # used when a pickled copy is created; its attributes are restored afterwards
        self.code = code
        self.message = message
        self.remedy = remedy or code.remedy

    def __str__(self) -> str:
        return f"{self.code}: {self.message} {self.remedy}"

    def failure(self, stage: str | None = None) -> Failure:
        """This error as a record for a receipt."""
        return Failure(code=self.code, message=self.message, remedy=self.remedy, stage=stage)


class RecordingError(StenopoolError):
    """One recording cannot be transcribed; the others continue."""


class TransientError(StenopoolError):
    """A temporary failure; another attempt may succeed."""


class SetupError(StenopoolError):
    """The installation or the request must change before anything can run."""


class _Condition(StenopoolError):
    """An error whose class defines its code; ``remedy`` overrides the code's usual remedy."""

    def __init_subclass__(cls, *, code: ErrorCode) -> None:
        cls.code = code

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(self.code, message, remedy=remedy)
        self.args = (message,)


class KeyUnusable(_Condition, RecordingError, code=ErrorCode.KEY_UNUSABLE):
    """The store cannot hold an object with this key."""


class NotAFile(_Condition, RecordingError, code=ErrorCode.NOT_A_FILE):
    """The name exists, but it is not a file that can be read."""


class ObjectArchived(_Condition, RecordingError, code=ErrorCode.OBJECT_ARCHIVED):
    """The object must be restored from its storage class before it can be read."""


class ObjectEncrypted(_Condition, RecordingError, code=ErrorCode.OBJECT_ENCRYPTED):
    """The object is encrypted with a key that Stenopool is not allowed to use."""


class ObjectError(RecordingError):
    """One object is refused or missing, or all objects of its store are; the error is the same.

    The handler finds out which (`stenopool.pipeline.evidence`).
    """


class ObjectDenied(_Condition, ObjectError, code=ErrorCode.OBJECT_DENIED):
    """Read access to the object is denied."""


class ObjectGone(_Condition, ObjectError, code=ErrorCode.OBJECT_GONE):
    """The object was listed but no longer exists."""


class ObjectUnreadable(_Condition, ObjectError, code=ErrorCode.OBJECT_UNREADABLE):
    """The store responds, but not for this object."""


class OutputDenied(_Condition, ObjectError, code=ErrorCode.OUTPUT_DENIED):
    """Write access to this recording's output files is denied."""


class SourceUnavailable(_Condition, TransientError, code=ErrorCode.SOURCE_UNAVAILABLE):
    """The source does not respond, or its response differs from the listing."""


class SourceChanged(_Condition, TransientError, code=ErrorCode.SOURCE_CHANGED):
    """The object has been replaced since it was listed."""


class StorageUnavailable(_Condition, TransientError, code=ErrorCode.STORAGE_UNAVAILABLE):
    """The store does not respond, or responds with a server error."""


class RunLost(_Condition, TransientError, code=ErrorCode.RUN_LOST):
    """A run ended without finishing its recordings; the next run tries them again."""


class OutOfMemory(_Condition, TransientError, code=ErrorCode.OUT_OF_MEMORY):
    """The machine or its GPU ran out of memory."""


class ObjectNotFound(_Condition, SetupError, code=ErrorCode.OBJECT_NOT_FOUND):
    """The object, folder, bucket, block or file does not exist."""


class AccessDenied(_Condition, SetupError, code=ErrorCode.ACCESS_DENIED):
    """The credentials are missing, invalid or not sufficient."""


class ReceiptCorrupt(_Condition, SetupError, code=ErrorCode.RECEIPT_CORRUPT):
    """A receipt cannot be read."""


class OptionsInvalid(_Condition, SetupError, code=ErrorCode.OPTIONS_INVALID):
    """An option, setting or request is not valid."""


class LocationInvalid(_Condition, SetupError, code=ErrorCode.LOCATION_INVALID):
    """The address of a source, destination or mirror is not valid."""


class ModelMissing(_Condition, SetupError, code=ErrorCode.MODEL_MISSING):
    """The weights are not on this machine and cannot be downloaded."""


class DeviceUnavailable(_Condition, SetupError, code=ErrorCode.DEVICE_UNAVAILABLE):
    """The requested device cannot be used."""
