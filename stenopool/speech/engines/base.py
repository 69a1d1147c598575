"""The base classes of engines, and the translation of their exceptions."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from stenopool.speech.engines.policy import LONGEST_WINDOW, Hints, find_temperatures, judge, most_speech
from stenopool.speech.transcript import Segment, Transcript, Word
from stenopool.whisper_models import ENGLISH, facts_of


@dataclass(frozen=True)
class Utterance:
    """One channel of one recording, 16 kHz mono, with an id for messages."""

    id: str
    waveform: Waveform
    on_progress: Callable[[Transcript], None] | None = None
    """Called with the transcript of the beginning as it grows, by engines that decode long audio part by part."""


class Engine(ABC):
    """A speech engine, loaded once per process and called with batches.

    Construction is cheap; `load` is not. An engine supports every option that `TranscriptionOptions` allows for it.
    Silence gives an empty transcript, not an error.
    """

    name: ClassVar[EngineName]
    distribution: ClassVar[str]  # the package that determines the engine's version
    kind: ClassVar[ModelKind]
    concurrent: ClassVar[bool]  # whether `transcribe` may be called again before an earlier call has ended

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
        """Prompt and vocabulary as the model reads them. The model must be loaded."""

    @abstractmethod
    def _load(self, found: models.FoundModel) -> Any:
        """Load the library's model, which is kept as ``_loaded``."""

    @abstractmethod
    def transcribe(
        self, batch: Iterable[Utterance], options: TranscriptionOptions
    ) -> Iterator[tuple[Utterance, Transcript | Failure]]:
        """Yield each utterance once, with its result, as soon as it is ready, in any order.

        The batch may be iterated in another thread; its errors are raised here. The transcript has text, language,
        language_probability, duration, segments (with words if requested) and flags. If an utterance fails, its result
        is a `Failure`; for faults of the device, `TransientError` is raised.
        """


def find_speech(
    waveform: Waveform, options: TranscriptionOptions, max_speech: float
) -> tuple[list[Region], list[list[Region]]]:
    """Find regions of speech, and regions of possible speech in the pauses, which `policy.judge` decides by text.

    The pauses of a split channel are not searched, because the other party may be heard in them at a low level.
    """
    speech = speech_regions(waveform, threshold=options.vad_threshold, max_speech=max_speech)
    if options.channels == "split":
        return speech, []
    return speech, find_doubtful(waveform, speech, threshold=options.vad_threshold * GENEROUS, max_speech=max_speech)


def to_failure(error: Exception, utterance: Utterance) -> Failure:
    """Convert an exception to the failure of one utterance.

    Raises `TransientError` or `SetupError` if the device, the storage or the installation failed, so that the utterance
    is retried.
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
    """An engine that handles one utterance at a time for one caller, because its library keeps state."""

    concurrent = False

    def transcribe(
        self, batch: Iterable[Utterance], options: TranscriptionOptions
    ) -> Iterator[tuple[Utterance, Transcript | Failure]]:
        """See `Engine.transcribe`."""
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
        segments, language = (
            self._recognize(waveform, speech, options, find_temperatures(options)) if speech else ([], None)
        )
        missed = []
        timed = [each for segment in segments for each in cast(list[Word | Segment], segment.words or [segment])]
        spoken = [(each.start, each.end) for each in timed if each.start is not None and each.end is not None]
        parts = [part for pause in doubtful for part in chunks(pause, most)]
        for region in (part for part in parts if part.is_free_of(spoken)):
            # The threshold matters to engines that detect speech themselves.
            changed: dict[str, Any] = {"vad_threshold": options.vad_threshold * GENEROUS}
            if language and options.language == "auto":
                changed |= {"language": language[0], "languages": ()}
            more, heard = self._recognize(waveform, [region], options.model_copy(update=changed), (0.0,))
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
        temperatures: Sequence[float],
    ) -> tuple[list[Segment], tuple[str, float]]:
        """Return segments of the recording, and its language with that language's probability.

        ``temperatures``: tried in this order until the text is plausible, if the engine supports that.
        """
