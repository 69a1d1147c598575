"""Every error a person can meet: a code, what happened, and what to do.

Three kinds, by who has to act:

* `RecordingError`: this one recording cannot be transcribed. It is quarantined or waits, as the code says; the others
  continue.
* `TransientError`: the world failed for a moment (network, storage, memory). Tasks retry these, and only these; what
  is not done then waits for the next run.
* `SetupError`: nothing can be done until somebody changes the installation or the request. The run stops.

A condition that callers catch, or that many places find, has a class of its own below these three (`ObjectNotFound`,
`OptionsInvalid`, ...), so that nobody compares codes. Such a code is raised through its class and nothing else.
"""

from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict


class Disposition(StrEnum):
    """What happens to a recording after an error.

    A receipt is bound to the recording's content. So what is wrong with the content or its name is quarantined: another
    try would meet the same. What is wrong around it (permissions, a storage class, a disk, a network) may change while
    the content stays as it is, so it waits.
    """

    QUARANTINE = "quarantine"
    """It needs a person. The next runs leave it alone; `stenopool retry` tries it again."""
    WAIT = "wait"
    """The next run tries it again on its own; there is nothing to reset."""
    STOP = "stop"
    """Nothing about a recording: the run ends, and no recording is marked. After the remedy, run it again."""


_QUARANTINE, _WAIT, _STOP = Disposition.QUARANTINE, Disposition.WAIT, Disposition.STOP


