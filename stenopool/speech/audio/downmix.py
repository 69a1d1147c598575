"""Which signals a recording is transcribed from: all its channels, or one made of them."""

from collections.abc import Callable, Sequence
from typing import Literal

from stenopool.speech.audio.levels import Level
from stenopool.speech.audio.segments import AudioSegment
from stenopool.speech.transcript import OPPOSITE_PHASE

Signals = Callable[[AudioSegment], list[AudioSegment]]

# Equal channels lose nothing when mixed, different ones 3 dB: more than 6 dB means that they cancel.
_CANCELS = 10 ** (-6 / 10)
_SILENT_BESIDE = 10 ** (-50 / 10)


def candidates(channels: int, mode: Literal["mix", "split"]) -> Signals:
    """Every signal that may be wanted: each channel, and for a stereo mix their mix as the third."""
    if channels == 2 and mode == "mix":
        return lambda segment: [*segment.split_to_mono(), segment.set_channels(1)]
    return AudioSegment.split_to_mono if channels > 1 else lambda segment: [segment]


def choose(levels: Sequence[Level], channels: int, mode: Literal["mix", "split"]) -> tuple[list[int], list[str]]:
    """Which of the candidates to keep, and flags. Decided once for the whole recording, so that nothing jumps.

    A mix of channels in opposite phase would cancel to nothing, so the louder channel is taken and the transcript
    flagged; beside a silent channel the other is taken as it is.
    """
    if channels != 2 or mode == "split":
        return list(range(len(levels))), []
    left, right, mix = (level.power for level in levels)
    louder = 0 if left >= right else 1
    if min(left, right) <= _SILENT_BESIDE * max(left, right):
        return [louder], []
    if mix < _CANCELS * (left + right) / 2:
        return [louder], [OPPOSITE_PHASE]
    return [2], []
