"""Where speech is: Silero VAD (the ONNX model inside the faster-whisper wheel, no torch), and chunks cut at it.

Every engine is given speech only, so silence, tones and noise end as an empty transcript and not as invented text.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from stenopool.audio.waveform import SAMPLE_RATE, Waveform


@dataclass(frozen=True)
class Region:
    """A stretch of speech, in seconds."""

    start: float
    end: float

    @property
    def duration(self) -> float:
        return self.end - self.start


# Read so much at a time: bounds memory on day-long files. A block ends at the last pause found in it.
_BLOCK_SECONDS = 600.0


def speech_regions(
    waveform: Waveform,
    *,
    threshold: float = 0.5,
    min_silence: float = 0.16,
    max_speech: float = 29.0,
    pad: float = 0.4,
) -> list[Region]:
    """Speech in order, without overlap, each at most ``max_speech`` seconds (plus padding).

    Silero VAD v6 (https://github.com/snakers4/silero-vad) through faster-whisper, block by block.
    """
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    options = VadOptions(
        threshold=threshold,
        min_speech_duration_ms=0,
        max_speech_duration_s=max_speech,
        min_silence_duration_ms=round(min_silence * 1000),
        speech_pad_ms=round(pad * 1000),
    )
    regions: list[Region] = []
    start = 0.0
    while start < waveform.duration:
        samples = waveform.read(start, start + _BLOCK_SECONDS)
        last_block = start + _BLOCK_SECONDS >= waveform.duration
        found = [
            Region(start + stamp["start"] / SAMPLE_RATE, start + stamp["end"] / SAMPLE_RATE)
            for stamp in get_speech_timestamps(samples, options)
        ]
        if last_block:
            regions += found
            break
        # Speech may go on past the block: leave the last region to the next block, unless it is the only one.
        if len(found) > 1:
            start = found.pop().start
        else:
            start += _BLOCK_SECONDS
        regions += found
    return regions


def chunks(regions: Iterable[Region], max_seconds: float) -> list[Region]:
    """Neighbouring regions joined (with the pauses between them) while they fit in ``max_seconds``."""
    joined: list[Region] = []
    for region in regions:
        if joined and region.end - joined[-1].start <= max_seconds:
            joined[-1] = Region(joined[-1].start, region.end)
        else:
            joined.append(region)
    return joined
