"""First pass over decoded audio: how loud each signal is, and where its middle lies."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stenopool.speech.audio.waveform import SAMPLE_RATE

WINDOW = SAMPLE_RATE // 10  # samples; blocks to be measured hold whole windows, the last one excepted
FULL_SCALE = 32768.0
# ITU-R BS.1770's gates: silence does not count, nor what is far below the rest. The first is lower than there (-70),
# for whole corpora (FLEURS) were recorded at -66 dB.
_ABSOLUTE_GATE = 10 ** (-80 / 10)
_RELATIVE_GATE = 10 ** (-10 / 10)


@dataclass(frozen=True)
class Level:
    """One signal measured. Powers are mean squares, 1 at full scale, with the offset taken out."""

    offset: float
    """Mean of all samples, in 16-bit steps (DC)."""
    peak: float
    """Farthest sample from the offset, in 16-bit steps."""
    power: float
    """Mean power of the whole."""
    active: float
    """Mean power of the parts that are not silence; 0 if there are none."""
    swing: float
    """Decibels between its quiet and its loud parts, silence left out: over 8 for speech, 0 to 2 for hum and noise."""


def measure(blocks: Iterable[NDArray[Any]]) -> list[Level]:
    """Measure signals side by side: blocks of shape (frames, signals), one `Level` for each signal.

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
