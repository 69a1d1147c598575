"""Base of the engines that take one utterance at a time."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from threading import Lock
from typing import Any, ClassVar

from stenopool import models
from stenopool.errors import Failure
from stenopool.models import FoundModel
from stenopool.models.kinds import ModelKind
from stenopool.options import EngineName, MachineOptions, TranscriptionOptions
from stenopool.speech.audio.vad import Region, speech_regions
from stenopool.speech.audio.waveform import Waveform
from stenopool.speech.devices import choose_placement
from stenopool.speech.engines.assembly import build_transcript
from stenopool.speech.engines.base import Utterance
from stenopool.speech.engines.faults import to_failure
from stenopool.speech.engines.policy import LONGEST_WINDOW, most_speech
from stenopool.speech.transcript import NO_SPEECH, Segment, Transcript


class SerialEngine(ABC):
    """An engine whose library keeps state while it transcribes; see `stenopool.speech.engines.base.Engine`."""

    concurrent = False
    engine: ClassVar[EngineName]
    package: ClassVar[str]
    kind: ClassVar[ModelKind]

    def __init__(self, model: str, execution: MachineOptions) -> None:
        self.model = model
        self.execution = execution
        self.version = version(self.package)
        self.device, self.compute_type = choose_placement(execution, engine=self.engine)
        self.model_digest: str | None = None
        self._lock = Lock()
        self._loaded: Any = None

    def load(self) -> None:
        """As `Engine.load`."""
        if self._loaded is None:
            found = models.find(self.model, self.kind)
            self._loaded = self._load(found)
            self.model_digest = found.digest

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
        speech = speech_regions(waveform, max_speech=min(most_speech(options, LONGEST_WINDOW), 29.0))
        if not speech:
            return Transcript(duration=waveform.duration, flags=[NO_SPEECH])
        segments, (language, probability) = self._recognize(waveform, speech, options)
        return build_transcript(
            segments,
            speech,
            options,
            language=language,
            language_probability=probability,
            duration=waveform.duration,
        )

    @abstractmethod
    def _load(self, found: FoundModel) -> Any:
        """The library's model, kept as ``_loaded``."""

    @abstractmethod
    def _recognize(
        self, waveform: Waveform, speech: Sequence[Region], options: TranscriptionOptions
    ) -> tuple[list[Segment], tuple[str, float]]:
        """Segments of the recording; its language and that language's probability."""
