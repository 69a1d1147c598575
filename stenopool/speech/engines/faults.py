"""What an exception inside an engine means: this recording's failure, or an end of the whole call."""

from soundfile import LibsndfileError

from stenopool.errors import ErrorCode, Failure, RecordingError
from stenopool.speech.devices import translate_faults
from stenopool.speech.engines.base import Utterance


def to_failure(error: Exception, utterance: Utterance) -> Failure:
    """The failure of one utterance.

    Raises `TransientError` and `SetupError`: the device, the storage or the installation failed, so the utterance is
    to be tried again.
    """
    try:
        with translate_faults(f"Transcribing {utterance.id}", ErrorCode.ENGINE_FAILED):
            if isinstance(error, LibsndfileError | OSError):
                message = f"The prepared audio of {utterance.id} cannot be read: {error}."
                raise RecordingError(ErrorCode.INPUT_CORRUPT, message) from error
            raise error
    except RecordingError as fault:
        return fault.failure("transcribe")
