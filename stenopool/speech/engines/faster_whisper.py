"""The default engine: CTranslate2's Whisper, decoding windows of many recordings together. No torch.

One thread finds speech in the utterances as they arrive and cuts it into windows. Workers decode windows of several
utterances together, in frames as short as the speech allows. An utterance is complete when its last window is. A window
whose text looks wrong is decoded again in a full 30-second frame, with rising temperatures.
"""

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextvars import copy_context
from functools import cached_property, lru_cache, partial
from importlib.metadata import version
from queue import SimpleQueue
from typing import Any

from stenopool.errors import Failure, OutOfMemory
from stenopool.models import FoundModel
from stenopool.options import MachineOptions, TranscriptionOptions
from stenopool.runtime.logs import logger
from stenopool.speech.audio.vad import phrases
from stenopool.speech.devices import is_out_of_memory
from stenopool.speech.engines import policy
from stenopool.speech.engines.base import Engine, Utterance, find_speech, to_failure
from stenopool.speech.engines.decoding import Decoder, WindowResult, stack_outputs
from stenopool.speech.engines.policy import Hints, frame_seconds, most_speech, spread, vote
from stenopool.speech.engines.pooling import WindowPool
from stenopool.speech.engines.utterance_job import RegionResult, UtteranceJob, Window, cut_at_missing
from stenopool.speech.transcript import NO_SPEECH, Transcript

# Maximum number of waiting groups of windows per worker: enough to fill groups, few enough to limit memory.
_GROUPS_WAITING = 12


_Result = tuple[Utterance, Transcript | Failure]
# From the thread that finds speech: the result of an utterance that needs no decoding, an error that ends the run, or
# None at the end. From the pool's workers: a window with its result.
_Event = _Result | Window | BaseException | None


