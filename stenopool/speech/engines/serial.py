"""What the engines share that take one utterance at a time."""

from collections.abc import Iterable, Iterator
from importlib.metadata import version
from threading import Lock

from stenopool.errors import Failure
from stenopool.options import EngineName, MachineOptions, TranscriptionOptions
from stenopool.speech.audio.waveform import Waveform
from stenopool.speech.devices import choose_placement
from stenopool.speech.engines.base import Utterance
from stenopool.speech.engines.faults import to_failure
from stenopool.speech.transcript import Transcript


class SerialEngine:
    """Base of engines whose library keeps state while it transcribes. They say what `load` and `_transcribe` do."""

    concurrent = False

    def __init__(self, model: str, execution: MachineOptions, *, engine: EngineName, package: str) -> None:
        self.model = model
        self.execution = execution
        self.version = version(package)
        self.device, self.compute_type = choose_placement(execution, engine=engine)
        self.model_digest: str | None = None
        self._lock = Lock()

    def load(self) -> None:
        raise NotImplementedError

    def transcribe(
        self, batch: Iterable[Utterance], options: TranscriptionOptions
    ) -> Iterator[tuple[Utterance, Transcript | Failure]]:
        """As `Engine.transcribe`."""
        self.load()
        for utterance in batch:
            result: Transcript | Failure
            try:
                with self._lock:
                    result = self._transcribe(utterance.waveform, options)
            except Exception as error:
                result = to_failure(error, utterance)
            yield utterance, result

    def _transcribe(self, waveform: Waveform, options: TranscriptionOptions) -> Transcript:
        raise NotImplementedError
