"""Scale samples over full scale, which floats and lossy codecs may produce, instead of clipping them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.typing import NDArray

_FULL_SCALE = 32767
_BLOCKS = 160  # windows held in memory at once
# Damaged floats have any exponent. A value is damaged if it is 60 dB over full scale and 100 dB over most others.
_ALWAYS_SOUND, _FAR = 1e3, 1e5


@dataclass(frozen=True)
class Scale:
    """The gain applied to samples."""

    gain_db: float = 0.0
    garbage: bool = False  # some values were not numbers, or absurd


def touches_full_scale(piece: bytes, *, odd: int) -> bool:
    """Whether 16-bit samples reach full scale. ``odd``: 1 if the piece ends in the middle of a sample."""
    end = len(piece) - odd
    samples = np.frombuffer(piece[end % 2 : end], np.int16)
    return bool(samples.size) and bool(samples.max() == 32767 or samples.min() == -32768)


def scale_samples(floats: IO[bytes], out: IO[bytes], window: int) -> Scale:
    """Write floats to ``out`` as 16-bit samples, with one gain at which none exceeds full scale.

    Infinite, absurd and undefined values (NaN) are ignored for the gain, and become full scale or silence. ``window``:
    number of samples in 0.1 s.
    """
    peaks, garbage = [], False
    for block in _blocks(floats, window):
        size = np.abs(block)
        finite = np.isfinite(size)
        garbage |= not finite.all()
        size[~finite] = 0.0
        peaks.append(np.maximum.reduceat(size, np.arange(0, len(size), window)))
    peak = 1.0
    if peaks:
        levels = np.concatenate(peaks).astype(np.float64)
        heard = levels[levels > 0]
        limit = max(_ALWAYS_SOUND, _FAR * float(np.median(heard))) if heard.size else _ALWAYS_SOUND
        garbage |= bool((levels > limit).any())
        peak = max(1.0, float(levels[levels <= limit].max(initial=0.0)))
    factor = _FULL_SCALE / peak
    for block in _blocks(floats, window):
        whole = np.nan_to_num(block.astype(np.float64), nan=0.0).clip(-peak, peak)
        out.write(np.rint(whole * factor).astype(np.int16).tobytes())
    return Scale(-20 * math.log10(peak), garbage)


def _blocks(floats: IO[bytes], window: int) -> Iterator[NDArray[np.float32]]:
    floats.seek(0)
    while data := floats.read(4 * window * _BLOCKS):
        yield np.frombuffer(data[: len(data) // 4 * 4], np.float32)
