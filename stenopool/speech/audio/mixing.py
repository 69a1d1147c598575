"""Choose the signals to transcribe (channels, or a mix of them), measure their levels, and apply a gain.

Uses pydub on parts of a spool, in two passes.
"""

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from stenopool.speech.audio.waveform import SAMPLE_RATE
from stenopool.speech.transcript import OPPOSITE_PHASE

with warnings.catch_warnings():
    # pydub warns that ffmpeg is not on PATH, which is not needed for decoded samples.
    warnings.simplefilter("ignore", RuntimeWarning)
    from pydub import AudioSegment

WINDOW = SAMPLE_RATE // 10  # samples; every block except the last has whole windows
FULL_SCALE = 32768.0
# The gates of ITU-R BS.1770, which exclude silence and parts far below the rest. The first is lower than the standard's
# -70, because whole corpora (FLEURS) are at -66 dB.
_ABSOLUTE_GATE = 10 ** (-80 / 10)
_RELATIVE_GATE = 10 ** (-10 / 10)

# Mixing loses 0 dB with equal channels and 3 dB with different ones; a loss of more than 6 dB means that they cancel.
_CANCELS = 10 ** (-6 / 10)
_SILENT_BESIDE = 10 ** (-50 / 10)
TARGET_DB = -23.0  # active level of speech (EBU R 128's reference); louder recordings are not changed
MAX_GAIN_DB = 45.0
STEADY_DB = 6.0  # a smaller swing is noise, hum or a tone: raising it would cause hallucinations
_CEILING = 10 ** (-1 / 20) * FULL_SCALE  # raised peaks stay 1 dB below full scale
_LARGEST = FULL_SCALE - 1
_RAMP = SAMPLE_RATE // 100  # samples in which a muted part fades out and in
SLICE_SECONDS = 60.0  # limits memory: a day of audio is never held at once


Mode = Literal["mix", "split"]


def segments(spool: IO[bytes], channels: int, seconds: float = SLICE_SECONDS) -> Iterator[AudioSegment]:
    """Read the spool from its beginning, ``seconds`` at a time."""
    frame = 2 * channels
    spool.seek(0)
    while data := spool.read(round(seconds * SAMPLE_RATE) * frame):
        whole = len(data) - len(data) % frame
        yield AudioSegment(data=data[:whole], sample_width=2, frame_rate=SAMPLE_RATE, channels=channels)


def join_samples(signals: Sequence[AudioSegment]) -> NDArray[np.int16]:
    """Combine the samples of mono signals: int16, shape (frames, signals)."""
    return np.stack([np.frombuffer(signal.raw_data, np.int16) for signal in signals], axis=1)


def candidates(segment: AudioSegment, mode: Mode) -> list[AudioSegment]:
    """All candidate signals: each channel and, for a mix of stereo, the mix as the third."""
    mix = [segment.set_channels(1)] if segment.channels == 2 and mode == "mix" else []
    return [*segment.split_to_mono(), *mix]


@dataclass(frozen=True)
class Level:
    """The level of one signal. Powers are mean squares without the offset; 1 is full scale."""

    offset: float  # mean of all samples, in 16-bit steps (DC)
    peak: float  # largest distance of a sample from the offset, in 16-bit steps
    power: float  # mean power
    active: float  # mean power without silence; 0 for silence
    swing: float  # decibels between quiet and loud parts, without silence: over 8 for speech, 0 to 2 for hum and noise


def measure(blocks: Iterable[NDArray[Any]]) -> list[Level]:
    """Measure the level of each signal, from blocks of shape (frames, signals).

    Memory: 16 bytes per signal and 0.1 s, plus one block.
    """
    sums, squares, counts, lows, highs = [], [], [], [], []
    for block in blocks:
        starts = np.arange(0, len(block), WINDOW)
        exact = block.astype(np.float64)
        sums.append(np.add.reduceat(exact, starts))
        squares.append(np.add.reduceat(exact**2, starts))
        counts.append(np.diff(starts, append=len(block)))
        lows.append(block.min(axis=0))
        highs.append(block.max(axis=0))
    if not sums:
        return []
    total, square, count = np.concatenate(sums), np.concatenate(squares), np.concatenate(counts)[:, None]
    offset = total.sum(axis=0) / count.sum()
    energy = np.maximum(0.0, square - 2 * offset * total + count * offset**2) / FULL_SCALE**2
    peak = np.maximum(np.max(highs, axis=0) - offset, offset - np.min(lows, axis=0))
    levels = []
    for n in range(len(offset)):
        windows = energy[:, n] / count[:, 0]
        heard = windows[windows > _ABSOLUTE_GATE]
        power = float(energy[:, n].sum() / count.sum())
        active, swing = 0.0, 0.0
        if heard.size:
            # ITU-R BS.1770-4, without its filter and overlap.
            active = float(heard[heard >= heard.mean() * _RELATIVE_GATE].mean())
            low, high = np.percentile(heard, (10, 95))
            swing = float(10 * np.log10(high / low))
        levels.append(Level(float(offset[n]), float(peak[n]), power, active, swing))
    return levels