class ErrorCode(StrEnum):
    """Stable names for what can go wrong, in receipts, reports and API answers.

    Each with what happens to the recording, what it means, and the usual remedy. docs/what-happens-to-my-file.md and
    docs/errors.md are made from this table.
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
        """Whether the next run tries the same recording again without anybody resetting anything."""
        return self.disposition is Disposition.WAIT

    # fmt: off
    # what the recording is
    EMPTY_FILE = ("EMPTY_FILE", _QUARANTINE, "The object holds no bytes.", "Upload it again.")
    NOT_AUDIO = ("NOT_AUDIO", _QUARANTINE, "FFmpeg does not know the file as audio or video.",
        "Check what wrote it, or exclude it.")
    NO_AUDIO_STREAM = ("NO_AUDIO_STREAM", _QUARANTINE, "The file has no audio track.",
        "Exclude it, or export it again with sound.")
    INPUT_CORRUPT = ("INPUT_CORRUPT", _QUARANTINE, "The file is damaged beyond decoding.",
        "Upload it again from its origin.")
    TRACK_NOT_FOUND = ("TRACK_NOT_FOUND", _QUARANTINE, "The file has no audio track of this number, language or title.",
        "Give --tracks one that it has, or leave it out.")
    UNSUPPORTED_CODEC = ("UNSUPPORTED_CODEC", _QUARANTINE, "The audio is in a codec that FFmpeg does not decode.",
        "Convert it to a common codec (FLAC, Opus, AAC, MP3).")
    DECODE_TIMEOUT = ("DECODE_TIMEOUT", _QUARANTINE, "Decoding took longer than allowed.",
        "Check the file, or raise STENOPOOL_AUDIO__DECODE_TIMEOUT.")
    TOO_LONG = ("TOO_LONG", _QUARANTINE, "The recording is longer than allowed.", "Split it, or raise --max-duration.")
    TOO_LARGE = ("TOO_LARGE", _QUARANTINE, "The file has more bytes than allowed.",
        "Split or compress it, or raise --max-bytes.")
    TOO_MANY_CHANNELS = ("TOO_MANY_CHANNELS", _QUARANTINE, "At most 8 channels can be split.",
        "Mix them down, or use --channels mix.")
    TOO_MANY_STREAMS = ("TOO_MANY_STREAMS", _QUARANTINE, "The file has more tracks than a recording has.",
        "Export the audio track alone.")
    SAMPLE_RATE_UNUSABLE = ("SAMPLE_RATE_UNUSABLE", _QUARANTINE,
        "The sample rate is too low or too high for speech; the header may be wrong.",
        "Export it again at 16,000 Hz or more.")
    EXPANDS_TOO_MUCH = ("EXPANDS_TOO_MUCH", _QUARANTINE, "A small file decodes to very much audio.",
        "Check what wrote it; for a recording, raise STENOPOOL_AUDIO__MAX_RATIO.")
    DECODE_MEMORY = ("DECODE_MEMORY", _QUARANTINE, "Decoding took more memory than allowed.",
        "Check the file, or raise STENOPOOL_AUDIO__DECODE_MEMORY.")
    EXTERNAL_REFERENCE = ("EXTERNAL_REFERENCE", _QUARANTINE,
        "The file names other files instead of holding sound, as playlists do.",
        "Give the recordings that it names.")
    KEY_UNUSABLE = ("KEY_UNUSABLE", _QUARANTINE,
        "The key or file name cannot be used: too long, not UTF-8, or not possible at the destination.",
        "Rename the object.")
    NOT_A_FILE = ("NOT_A_FILE", _QUARANTINE,
        "A pipe, socket or device, or a link that leads nowhere or out of the folder. It is not opened.",
        "Remove it, or exclude it.")
    ENGINE_FAILED = ("ENGINE_FAILED", _QUARANTINE, "The engine failed on this recording.",
        "Run `stenopool retry`; if it fails again, try another engine and report it.")
    DIARIZER_FAILED = ("DIARIZER_FAILED", _QUARANTINE, "The diarizer failed on this recording.",
        "Run again with --diarization off, or with another diarizer.")
    TRANSCRIPT_MISSING = ("TRANSCRIPT_MISSING", _QUARANTINE,
        "A receipt says that the recording is done, but its transcript is gone.",
        "Delete its receipt, and the next run transcribes it again.")
    INTERNAL = ("INTERNAL", _QUARANTINE, "A fault of Stenopool.",
        "Report it with the message. `stenopool retry` tries again.")
    # how its object can be read and written
    OBJECT_ARCHIVED = ("OBJECT_ARCHIVED", _WAIT,
        "The object is in a storage class that cannot be read at once, such as GLACIER or DEEP_ARCHIVE.",
        "Restore it, or exclude it; the next run after that transcribes it.")
    OBJECT_DENIED = ("OBJECT_DENIED", _WAIT, "This object, file or folder may not be read, though its source answers.",
        "Allow reading it, or exclude it; the next run after that transcribes it.")
    OBJECT_ENCRYPTED = ("OBJECT_ENCRYPTED", _WAIT,
        "The object is encrypted with a key that these credentials may not use, or that is disabled.",
        "Allow the use of the key (kms:Decrypt), or exclude the object; the next run after that transcribes it.")
    OBJECT_GONE = ("OBJECT_GONE", _WAIT, "The object was listed, and was gone when its turn came.",
        "Nothing, if it was deleted or moved on purpose: the next run takes what the source then has.")
    OBJECT_UNREADABLE = ("OBJECT_UNREADABLE", _WAIT,
        "Reading this object fails again and again, though its source answers.",
        "Check the object and the disk or server that holds it; the next run tries again.")
    OUTPUT_DENIED = ("OUTPUT_DENIED", _WAIT,
        "The files of this recording may not be written, though the destination takes others.",
        "Check owner, permissions and locks of its folder at the destination; the next run writes them.")
    SOURCE_CHANGED = ("SOURCE_CHANGED", _WAIT, "The recording was replaced, or still grew, while it was read.",
        "Nothing: the next run takes the new content.")
    # the world, for a moment
    SOURCE_UNAVAILABLE = ("SOURCE_UNAVAILABLE", _WAIT, "The source does not answer.",
        "Check its endpoint and the network; the next run tries again.")
    STORAGE_UNAVAILABLE = ("STORAGE_UNAVAILABLE", _WAIT,
        "A store does not answer, or answers with a server error.",
        "Check its endpoint and the network; the next run tries again.")
    OUT_OF_MEMORY = ("OUT_OF_MEMORY", _WAIT, "The machine or its GPU has no memory left.",
        "Lower --batch-size or use a smaller model.")
    DEVICE_LOST = ("DEVICE_LOST", _WAIT, "The GPU stopped answering.",
        "Check the GPU and its driver; the next run tries again.")
    SCRATCH_FULL = ("SCRATCH_FULL", _WAIT, "The local disk for temporary files is full.",
        "Free space, or point STENOPOOL_SCRATCH__DIR at a larger disk.")
    RUN_LOST = ("RUN_LOST", _WAIT, "The run ended before this recording was done.",
        "The next run tries again; Prefect's page says what ended this one.")
    # the installation or the request
    OBJECT_NOT_FOUND = ("OBJECT_NOT_FOUND", _STOP, "There is no such folder, bucket or object.",
        "Check the folder, or the bucket, the key and the region.")
    ACCESS_DENIED = ("ACCESS_DENIED", _STOP, "The credentials are missing, wrong, or not enough for the whole store.",
        "Check the credentials and the bucket policy, or the folder's permissions; `stenopool doctor` tests both.")
    OPTIONS_INVALID = ("OPTIONS_INVALID", _STOP, "Options that cannot be used, or not together.",
        "Change one of the options named.")
    EXTRA_MISSING = ("EXTRA_MISSING", _STOP, "A package that the options need is not installed.",
        "Install the extra that is named, e.g. `uv sync --extra whisperx`.")
    MODEL_MISSING = ("MODEL_MISSING", _STOP, "The weights are not on this machine.",
        "Run `stenopool models fetch NAME`, or set STENOPOOL_MODELS__MIRROR to a mirror.")
    MODEL_GATED = ("MODEL_GATED", _STOP, "The model's terms have to be accepted first.",
        "Accept them on its page and set HF_TOKEN, or give a local folder.")
    MODEL_CORRUPT = ("MODEL_CORRUPT", _STOP, "The weights are not those that were published.",
        "Remove the folder named and fetch the model again.")
    DEVICE_UNAVAILABLE = ("DEVICE_UNAVAILABLE", _STOP, "The device that was requested cannot be used.",
        "Use --device cpu, or run `stenopool doctor` to see what CUDA lacks.")
    LOCATION_INVALID = ("LOCATION_INVALID", _STOP,
        "The source, destination or mirror is not an address that can be used.",
        "Give a folder, s3://bucket/prefix or block://s3-bucket/NAME/prefix.")
    RECEIPT_CORRUPT = ("RECEIPT_CORRUPT", _STOP, "A receipt cannot be read.",
        "Delete the object that is named; the next run does its recording again.")
    DEPLOYMENT_MISSING = ("DEPLOYMENT_MISSING", _STOP, "The Prefect server lacks Stenopool's deployments.",
        "Run `stenopool deploy`, or set STENOPOOL_DISPATCH__BY=inline.")
    NAME_TAKEN = ("NAME_TAKEN", _STOP, "Something that is not Stenopool's has this name on the Prefect server.",
        "Rename it, or give `stenopool deploy --adopt` to overwrite it.")
    # fmt: on


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


class NotAFile(_Condition, RecordingError, code=ErrorCode.NOT_A_FILE):
    """There is something by this name, but no content that can be read."""


class ObjectArchived(_Condition, RecordingError, code=ErrorCode.OBJECT_ARCHIVED):
    """The object has to be restored from its storage class before it can be read."""


class ObjectEncrypted(_Condition, RecordingError, code=ErrorCode.OBJECT_ENCRYPTED):
    """The object is encrypted with a key that we may not use."""


class ObjectError(RecordingError):
    """One object is refused or missing; or every object of its store is, and the words are the same.

    Which of the two it is, is decided by evidence where the error is handled (`stenopool.pipeline.evidence`).
    """


class ObjectDenied(_Condition, ObjectError, code=ErrorCode.OBJECT_DENIED):
    """The object may not be read."""


class ObjectGone(_Condition, ObjectError, code=ErrorCode.OBJECT_GONE):
    """The object was listed, and is gone."""


class ObjectUnreadable(_Condition, ObjectError, code=ErrorCode.OBJECT_UNREADABLE):
    """The store answers, but not for this object."""


class OutputDenied(_Condition, ObjectError, code=ErrorCode.OUTPUT_DENIED):
    """This recording's files may not be written."""


class SourceUnavailable(_Condition, TransientError, code=ErrorCode.SOURCE_UNAVAILABLE):
    """The source does not answer, or not with what it listed."""


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
