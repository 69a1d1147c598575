"""The default engine: CTranslate2's Whisper, decoding windows of many recordings together. No torch.

How a batch goes: speech is found in every utterance, cut into windows, and the windows of all utterances are
decoded together, sorted by length, in frames as short as their speech allows. A window whose text looks unsound is
decoded again in the full 30 seconds with rising temperatures.
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from importlib.metadata import version
from typing import Any

from stenopool import models
from stenopool.audio.vad import Region, chunks, speech_regions
from stenopool.engines.assembly import segments_of, transcript_of
from stenopool.engines.base import Utterance
from stenopool.engines.coverage import cut_at_missing, is_missing_speech
from stenopool.engines.decoding import Decoded, Decoder
from stenopool.engines.faults import failure_of
from stenopool.engines.language import spread, vote
from stenopool.engines.placement import placement
from stenopool.engines.pooling import TAIL_SECONDS, Window, frame_seconds, groups
from stenopool.engines.suspicion import REPETITIVE
from stenopool.errors import ErrorCode, Failure, TransientError
from stenopool.logs import get_logger
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.transcript import NO_SPEECH, Transcript

# Longest window. Longer ones waste less on tails; shorter ones let languages change and cost less to encode.
_WINDOW_SECONDS = 25.0
_WINDOW_SECONDS_PER_SEGMENT = 10.0
_VOTERS = 5
_VOTER_SECONDS = 15.0
# Below this a window's own opinion on its language gives way to its neighbours'.
_SURE = 0.5

Span = tuple[Region, Decoded]
Job = Future[list[tuple[Window, list[Span]]]]

logger = get_logger()


class FasterWhisperEngine:
    """Engine ``faster-whisper``; see `stenopool.engines.base.Engine`."""

    name = "faster-whisper"

    def __init__(self, model: str, execution: ExecutionOptions) -> None:
        self.model = model
        self.execution = execution
        self.version = f"{version('faster-whisper')}+ctranslate2-{version('ctranslate2')}"
        self.device, self.compute_type = placement(execution)
        self.model_digest: str | None = None
        self._whisper: Any = None
        cores = execution.threads or os.cpu_count() or 1
        # On a CPU, several workers of few threads beat one of many: a beam's matrices are small.
        self._workers = 1 if self.device == "cuda" else max(1, min(cores, 8))
        self._threads = max(1, cores // self._workers)

    def load(self) -> None:
        if self._whisper is not None:
            return
        from faster_whisper import WhisperModel

        found = models.find(self.model, "ctranslate2")
        self.model_digest = found.digest
        self._whisper = WhisperModel(
            str(found.path),
            device=self.device,
            compute_type=self.compute_type,
            cpu_threads=self._threads,
            num_workers=self._workers,
        )

    def transcribe(
        self, batch: Sequence[Utterance], options: TranscriptionOptions
    ) -> Iterator[tuple[Utterance, Transcript | Failure]]:
        self.load()
        run = _Run(self, batch, options, Decoder(self._whisper, options))
        with ThreadPoolExecutor(self._workers, thread_name_prefix="decode") as pool:
            try:
                yield from run.results(pool)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    @property
    def most_windows(self) -> int:
        """Windows decoded at once by one worker."""
        return self.execution.batch_size or (4 if self.device == "cpu" else 24)


class _Run:
    """One batch on its way through the engine."""

    def __init__(
        self, engine: FasterWhisperEngine, batch: Sequence[Utterance], options: TranscriptionOptions, decoder: Decoder
    ) -> None:
        self.engine = engine
        self.batch = batch
        self.options = options
        self.decoder = decoder
        self.speech: dict[int, list[Region]] = {}
        self.languages: dict[int, tuple[str, float]] = {}
        self.spans: defaultdict[int, list[Span]] = defaultdict(list)
        self.open: dict[int, int] = {}  # windows still to come, by utterance
        self.doubts: dict[Window, dict[str, float]] = {}  # what windows without a clear language heard

    def results(self, pool: ThreadPoolExecutor) -> Iterator[tuple[Utterance, Transcript | Failure]]:
        windows: list[Window] = []
        for i, found in enumerate(pool.map(self._find_speech, self.batch)):
            if isinstance(found, Failure):
                yield self.batch[i], found
            elif not found:
                yield self.batch[i], Transcript(duration=self.batch[i].waveform.duration, flags=[NO_SPEECH])
            else:
                self.speech[i] = found
                cut = chunks(found, self._window_seconds)
                self.open[i] = len(cut)
                windows += [Window(i, region) for region in cut]
        self._vote_on_languages(windows, pool)

        jobs = self._submit(windows, pool)
        unsure: list[Window] = []
        while jobs:
            done, _ = wait(jobs, return_when=FIRST_COMPLETED)
            for job in done:
                group = jobs.pop(job)
                if error := job.exception():
                    yield from self._fail(group, error)
                    continue
                for window, spans in job.result():
                    if spans:
                        yield from self._keep(window, spans)
                    else:
                        unsure.append(window)
            if not jobs and unsure:
                settled = [Window(w.utterance, w.region, self._neighbours_language(w)) for w in unsure]
                unsure = []
                jobs = self._submit(settled, pool)

    def _submit(self, windows: Sequence[Window], pool: ThreadPoolExecutor) -> dict[Job, Sequence[Window]]:
        most = self.engine.most_windows
        return {
            pool.submit(self._decode, group): group for group in groups(windows, budget_seconds=most * 30.0, most=most)
        }

    def _fail(self, group: Sequence[Window], error: BaseException) -> Iterator[tuple[Utterance, Failure]]:
        """A group that could not be decoded: its utterances fail, unless it is the device's fault, which is raised."""
        if not isinstance(error, Exception):
            raise error
        for i in {window.utterance for window in group} & self.open.keys():
            del self.open[i]
            self.spans.pop(i, None)
            yield self.batch[i], failure_of(error, self.batch[i], self.engine.device)

    @property
    def _window_seconds(self) -> float:
        return _WINDOW_SECONDS_PER_SEGMENT if self.options.language == "per-segment" else _WINDOW_SECONDS

    def _find_speech(self, utterance: Utterance) -> list[Region] | Failure:
        try:
            return speech_regions(utterance.waveform, max_speech=self._window_seconds)
        except Exception as error:
            return failure_of(error, utterance, self.engine.device)

    # -- language -------------------------------------------------------------------------------------------------

    def _vote_on_languages(self, windows: Sequence[Window], pool: ThreadPoolExecutor) -> None:
        """For ``auto``, decide utterances of several windows first; a single window is asked as it is decoded."""
        if self.options.language != "auto" or not self.decoder.multilingual:
            return
        by_utterance: defaultdict[int, list[Window]] = defaultdict(list)
        for window in windows:
            by_utterance[window.utterance].append(window)
        voters = [
            Window(i, Region(w.region.start, min(w.region.end, w.region.start + _VOTER_SECONDS)))
            for i, theirs in by_utterance.items()
            if len(theirs) > 1
            for w in spread(theirs, _VOTERS)
        ]
        opinions: defaultdict[int, list[tuple[dict[str, float], float]]] = defaultdict(list)

        def ask(group: Sequence[Window]) -> list[tuple[Window, dict[str, float]]]:
            return list(zip(group, self.decoder.languages(self._encode(group)), strict=True))

        most = self.engine.most_windows
        for answers in pool.map(ask, list(groups(voters, budget_seconds=most * 30.0, most=most))):
            for window, probabilities in answers:
                opinions[window.utterance].append((probabilities, window.region.duration))
        for i, theirs_opinions in opinions.items():
            self.languages[i] = vote(theirs_opinions, self.options.languages)

    def _language_of(self, window: Window, probabilities: dict[str, float]) -> str | None:
        """The language to decode a window in, or None where its neighbours should decide."""
        if window.language:
            return window.language
        if window.utterance in self.languages:
            return self.languages[window.utterance][0]
        language, probability = vote([(probabilities, 1.0)], self.options.languages)
        if self.options.language == "auto":
            self.languages[window.utterance] = language, probability
        elif probability < _SURE and self.open.get(window.utterance, 1) > 1:
            return None
        return language

    def _neighbours_language(self, window: Window) -> str:
        """What the sure windows of the same utterance say, the nearer the louder; else the best guess of all."""
        middle = (window.region.start + window.region.end) / 2
        opinions = [
            (decoded.probabilities, 1.0 / (1.0 + abs((region.start + region.end) / 2 - middle)))
            for region, decoded in self.spans[window.utterance]
        ]
        return vote([*opinions, (self.doubts[window], 0.1)], self.options.languages)[0]

    # -- decoding -------------------------------------------------------------------------------------------------

    def _encode(self, group: Sequence[Window]) -> Any:
        samples = [self.batch[w.utterance].waveform.read(w.region.start, w.region.end) for w in group]
        return self.decoder.encode(samples, frame_seconds(group))

    def _decode(self, group: Sequence[Window]) -> list[tuple[Window, list[Span]]]:
        """Decode a group; a window unsure of its language comes back with nothing. Halved when out of memory."""
        try:
            return self._decode_at_once(group)
        except RuntimeError as error:
            if "out of memory" not in str(error).lower():
                raise
            if len(group) == 1:
                message = f"The {self.engine.device} ran out of memory on one window: {error}."
                raise TransientError(ErrorCode.OUT_OF_MEMORY, message) from error
            half = len(group) // 2
            logger.warning("Out of memory with %d windows at once; going on with %d.", len(group), half)
            return self._decode(group[:half]) + self._decode(group[half:])

    def _decode_at_once(self, group: Sequence[Window]) -> list[tuple[Window, list[Span]]]:
        encoded = self._encode(group)
        if self._language_is_fixed:
            opinions = [{self._fixed_language: 1.0}] * len(group)
            languages: list[str | None] = [self._fixed_language] * len(group)
        else:
            opinions = self.decoder.languages(encoded)
            languages = [self._language_of(w, heard) for w, heard in zip(group, opinions, strict=True)]
        for window, heard, language in zip(group, opinions, languages, strict=True):
            if language is None:
                self.doubts[window] = heard
        guesses = [
            language or max(heard, key=heard.__getitem__) for language, heard in zip(languages, opinions, strict=True)
        ]
        durations = [window.region.duration for window in group]
        answers: list[tuple[Window, list[Span]]] = []
        for i, decoded in enumerate(self.decoder.decode(encoded, guesses, durations)):
            if languages[i] is None:
                answers.append((group[i], []))
                continue
            spans = self._mended(group[i], decoded)
            for _, part in spans:
                part.probabilities = opinions[i]
            answers.append((group[i], spans))
        return answers

    def _mended(self, window: Window, decoded: Decoded) -> list[Span]:
        """The window's answer, or a better one where speech was passed over or the text looks unsound."""
        speech = [
            r for r in self.speech[window.utterance] if r.start < window.region.end and r.end > window.region.start
        ]
        if is_missing_speech(window.region, decoded, speech):
            halves = cut_at_missing(window.region, decoded, speech)
            if len(halves) > 1:
                parts = [Window(window.utterance, half, decoded.language) for half in halves]
                return [
                    span for part in parts for span in self._mended(part, self._decode_alone(part, decoded.language))
                ]
        if _unsound(decoded, window.region.duration):
            samples = self.batch[window.utterance].waveform.read(window.region.start, window.region.end)
            careful = self.decoder.decode_carefully(samples, decoded.language)
            if not _unsound(careful, window.region.duration) or careful.avg_logprob > decoded.avg_logprob:
                decoded = careful
        return [(window.region, decoded)]

    def _decode_alone(self, window: Window, language: str) -> Decoded:
        return self.decoder.decode(self._encode([window]), [language], [window.region.duration])[0]

    @property
    def _language_is_fixed(self) -> bool:
        return not self.decoder.multilingual or self.options.language not in ("auto", "per-segment")

    @property
    def _fixed_language(self) -> str:
        return self.options.language if self.decoder.multilingual else "en"

    # -- result ---------------------------------------------------------------------------------------------------

    def _keep(self, window: Window, spans: list[Span]) -> Iterator[tuple[Utterance, Transcript | Failure]]:
        """Take a window's answer; yield the utterance's transcript with its last one."""
        i = window.utterance
        if i not in self.open:  # another window of it failed
            return
        self.spans[i] += spans
        self.open[i] -= 1
        if self.open[i] == 0:
            yield self.batch[i], self._transcript(i)
            del self.spans[i], self.open[i]

    def _transcript(self, i: int) -> Transcript:
        spans = sorted(self.spans[i], key=lambda span: span[0].start)
        if self._language_is_fixed:
            language, probability = self._fixed_language, 1.0
        else:
            language, probability = self.languages.get(i) or vote(
                [(decoded.probabilities, region.duration) for region, decoded in spans], self.options.languages
            )
        return transcript_of(
            [segment for region, decoded in spans for segment in segments_of(region, decoded)],
            self.speech[i],
            self.options,
            language=language,
            language_probability=probability,
            duration=self.batch[i].waveform.duration,
        )


def _unsound(decoded: Decoded, duration: float) -> bool:
    """Whether a window deserves the slow way: repetitive, improbable, or too little or too much text for its speech."""
    letters = len(decoded.text.strip())
    return (
        decoded.compression_ratio > REPETITIVE
        or decoded.avg_logprob < -1.0
        or (duration > 8.0 and letters < duration)
        or letters > 40 * (duration + TAIL_SECONDS)
    )