def choose(levels: Sequence[Level], channels: int, mode: Mode) -> tuple[list[int], list[str]]:
    """Choose the candidates to keep, once for the whole recording, so that the level is constant.

    Returns their indexes, and flags. Channels in opposite phase would cancel in a mix, so the louder one is kept and a
    flag is set. If one channel is silent, the other is kept.
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


def gain_db(levels: Sequence[Level]) -> float:
    """One gain in dB for all signals, from the loudest, so that level differences (and crosstalk) are kept.

    Negative only if removing the offset would push a peak over full scale.
    """
    loudest = max(levels, key=lambda level: level.active)
    peak = max(level.peak for level in levels) + 1.0  # 1: rounding, here and in the mix
    wanted = 0.0
    if loudest.swing >= STEADY_DB:
        loudness = 10 * math.log10(loudest.active)
        wanted = min(TARGET_DB - loudness, MAX_GAIN_DB, 20 * math.log10(_CEILING / peak))
    return wanted if wanted > 0 else min(0.0, 20 * math.log10(_LARGEST / peak))


def normalize_signal(signal: AudioSegment, offset: float, gain: float) -> AudioSegment:
    """Remove the recording's offset (in 16-bit steps) from a part of a mono signal, and apply the gain (dB)."""
    # Apply a negative gain first, because pydub's offset overflows at full scale.
    if gain < 0:
        signal, offset, gain = signal.apply_gain(gain), offset * 10 ** (gain / 20), 0.0
    if round(offset):  # given 0, pydub would measure the offset of each part
        signal = signal.remove_dc_offset(offset=round(offset) / FULL_SCALE)
    return signal.apply_gain(gain) if gain else signal


@dataclass(frozen=True)
class Spool:
    """One decoded track: interleaved 16 kHz 16-bit samples."""

    file: IO[bytes]
    channels: int
    frames: int


class Signals:
    """The signals kept from the decoded tracks: a mix of each track, or with ``split`` every channel."""

    def __init__(self, spools: Sequence[Spool], mode: Mode) -> None:
        self._spools, self._mode = spools, mode
        self._kept: list[tuple[int, int]] = []
        self.levels: list[Level] = []
        self.flags: list[str] = []
        for n, spool in enumerate(spools):
            levels = measure(join_samples(candidates(each, mode)) for each in segments(spool.file, spool.channels))
            levels = levels or [Level(0.0, 0.0, 0.0, 0.0, 0.0)] * (spool.channels + 1)
            kept, flags = choose(levels, spool.channels, mode)
            self._kept += [(n, candidate) for candidate in kept]
            self.levels += [levels[candidate] for candidate in kept]
            self.flags += flags

    @property
    def count(self) -> int:
        """Number of signals."""
        return len(self._kept)

    @property
    def frames(self) -> int:
        """Length of the longest signal, in samples."""
        return max(spool.frames for spool in self._spools)

    @property
    def silent(self) -> list[int]:
        """Indexes of signals that are silent, or nearly so compared with the loudest."""
        loudest = max(level.power for level in self.levels)
        return [n for n, level in enumerate(self.levels) if not level.active or level.power <= _SILENT_BESIDE * loudest]

    def keep(self, *indexes: int) -> None:
        """Drop all signals except these."""
        self._kept = [self._kept[n] for n in indexes]
        self.levels = [self.levels[n] for n in indexes]

    def blocks(self) -> Iterator[NDArray[np.int16]]:
        """The decoded signals, a slice at a time: shape (frames, signals). Shorter ones are padded with silence."""
        return (join_samples(signals) for signals in self._slices())

    def normalized(self, muted: Mapping[int, NDArray[np.bool_]] | None = None) -> Iterator[NDArray[np.int16]]:
        """Like `blocks`, without offset, at a normal level, and silent in each signal's ``muted`` windows."""
        gain, window = gain_db(self.levels), 0
        for signals in self._slices():
            pairs = zip(signals, self.levels, strict=True)
            block = join_samples([normalize_signal(signal, level.offset, gain) for signal, level in pairs])
            windows = -(-len(block) // WINDOW)
            for n, silent in (muted or {}).items():
                block[:, n] = block[:, n] * _fade(silent[window : window + windows])[: len(block)]
            window += windows
            yield block

    def _slices(self) -> Iterator[list[AudioSegment]]:
        for parts in zip_longest(*(segments(spool.file, spool.channels) for spool in self._spools)):
            # Compare with None, because in pydub a part shorter than 1 ms is false.
            found = [None if part is None else candidates(part, self._mode) for part in parts]
            frames = max(int(part.frame_count()) for part in parts if part is not None)
            yield [_lengthen(signals[n] if (signals := found[spool]) else None, frames) for spool, n in self._kept]


def _lengthen(signal: AudioSegment | None, frames: int) -> AudioSegment:
    """Pad a mono signal with silence to this length."""
    data = b"" if signal is None else signal.raw_data
    return AudioSegment(data=data.ljust(2 * frames, b"\0"), sample_width=2, frame_rate=SAMPLE_RATE, channels=1)


def _fade(muted: NDArray[np.bool_]) -> NDArray[np.float32]:
    """A factor for each sample of these windows: 0 in muted ones, 1 in others, with ramps between them."""
    factors = np.repeat(~muted, WINDOW).astype(np.float32)
    for change in np.flatnonzero(np.diff(muted)) + 1:
        first = change * WINDOW - _RAMP // 2
        factors[first : first + _RAMP] = np.linspace(factors[first - 1], factors[first + _RAMP], _RAMP)
    return factors
