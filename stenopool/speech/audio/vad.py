"""Find speech with Silero VAD (the ONNX model in the faster-whisper wheel, no torch), and cut audio at its pauses.

Engines receive only speech, so silence, tones and noise give an empty transcript instead of hallucinations.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import exp, inf

import numpy as np
from numpy.typing import NDArray

from stenopool.speech.audio import mixing
from stenopool.speech.audio.waveform import SAMPLE_RATE, Samples, Waveform

_PAD = 0.4


@dataclass(frozen=True)
class Region:
    """A stretch of speech, in seconds. ``pause``: the silence after it, without padding."""

    start: float
    end: float
    pause: float = field(default=inf, compare=False)

    @property
    def duration(self) -> float:
        return self.end - self.start

    @property
    def middle(self) -> float:
        return (self.start + self.end) / 2

    def contains(self, other: "Region") -> bool:
        return self.start <= other.start and other.end <= self.end

    @property
    def unpadded(self) -> tuple[float, float]:
        """Start and end without padding."""
        return min(self.middle, self.start + _PAD), max(self.middle, self.end - _PAD)

    def spoken_between(self, start: float, end: float) -> float:
        """Seconds of it, without its padding, between the two times."""
        begins, ends = self.unpadded
        return max(0.0, min(end, ends) - max(start, begins))

    def is_free_of(self, spoken: Iterable[tuple[float, float]]) -> bool:
        """Whether none of these words (start and end) is in the region without its padding."""
        start, end = self.unpadded
        return not any(start <= (begins + ends) / 2 <= end for begins, ends in spoken)


# Seconds read at a time, which limits memory for day-long files. A block ends at its last pause.
_BLOCK_SECONDS = 600.0
_MIN_SILENCE = 0.16
_SHORTEST_WORD = 0.15
_COMPANY = 1.0
# The second search: in pauses of at least this length, in parts, each raised to a normal level. Its threshold is a
# fraction of the first search's.
_GAP_SECONDS, _PART_SECONDS = 1.0, 30.0
GENEROUS = 0.4
# The cost of a cut in a pause, in windows: five for a breath of 0.2 s, one for the end of a sentence, 0.7 s.
_CUT, _PAUSE = 10.0, 0.3


def speech_regions(
    waveform: Waveform,
    *,
    threshold: float = 0.5,
    min_silence: float = _MIN_SILENCE,
    max_speech: float = 29.0,
    pad: float = _PAD,
) -> list[Region]:
    """Find regions of speech, in order, without overlap, of at most ``max_speech`` seconds (plus padding).

    ``threshold``: minimum probability of speech. Uses Silero VAD v6 (https://github.com/snakers4/silero-vad) through
    faster-whisper, block by block.
    """
    regions: list[Region] = []
    start = 0.0
    while start < waveform.duration:
        end = start + _BLOCK_SECONDS
        found = _detect(waveform.read(start, end), start, threshold, min_silence, max_speech)
        # Speech may continue after the block: the next one starts at the last region, unless it is the only one.
        start = found.pop().start if end < waveform.duration and len(found) > 1 else end
        regions += found
    return _pad(_drop_blips(regions), pad, 0.0, waveform.duration)


def find_doubtful(
    waveform: Waveform, speech: Sequence[Region], *, threshold: float, max_speech: float = 29.0
) -> list[list[Region]]:
    """Find possible speech, quiet or masked, in the pauses of ``speech`` (from `speech_regions`): a list per pause.

    ``threshold`` must be lower than for `speech_regions`. Noise passes too; only the decoded text shows whether it is
    speech.
    """
    found: list[list[Region]] = []
    ends = [0.0, *(region.end for region in speech)]
    starts = [*(region.start for region in speech), waveform.duration]
    for gap in map(Region, ends, starts):
        if gap.duration < _GAP_SECONDS:
            continue
        regions: list[Region] = []
        for start in np.arange(gap.start, gap.end, _PART_SECONDS):
            samples = waveform.read(start, min(start + _PART_SECONDS, gap.end))
            if samples.any():
                regions += _detect(_raise_level(samples), float(start), threshold, _MIN_SILENCE, max_speech)
        found.append(_pad(_drop_blips(regions), _PAD, gap.start, gap.end))
    return [regions for regions in found if regions]


def _raise_level(samples: Samples) -> Samples:
    """Raise each second to the level that it would get if it and its neighbours were a whole recording."""
    starts = np.arange(0, len(samples), SAMPLE_RATE)
    around = [samples[max(0, start - SAMPLE_RATE) : start + 2 * SAMPLE_RATE, None] for start in starts]
    gains = [mixing.gain_db(mixing.measure([part * mixing.FULL_SCALE])) for part in around]
    steps = np.interp(np.arange(len(samples)), starts + SAMPLE_RATE / 2, gains)
    return (samples * 10 ** (steps / 20)).astype(np.float32)


def _detect(samples: Samples, start: float, threshold: float, min_silence: float, max_speech: float) -> list[Region]:
    """Find speech in samples that begin at ``start`` seconds, without padding."""
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    options = VadOptions(
        threshold=threshold,
        min_speech_duration_ms=0,
        max_speech_duration_s=max_speech,
        min_silence_duration_ms=round(min_silence * 1000),
        speech_pad_ms=0,
    )
    return [
        Region(start + stamp["start"] / SAMPLE_RATE, start + stamp["end"] / SAMPLE_RATE)
        for stamp in get_speech_timestamps(samples, options)
    ]


def speech_seconds(blocks: Iterable[NDArray[np.int16]]) -> float:
    """Approximate seconds of speech in 16-bit samples at 16 kHz, each block on its own."""
    return sum(
        region.duration
        for block in blocks
        for region in _detect((block / mixing.FULL_SCALE).astype(np.float32), 0.0, 0.5, _MIN_SILENCE, inf)
    )


def _drop_blips(regions: list[Region]) -> list[Region]:
    """Drop isolated bursts too short for a word: Silero mistakes the first frames of a tone or music for speech."""
    gaps = [inf, *(following.start - region.end for region, following in pairwise(regions)), inf]
    return [
        region
        for region, around in zip(regions, pairwise(gaps), strict=False)
        if region.duration > _SHORTEST_WORD or min(around) < _COMPANY
    ]


def _pad(regions: list[Region], pad: float, earliest: float, latest: float) -> list[Region]:
    """Add padding on both sides: at most half of the pause to the neighbour, within ``earliest`` and ``latest``."""
    padded = []
    for i, region in enumerate(regions):
        before = (region.start - regions[i - 1].end) / 2 if i else region.start - earliest
        after = (regions[i + 1].start - region.end) / 2 if i + 1 < len(regions) else latest - region.end
        pause = 2 * after if i + 1 < len(regions) else inf
        padded.append(Region(region.start - min(pad, before), region.end + min(pad, after), pause))
    return padded


def chunks(regions: Iterable[Region], max_seconds: float) -> list[Region]:
    """Join neighbouring regions, with the pauses between them, up to ``max_seconds``."""
    joined: list[Region] = []
    for region in regions:
        if joined and region.end - joined[-1].start <= max_seconds:
            joined[-1] = Region(joined[-1].start, region.end, region.pause)
        else:
            joined.append(region)
    return joined


def phrases(regions: Sequence[Region], max_speech: float, max_seconds: float) -> list[Region]:
    """Join neighbouring regions into few phrases, cut at long pauses, so that they tend to be whole sentences.

    A shortest path over the cuts: each phrase costs 1, and a cut costs more the shorter its pause.
    """
    best, begins = [0.0], [0]
    for end, last in enumerate(regions):
        cut = _CUT * exp(-last.pause / _PAUSE)
        cost, begin, speech = inf, end, 0.0
        for first in range(end, -1, -1):
            speech += regions[first].duration
            if first < end and (speech > max_speech or last.end - regions[first].start > max_seconds):
                break
            if best[first] + 1 + cut < cost:
                cost, begin = best[first] + 1 + cut, first
        best.append(cost)
        begins.append(begin)
    found: list[Region] = []
    end = len(regions)
    while end:
        begin = begins[end]
        found.append(Region(regions[begin].start, regions[end - 1].end, regions[end - 1].pause))
        end = begin
    return found[::-1]
