"""What every engine is, and whose fault an exception inside one is."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, ClassVar, cast

from soundfile import LibsndfileError

from stenopool import models
from stenopool.errors import ErrorCode, Failure, RecordingError
from stenopool.models.sources import ModelKind
from stenopool.options import EngineName, MachineOptions, TranscriptionOptions
from stenopool.speech.audio.vad import GENEROUS, Region, chunks, find_doubtful, speech_regions
from stenopool.speech.audio.waveform import Waveform
from stenopool.speech.devices import choose_placement, translate_faults
from stenopool.speech.engines.assembly import build_transcript, cut_pauses
from stenopool.speech.engines.policy import LONGEST_WINDOW, TEMPERATURES, Hints, judge, most_speech
from stenopool.speech.transcript import Segment, Transcript, Word
from stenopool.whisper_models import ENGLISH, facts_of


@dataclass(frozen=True)
class Utterance:
    """One channel of one recording, 16 kHz mono, with an id for messages."""

    id: str
    waveform: Waveform


class Engine(ABC):
    """A speech engine, loaded once per process, called with batches.

    It is cheap until `load`, and honours every option that `TranscriptionOptions` allows for it. Silence gives an empty
    transcript, not an error.
    """

    name: ClassVar[EngineName]
    distribution: ClassVar[str]  # the package whose version is the engine's
    kind: ClassVar[ModelKind]
    concurrent: ClassVar[bool]  # whether `transcribe` may be called again while an earlier call continues

    def __init__(self, model: str, execution: MachineOptions) -> None:
        """Raises `SetupError` DEVICE_UNAVAILABLE or OPTIONS_INVALID (compute type)."""
        self.model = model
        self.execution = execution
        self.version = version(self.distribution)
        self.device, self.compute_type = choose_placement(execution, engine=self.name)
        self.model_digest: str | None = None  # SHA-256 of the main weights file, after `load`
        self.english_only = False  # whether the model was trained on English only, after `load`
        self._loaded: Any = None

    def load(self) -> None:
        """Load weights; idempotent. Raises `SetupError` MODEL_MISSING, EXTRA_MISSING or DEVICE_UNAVAILABLE."""
        if self._loaded is None:
            found = models.find(self.model, self.kind)
            self._loaded = self._load(found)
            self.model_digest = found.digest
            facts = found.facts or facts_of(self.model)
            self.english_only = facts is not None and facts.languages == ENGLISH

    @abstractmethod
    def hints(self, options: TranscriptionOptions) -> Hints:
        """Prompt and vocabulary as the model reads them, once it is loaded."""

    @abstractmethod
    def _load(self, found: models.FoundModel) -> Any:
        """The library's model, kept as ``_loaded``."""

    @abstractmethod
    def transcribe(
        self, batch: Iterable[Utterance], options: TranscriptionOptions
    ) -> Iterator[tuple[Utterance, Transcript | Failure]]:
        """Yield each utterance once, with its result, as soon as it is ready, in any order.

        The batch may be iterated in another thread; its errors are raised here. The transcript has text, language,
        language_probability, duration, segments (with words if requested) and flags. A fault of one utterance is a
        `Failure`; `TransientError` is raised for faults of the device.
        """


def find_speech(
    waveform: Waveform, options: TranscriptionOptions, max_speech: float
) -> tuple[list[Region], list[list[Region]]]:
    """Regions of speech, and for their pauses regions that may be speech: there the text decides (`policy.judge`).

    The pauses of a split channel hold the other party, at a low level: they are left alone.
    """
    speech = speech_regions(waveform, threshold=options.vad_threshold, max_speech=max_speech)
    if options.channels == "split":
        return speech, []
    return speech, find_doubtful(waveform, speech, threshold=options.vad_threshold * GENEROUS, max_speech=max_speech)


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


class SerialEngine(Engine):
    """An engine for one caller and one utterance at a time: its library keeps state."""

    concurrent = False

    def transcribe(
        self, batch: Iterable[Utterance], options: TranscriptionOptions
    ) -> Iterator[tuple[Utterance, Transcript | Failure]]:
        """As `Engine.transcribe`."""
        self.load()
        for utterance in batch:
            result: Transcript | Failure
            try:
                result = self._transcribe(utterance.waveform, options)
            except Exception as error:
                result = to_failure(error, utterance)
            yield utterance, result

    def _transcribe(self, waveform: Waveform, options: TranscriptionOptions) -> Transcript:
        most = min(most_speech(options, LONGEST_WINDOW), 29.0)
        speech, doubtful = find_speech(waveform, options, most)
        segments, language = self._recognize(waveform, speech, options) if speech else ([], None)
        missed = []
        timed = [each for segment in segments for each in cast(list[Word | Segment], segment.words or [segment])]
        spoken = [(each.start, each.end) for each in timed if each.start is not None and each.end is not None]
        parts = [part for pause in doubtful for part in chunks(pause, most)]
        for region in (part for part in parts if part.is_free_of(spoken)):
            # The threshold is for an engine that detects speech itself.
            changed: dict[str, Any] = {"vad_threshold": options.vad_threshold * GENEROUS}
            if language and options.language == "auto":
                changed |= {"language": language[0], "languages": ()}
            more, heard = self._recognize(waveform, [region], options.model_copy(update=changed), temperatures=(0.0,))
            match judge(more, region.duration):
                case "speech":
                    segments, language, speech = [*segments, *more], language or heard, [*speech, region]
                case "unclear":
                    missed.append(region)
        speech = sorted(speech, key=lambda region: region.start)
        return build_transcript(
            sorted((cut_pauses(segment, speech) for segment in segments), key=lambda segment: segment.start),
            speech,
            options,
            language=language,
            duration=waveform.duration,
            missed=missed,
            hints=self.hints(options),
        )

    @abstractmethod
    def _recognize(
        self,
        waveform: Waveform,
        speech: Sequence[Region],
        options: TranscriptionOptions,
        temperatures: Sequence[float] = TEMPERATURES,
    ) -> tuple[list[Segment], tuple[str, float]]:
        """Segments of the recording; its language and that language's probability.

        ``temperatures``: tried in this order until the text looks sound, if the engine does that.
        """
