"""Base of the engines that take one utterance at a time."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from threading import Lock

from stenopool.errors import Failure
from stenopool.options import MachineOptions, TranscriptionOptions
from stenopool.speech.audio.vad import Region, speech_regions
from stenopool.speech.audio.waveform import Waveform
from stenopool.speech.engines.assembly import build_transcript
from stenopool.speech.engines.base import Engine, Utterance, to_failure
from stenopool.speech.engines.policy import LONGEST_WINDOW, most_speech
from stenopool.speech.transcript import NO_SPEECH, Segment, Transcript


class SerialEngine(Engine):
    """An engine whose library keeps state while it transcribes."""

    concurrent = False

    def __init__(self, model: str, execution: MachineOptions) -> None:
        super().__init__(model, execution)
        self._lock = Lock()

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
        segments, language = self._recognize(waveform, speech, options)
        return build_transcript(segments, speech, options, language=language, duration=waveform.duration)

    @abstractmethod
    def _recognize(
        self, waveform: Waveform, speech: Sequence[Region], options: TranscriptionOptions
    ) -> tuple[list[Segment], tuple[str, float]]:
        """Segments of the recording; its language and that language's probability."""
