"""What an exception inside an engine means: this recording's fault, or the device's."""

from soundfile import LibsndfileError

from stenopool.errors import ErrorCode, Failure, OutOfMemory, RecordingError, StenopoolError, TransientError
from stenopool.speech.engines.base import Utterance


def to_failure(error: Exception, utterance: Utterance, device: str) -> Failure:
    """The failure of one utterance. Raises `TransientError` OUT_OF_MEMORY or DEVICE_LOST where it is the device's."""
    if isinstance(error, StenopoolError):
        return error.failure("transcribe")
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError) or "out of memory" in text.lower():
        message = f"{device} ran out of memory while transcribing {utterance.id}."
        raise OutOfMemory(message) from error
    if "cuda error" in text.lower() or "cudnn" in text.lower():
        message = f"The GPU failed while transcribing {utterance.id}: {error}."
        raise TransientError(ErrorCode.DEVICE_LOST, message) from error
    if isinstance(error, LibsndfileError | OSError):
        message = f"The prepared audio of {utterance.id} cannot be read: {error}."
        return RecordingError(ErrorCode.INPUT_CORRUPT, message).failure("transcribe")
    return RecordingError(ErrorCode.ENGINE_FAILED, f"{utterance.id}: {text}.").failure("transcribe")
