"""An utterance in the default engine: its windows, their text, missed speech, and the language."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from stenopool.speech.audio.vad import Region
from stenopool.speech.audio.waveform import Samples
from stenopool.speech.engines import policy
from stenopool.speech.engines.assembly import build_segments, build_transcript
from stenopool.speech.engines.base import Utterance
from stenopool.speech.engines.decoding import Decoder, WindowResult
from stenopool.speech.engines.policy import frame_seconds, judge, vote, weigh_neighbours
from stenopool.speech.transcript import Transcript

_MOST_MISSING = 2.5  # maximum seconds of speech without words nearby
_NEAR = 0.8  # the error of word times by attention
_SHORTEST_CUT = 1.0
_PROGRESS_SECONDS = 1.0  # between two reports of the beginning of an utterance

RegionResult = tuple[Region, WindowResult]
Kind = tuple[Decoder, float]  # windows that are decoded together have the same decoder and frame length


@dataclass(eq=False)
class Window:
    """A part of one utterance that is decoded at once."""

    job: "UtteranceJob"
    region: Region
    language: str | None = None
    """The neighbours' language, if its own was uncertain."""
    doubtful: bool = False
    """Whether it may be noise; its text then counts only if it is credible."""
    encoded: Any = None
    """Encoder output, if it was needed before decoding."""
    opinion: dict[str, float] | None = None
    """Probabilities of languages, if they have been detected."""
    said: list[RegionResult] | BaseException = field(default_factory=list)
    """The results of its parts, empty if its language is uncertain; or the error that prevented decoding."""

    @property
    def kind(self) -> Kind:
        """Windows of the same kind can be decoded together."""
        return self.job.decoder, frame_seconds(self.region)

    @property
    def known(self) -> dict[str, float]:
        """Probabilities of languages, if known without running the model; else empty."""
        if self.opinion or not self.job.language:
            return self.opinion or {}
        language, probability = self.job.language
        return {language: probability}

    def samples(self) -> Samples:
        return self.job.utterance.waveform.read(self.region.start, self.region.end)


