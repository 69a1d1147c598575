"""First pass over decoded audio: the level and the DC offset of each signal."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stenopool.speech.audio.waveform import SAMPLE_RATE

WINDOW = SAMPLE_RATE // 10  # samples; every block but the last has whole windows
FULL_SCALE = 32768.0
# The gates of ITU-R BS.1770: silence does not count, nor what is far below the rest. The first is lower than the
# standard's -70, for whole corpora (FLEURS) are at -66 dB.
_ABSOLUTE_GATE = 10 ** (-80 / 10)
_RELATIVE_GATE = 10 ** (-10 / 10)


@dataclass(frozen=True)
class Level:
    """The level of one signal. Powers are mean squares without the offset, 1 at full scale."""

    offset: float
    """Mean of all samples, in 16-bit steps (DC)."""
    peak: float
    """Farthest sample from the offset, in 16-bit steps."""
    power: float
    """Mean power."""
    active: float
    """Mean power without silence; 0 if there is nothing else."""
    swing: float
    """Decibels between quiet and loud parts, without silence: over 8 for speech, 0 to 2 for hum and noise."""


def measure(blocks: Iterable[NDArray[Any]]) -> list[Level]:
    """The level of each signal, from blocks of shape (frames, signals).

    Memory: 16 bytes per signal and 0.1 s, plus one block.
    """
    sums, squares, counts = [], [], []
    lowest = highest = None
    for block in blocks:
        starts = np.arange(0, len(block), WINDOW)
        exact = block.astype(np.float64)
        sums.append(np.add.reduceat(exact, starts))
        squares.append(np.add.reduceat(exact**2, starts))
        counts.append(np.diff(starts, append=len(block)))
        low, high = block.min(axis=0), block.max(axis=0)
        lowest = low if lowest is None else np.minimum(lowest, low)
        highest = high if highest is None else np.maximum(highest, high)
    if lowest is None or highest is None:
        return []
    total, square, count = np.concatenate(sums), np.concatenate(squares), np.concatenate(counts)[:, None]
    offset = total.sum(axis=0) / count.sum()
    energy = np.maximum(0.0, square - 2 * offset * total + count * offset**2) / FULL_SCALE**2
    peak = np.maximum(highest - offset, offset - lowest)
    levels = []
    for n in range(len(offset)):
        windows = energy[:, n] / count[:, 0]
        heard = windows[windows > _ABSOLUTE_GATE]
        power = float(energy[:, n].sum() / count.sum())
        levels.append(Level(float(offset[n]), float(peak[n]), power, _active(heard), _swing(heard)))
    return levels


def _active(power: NDArray[np.float64]) -> float:
    """Mean power of the windows above both gates (ITU-R BS.1770-4, without its filter and overlap)."""
    if power.size == 0:
        return 0.0
    return float(power[power >= power.mean() * _RELATIVE_GATE].mean())


def _swing(power: NDArray[np.float64]) -> float:
    """Decibels between pauses and loud parts."""
    if power.size == 0:
        return 0.0
    low, high = np.percentile(power, (10, 95))
    return float(10 * np.log10(high / low))
