"""What an exception inside an engine means: this recording's failure, or an end of the whole call."""

from collections.abc import Callable, Iterable, Iterator

from soundfile import LibsndfileError

from stenopool.errors import ErrorCode, Failure, RecordingError
from stenopool.speech.audio.waveform import Waveform
from stenopool.speech.devices import translate_faults
from stenopool.speech.engines.base import Utterance
from stenopool.speech.transcript import Transcript


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


def transcribe_one_by_one(
    batch: Iterable[Utterance], transcribe: Callable[[Waveform], Transcript]
) -> Iterator[tuple[Utterance, Transcript | Failure]]:
    """Each utterance with its transcript or its failure, for engines that take one at a time.

    Raises what ``batch`` raises, and what `to_failure` does.
    """
    for utterance in batch:
        result: Transcript | Failure
        try:
            result = transcribe(utterance.waveform)
        except Exception as error:
            result = to_failure(error, utterance)
        yield utterance, result