@dataclass(eq=False)
class UtteranceJob:
    """One utterance. Workers call `language_of` and ``on_answer``; everything else runs in the caller's thread."""

    utterance: Utterance
    decoder: Decoder
    on_answer: Callable[[Window], None]
    speech: list[Region] = field(default_factory=list)
    language: tuple[str, float] | None = None
    windows: int = 0
    open: int = 0
    """Number of windows without a result."""
    results: list[RegionResult] = field(default_factory=list)
    found: list[Region] = field(default_factory=list)
    """Speech found in pauses of ``speech``."""
    missed: list[Region] = field(default_factory=list)
    """Possible speech for which no credible text was decoded."""
    waiting: list[Region] = field(default_factory=list)
    """Possible speech inside windows; decoded separately if the window's text does not cover it."""
    unsure: list[Window] = field(default_factory=list)
    pending: set[Window] = field(default_factory=set)
    """Windows without a result, except those in ``unsure``."""
    reported: int = 0
    """Number of results in the last transcript of the beginning."""
    reported_at: float = 0.0

    def __post_init__(self) -> None:
        if fixed := self.decoder.fixed_language:
            self.language = fixed, 1.0

    def language_of(self, window: Window, probabilities: dict[str, float]) -> str | None:
        """The language to decode a window in, or None if its neighbours should decide."""
        if self.language:
            return self.language[0]
        if window.language:
            return window.language
        options = self.decoder.options
        language, probability = vote([(probabilities, 1.0)], options.languages)
        if options.language == "auto":  # its only window
            self.language = language, probability
        elif probability < policy.SURE and self.windows > 1:
            return None
        return language

    def keep(self, window: Window, results: Sequence[RegionResult]) -> list[Window]:
        """Store a window's results. Returns the windows to decode next.

        These cover speech that the window missed and, once all others are done, windows of uncertain language.
        """
        more: list[Window] = []
        self.pending.discard(window)
        if results:
            self.open -= 1
            if not window.doubtful:
                self.results += results
                more = self._passed_over(window, results)
                self.open += len(more)
            elif (verdict := judge([decoded for _, decoded in results], window.region.duration)) == "speech":
                self.results += results
                self.found.append(window.region)
            elif verdict == "unclear":
                self.missed.append(window.region)
        else:
            self.unsure.append(window)
        if self.unsure and len(self.unsure) >= self.open:
            more = [
                Window(self, each.region, self._neighbours_language(each), doubtful=each.doubtful)
                for each in self.unsure
            ]
            self.unsure = []
        self.pending.update(more)
        return more

    def _passed_over(self, window: Window, results: Sequence[RegionResult]) -> list[Window]:
        """Windows for possible speech inside this one that its text does not cover."""
        inside = [part for part in self.waiting if window.region.contains(part)]
        spoken = [
            (region.start + word.start, region.start + word.end)
            for region, decoded in results
            for word in decoded.words
            if word.start is not None and word.end is not None
        ]
        return [Window(self, part, results[0][1].language, doubtful=True) for part in inside if part.is_free_of(spoken)]

    def _neighbours_language(self, window: Window) -> str:
        """The language of the windows that are certain, weighted by nearness; else the window's own best guess."""
        sure = [(decoded.probabilities, region.middle) for region, decoded in self.results]
        opinions = [*weigh_neighbours(window.region.middle, sure), (window.opinion or {}, 0.1)]
        return vote(opinions, self.decoder.options.languages)[0]

    def report(self) -> None:
        """Pass on the transcript of the beginning, up to the first window without a result, if it has grown."""
        on_progress, now = self.utterance.on_progress, time.monotonic()
        if on_progress is None or not self.pending or now - self.reported_at < _PROGRESS_SECONDS:
            return
        end = min(window.region.start for window in [*self.pending, *self.unsure])
        results = [result for result in self.results if result[0].end <= end]
        if len(results) > self.reported:
            self.reported, self.reported_at = len(results), now
            on_progress(self._build(results))

    def transcript(self) -> Transcript:
        """Build the transcript, once all windows have results."""
        return self._build(self.results)

    def _build(self, results: Iterable[RegionResult]) -> Transcript:
        options = self.decoder.options
        results = sorted(results, key=lambda result: result[0].start)
        heard = [(decoded.probabilities, region.duration) for region, decoded in results]
        speech = sorted([*self.speech, *self.found], key=lambda region: region.start)
        return build_transcript(
            [segment for region, decoded in results for segment in build_segments(region, decoded, speech)],
            speech,
            options,
            language=(self.language or vote(heard, options.languages)) if results else None,
            duration=self.utterance.waveform.duration,
            missed=sorted(self.missed, key=lambda region: region.start),
            hints=self.decoder.hints,
        )


def cut_at_missing(window: Region, decoded: WindowResult, speech: Sequence[Region]) -> list[Region]:
    """Cut the window in two at the pause nearest to the longest stretch of speech without words.

    Whisper sometimes stops at a pause and omits the rest of the window. Returns the whole window if little is missing
    or if it has no pause. Regions are in seconds of the recording.
    """
    gaps = _missing(window, decoded, speech)
    pauses = [(left.end + right.start) / 2 for left, right in pairwise(speech)]
    usable = [p for p in pauses if window.start + _SHORTEST_CUT <= p <= window.end - _SHORTEST_CUT]
    if sum(gap.duration for gap in gaps) <= _MOST_MISSING or not usable:
        return [window]
    longest = max(gaps, key=lambda gap: gap.duration)
    cut = min(usable, key=lambda pause: min(abs(pause - longest.start), abs(pause - longest.end)))
    return [Region(window.start, cut), Region(cut, window.end)]


def _missing(window: Region, decoded: WindowResult, speech: Sequence[Region]) -> list[Region]:
    """Stretches of speech in the window without words nearby."""
    spoken = sorted(
        (window.start + word.start - _NEAR, window.start + word.end + _NEAR)
        for word in decoded.words
        if word.start is not None and word.end is not None
    )
    gaps: list[Region] = []
    for region in speech:
        position, end = max(region.start, window.start), min(region.end, window.end)
        for word_start, word_end in spoken:
            if word_start >= end:
                break
            if word_start > position:
                gaps.append(Region(position, word_start))
            position = max(position, word_end)
        if position < end:
            gaps.append(Region(position, end))
    return gaps