class FasterWhisperEngine(Engine):
    """Engine ``faster-whisper``; see `Engine`."""

    name = "faster-whisper"
    distribution = "faster-whisper"
    kind = "ctranslate2"
    concurrent = True

    def __init__(self, model: str, execution: MachineOptions) -> None:
        super().__init__(model, execution)
        self.version += f"+ctranslate2-{version('ctranslate2')}"
        cores = execution.threads or os.cpu_count() or 1
        # On a CPU, several workers with few threads beat one with many: a beam's matrices are small. On a GPU, one
        # decodes while the others compute features.
        self._workers = 3 if self.device == "cuda" else max(1, min(cores, 8))
        self._threads = max(1, cores // self._workers)
        self.decoder = lru_cache(maxsize=4)(
            lambda options: Decoder(self._loaded, options, english_only=self.english_only)
        )

    def hints(self, options: TranscriptionOptions) -> Hints:
        hints: Hints = self.decoder(options).hints
        return hints

    def _load(self, found: FoundModel) -> Any:
        from faster_whisper import WhisperModel
        from threadpoolctl import threadpool_limits

        # Each worker computes features alone; NumPy's own threads, which busy-wait, cost an eighth of the throughput of
        # two cores.
        threadpool_limits(1, user_api="blas")
        return WhisperModel(
            str(found.path),
            device=self.device,
            compute_type=self.compute_type,
            cpu_threads=self._threads,
            num_workers=1 if self.device == "cuda" else self._workers,
        )

    @cached_property
    def pool(self) -> WindowPool:
        """The workers and their waiting windows."""
        return WindowPool(self._workers, self.most_windows, self._decode, evenly=self.device == "cpu")

    def transcribe(
        self, batch: Iterable[Utterance], options: TranscriptionOptions
    ) -> Iterator[tuple[Utterance, Transcript | Failure]]:
        self.load()
        run = _Run(self, options)
        try:
            yield from run.results(batch)
        finally:
            run.close()

    def most_windows(self, frame: float) -> int:
        """Maximum number of windows per group: as many as fit on a GPU; on a CPU, more than 4 are no faster."""
        if self.device == "cpu":
            return self.execution.batch_size or 4
        return max(1, int((self.execution.batch_size or 24) * policy.LONGEST_WINDOW // frame))

    @property
    def most_waiting(self) -> int:
        """Maximum number of waiting windows; above it, the search for speech pauses."""
        return self._workers * _GROUPS_WAITING * self.most_windows(15.0)

    # -- decoding, by the pool's workers ----------------------------------------------------------------------------

    def _decode(self, group: Sequence[Window]) -> None:
        """Decode a group, and pass each window's result, or the group's error, to its job."""
        answers: Sequence[list[RegionResult] | BaseException]
        try:
            answers = self._decode_or_halve(group)
        except BaseException as error:
            answers = [error] * len(group)
        for window, said in zip(group, answers, strict=True):
            window.said = said
            window.job.on_answer(window)

    def _decode_or_halve(self, group: Sequence[Window]) -> list[list[RegionResult]]:
        try:
            return self._decode_at_once(group)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if len(group) == 1:
                raise OutOfMemory(f"Out of memory on {self.device} with a single window: {error}.") from error
            half = len(group) // 2
            logger.warning("Out of memory with %d windows at once; continuing with %d.", len(group), half)
            return self._decode_or_halve(group[:half]) + self._decode_or_halve(group[half:])

    def _decode_at_once(self, group: Sequence[Window]) -> list[list[RegionResult]]:
        """Decode a group; the result of a window of uncertain language is empty."""
        decoder: Decoder = group[0].job.decoder
        encoded = self._encode(decoder, group)
        opinions = [window.known for window in group]
        if not all(opinions):
            opinions = decoder.languages(encoded)
        languages = [window.job.language_of(window, heard) for window, heard in zip(group, opinions, strict=True)]
        guesses = [
            language or max(heard, key=heard.__getitem__) for language, heard in zip(languages, opinions, strict=True)
        ]
        answers: list[list[RegionResult]] = []
        for window, heard, language, decoded in zip(
            group,
            opinions,
            languages,
            decoder.decode(encoded, guesses, [window.region.duration for window in group]),
            strict=True,
        ):
            window.opinion = heard
            spans = [] if language is None else self._repair(window, decoded)
            for _, part in spans:
                part.probabilities = heard
            answers.append(spans)
        return answers

    def _encode(self, decoder: Decoder, group: Sequence[Window]) -> Any:
        frame = frame_seconds(group[0].region)
        if all(window.encoded is None for window in group):
            return decoder.encode([window.samples() for window in group], frame)
        parts = [
            decoder.encode([window.samples()], frame) if window.encoded is None else window.encoded for window in group
        ]
        for window in group:
            window.encoded = None
        return parts[0] if len(parts) == 1 else stack_outputs(parts)

    def _repair(self, window: Window, decoded: WindowResult) -> list[RegionResult]:
        """The window's result, or a better one if it misses speech or its text looks wrong.

        Windows that may be noise are not decoded again, because `policy.judge` drops implausible text.
        """
        if window.doubtful:
            return [(window.region, decoded)]
        speech = [r for r in window.job.speech if r.start < window.region.end and r.end > window.region.start]
        halves = cut_at_missing(window.region, decoded, speech)
        if len(halves) > 1:
            parts = [Window(window.job, half, decoded.language) for half in halves]
            return [span for part in parts for span in self._repair(part, self._decode_alone(part))]
        if _unsound(decoded, window.region.duration):
            careful = window.job.decoder.decode_carefully(window.samples(), decoded.language)
            if not _unsound(careful, window.region.duration) or careful.avg_logprob > decoded.avg_logprob:
                decoded = careful
        return [(window.region, decoded)]

    def _decode_alone(self, window: Window) -> WindowResult:
        decoder: Decoder = window.job.decoder
        encoded = decoder.encode([window.samples()], frame_seconds(window.region))
        return decoder.decode(encoded, [window.language or "en"], [window.region.duration])[0]


class _Run:
    """One call of `transcribe`: the thread that finds speech, and the results of the pool's workers."""

    def __init__(self, engine: FasterWhisperEngine, options: TranscriptionOptions) -> None:
        self.engine = engine
        self.options = options
        self.decoder = engine.decoder(options)
        self.events: SimpleQueue[_Event] = SimpleQueue()
        self.open: set[UtteranceJob] = set()
        self.closed = False

    def results(self, batch: Iterable[Utterance]) -> Iterator[_Result]:
        context = copy_context()  # so that log lines of the caller's iterable name the caller's run
        feeder = threading.Thread(target=context.run, args=(self._feed, batch), name="find speech", daemon=True)
        feeder.start()
        fed = False
        while not fed or self.open:
            event = self.events.get()
            if event is None:
                fed = True
            elif isinstance(event, BaseException):
                raise event
            elif isinstance(event, tuple):
                yield event
            elif result := self._keep(event):
                yield result
        feeder.join()

    def close(self) -> None:
        """Drop waiting windows. Those on the device are finished."""
        self.closed = True
        self.engine.pool.drop(lambda window: window.job in self.open)

    # -- finding speech, in the feeder's thread ---------------------------------------------------------------------

    def _feed(self, batch: Iterable[Utterance]) -> None:
        try:
            for utterance in batch:
                if self.closed:
                    return
                self._begin(utterance)
            self.events.put(None)
        except BaseException as error:
            self.events.put(error)

    def _begin(self, utterance: Utterance) -> None:
        job = UtteranceJob(utterance, self.decoder, self.events.put)
        try:
            most = most_speech(self.options, policy.SPEECH_SECONDS)
            job.speech, doubtful = find_speech(utterance.waveform, self.options, most)
            cut = partial(phrases, max_speech=most, max_seconds=policy.SPAN_SECONDS)
            sure = [Window(job, region) for region in cut(job.speech)]
            parts = [part for pause in doubtful for part in cut(pause)]
            job.waiting = [part for part in parts if any(window.region.contains(part) for window in sure)]
            windows = [*sure, *(Window(job, part, doubtful=True) for part in parts if part not in job.waiting)]
            job.windows = job.open = len(windows)
            job.pending = {*windows}
            if len(windows) > 1 and self.options.language == "auto" and not job.language:
                self._vote(job, sure or windows)
        except Exception as error:
            self.events.put((utterance, to_failure(error, utterance)))
            return
        if not windows:
            self.events.put((utterance, Transcript(duration=utterance.waveform.duration, flags=[NO_SPEECH])))
        elif not self.closed:
            self.open.add(job)
            self.engine.pool.add(windows, most_waiting=self.engine.most_waiting)

    def _vote(self, job: UtteranceJob, windows: Sequence[Window]) -> None:
        """Choose the language of an utterance of several windows, which keep their encoder output on a CPU."""

        def ask(window: Window) -> None:
            encoded = self.decoder.encode([window.samples()], frame_seconds(window.region))
            window.opinion = self.decoder.languages(encoded)[0]
            if self.decoder.on_cpu:  # a GPU encodes whole groups at once
                window.encoded = encoded

        voters = spread(windows, policy.VOTERS)
        for asked in [self.engine.pool.ask(partial(ask, window)) for window in voters]:
            asked.result()
        opinions = [(window.opinion or {}, window.region.duration) for window in voters]
        job.language = vote(opinions, self.options.languages)

    # -- results ----------------------------------------------------------------------------------------------------

    def _keep(self, window: Window) -> _Result | None:
        """Store a window's result. Returns the utterance's result once it is complete or has failed."""
        job, said = window.job, window.said
        if job not in self.open:  # another window of it failed
            return None
        if isinstance(said, BaseException):
            if not isinstance(said, Exception):
                raise said
            self.open.discard(job)
            return job.utterance, to_failure(said, job.utterance)
        if resumed := job.keep(window, said):
            self.engine.pool.add(resumed)
        if job.open:
            job.report()
            return None
        self.open.discard(job)
        return job.utterance, job.transcript()


def _unsound(decoded: WindowResult, duration: float) -> bool:
    """Whether to decode again, because the text is repetitive, improbable, or too short or long for its speech."""
    letters = len(decoded.text.strip())
    return (
        decoded.compression_ratio > policy.REPETITIVE
        or decoded.avg_logprob < policy.IMPROBABLE
        or (duration > 8.0 and letters < duration)
        or letters > 40 * (duration + policy.TAIL_SECONDS)
    )
