"""Find speech with Silero VAD (the ONNX model in the faster-whisper wheel, no torch), and cut chunks at its pauses.

Engines get speech only, so silence, tones and noise give an empty transcript instead of invented text.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import exp, inf

from stenopool.speech.audio.waveform import SAMPLE_RATE, Waveform


@dataclass(frozen=True)
class Region:
    """A stretch of speech, in seconds. ``pause``: the silence after it, not reduced by padding."""

    start: float
    end: float
    pause: float = field(default=inf, compare=False)

    @property
    def duration(self) -> float:
        return self.end - self.start

    @property
    def middle(self) -> float:
        return (self.start + self.end) / 2


# Seconds read at a time: bounds memory for day-long files. A block ends at its last pause.
_BLOCK_SECONDS = 600.0
_SHORTEST_WORD = 0.15
_COMPANY = 1.0
# The cost of a cut in a pause, in windows: five for a breath of 0.2 s, one for the end of a sentence, 0.7 s.
_CUT, _PAUSE = 10.0, 0.3


def speech_regions(
    waveform: Waveform, *, min_silence: float = 0.16, max_speech: float = 29.0, pad: float = 0.4
) -> list[Region]:
    """Regions of speech in order, without overlap, of at most ``max_speech`` seconds (plus padding).

    Silero VAD v6 (https://github.com/snakers4/silero-vad) through faster-whisper, block by block.
    """
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    options = VadOptions(
        threshold=0.5,
        min_speech_duration_ms=0,
        max_speech_duration_s=max_speech,
        min_silence_duration_ms=round(min_silence * 1000),
        speech_pad_ms=0,
    )
    regions: list[Region] = []
    start = 0.0
    while start < waveform.duration:
        end = start + _BLOCK_SECONDS
        found = [
            Region(start + stamp["start"] / SAMPLE_RATE, start + stamp["end"] / SAMPLE_RATE)
            for stamp in get_speech_timestamps(waveform.read(start, end), options)
        ]
        # Speech may continue after the block: the next one starts at the last region, unless it is the only one.
        start = found.pop().start if end < waveform.duration and len(found) > 1 else end
        regions += found
    return _pad(_drop_blips(regions), pad, waveform.duration)


def _drop_blips(regions: list[Region]) -> list[Region]:
    """Drop isolated bursts too short for a word: Silero takes the first frames of a tone or music for speech."""
    gaps = [inf, *(following.start - region.end for region, following in pairwise(regions)), inf]
    return [
        region
        for region, around in zip(regions, pairwise(gaps), strict=False)
        if region.duration > _SHORTEST_WORD or min(around) < _COMPANY
    ]


def _pad(regions: list[Region], pad: float, duration: float) -> list[Region]:
    """Add padding on both sides: at most half of the pause to the neighbour."""
    padded = []
    for i, region in enumerate(regions):
        before = (region.start - regions[i - 1].end) / 2 if i else region.start
        after = (regions[i + 1].start - region.end) / 2 if i + 1 < len(regions) else duration - region.end
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
    """Join neighbouring regions into few phrases, cut at long pauses, so that they are whole sentences.

    A shortest path over the cuts: each phrase costs 1, each cut more the shorter its pause.
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
