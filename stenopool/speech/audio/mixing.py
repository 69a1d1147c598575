"""Signals to transcribe: their levels; which channels, or a mix of them; at which gain.

Done with pydub on parts of a spool, in two passes.
"""

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from stenopool.speech.audio.waveform import SAMPLE_RATE
from stenopool.speech.transcript import OPPOSITE_PHASE

with warnings.catch_warnings():
    # pydub warns that it finds no ffmpeg on PATH. It needs none for samples that are decoded already.
    warnings.simplefilter("ignore", RuntimeWarning)
    from pydub import AudioSegment

WINDOW = SAMPLE_RATE // 10  # samples; every block but the last has whole windows
FULL_SCALE = 32768.0
# The gates of ITU-R BS.1770: silence does not count, nor what is far below the rest. The first is lower than the
# standard's -70, for whole corpora (FLEURS) are at -66 dB.
_ABSOLUTE_GATE = 10 ** (-80 / 10)
_RELATIVE_GATE = 10 ** (-10 / 10)

# Mixing loses nothing of equal channels and 3 dB of different ones: more than 6 dB means that they cancel.
_CANCELS = 10 ** (-6 / 10)
_SILENT_BESIDE = 10 ** (-50 / 10)
TARGET_DB = -23.0  # active level of speech (EBU R 128's reference); louder recordings stay as they are
MAX_GAIN_DB = 45.0
STEADY_DB = 6.0  # a smaller swing is noise, hum or a tone: raising it would cause hallucinations
_CEILING = 10 ** (-1 / 20) * FULL_SCALE  # raised peaks stay 1 dB below full scale
_LARGEST = FULL_SCALE - 1
SLICE_SECONDS = 60.0  # bounds memory: a day of audio is never in it at once


def segments(spool: IO[bytes], channels: int, seconds: float = SLICE_SECONDS) -> Iterator[AudioSegment]:
    """The spool from its beginning, ``seconds`` at a time."""
    frame = 2 * channels
    spool.seek(0)
    while data := spool.read(round(seconds * SAMPLE_RATE) * frame):
        whole = len(data) - len(data) % frame
        yield AudioSegment(data=data[:whole], sample_width=2, frame_rate=SAMPLE_RATE, channels=channels)


def join_samples(signals: Sequence[AudioSegment]) -> NDArray[np.int16]:
    """The samples of mono signals side by side: int16, shape (frames, signals)."""
    return np.stack([np.frombuffer(signal.raw_data, np.int16) for signal in signals], axis=1)


def candidates(segment: AudioSegment, mode: Literal["mix", "split"]) -> list[AudioSegment]:
    """Every signal that may be chosen: each channel and, for a stereo mix, the mix as the third."""
    mix = [segment.set_channels(1)] if segment.channels == 2 and mode == "mix" else []
    return [*segment.split_to_mono(), *mix]


@dataclass(frozen=True)
class Level:
    """The level of one signal. Powers are mean squares without the offset, 1 at full scale."""

    offset: float  # mean of all samples, in 16-bit steps (DC)
    peak: float  # farthest sample from the offset, in 16-bit steps
    power: float  # mean power
    active: float  # mean power without silence; 0 if there is nothing else
    swing: float  # decibels between quiet and loud parts, without silence: over 8 for speech, 0 to 2 for hum and noise


def measure(blocks: Iterable[NDArray[Any]]) -> list[Level]:
    """The level of each signal, from blocks of shape (frames, signals).

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


def choose(levels: Sequence[Level], channels: int, mode: Literal["mix", "split"]) -> tuple[list[int], list[str]]:
    """Indexes of the candidates to keep, and flags. Decided once for the whole recording, so that the level is steady.

    A mix of channels in opposite phase would cancel, so the louder channel is kept and the transcript flagged. If one
    channel is silent, the other is kept.
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
    """One gain in dB for all signals, from the loudest: it keeps their proportions, and so cross-talk between channels.

    Negative only where removing the offset would push a peak over full scale.
    """
    loudest = max(levels, key=lambda level: level.active)
    peak = max(level.peak for level in levels) + 1.0  # 1: rounding, here and in the mix
    wanted = 0.0
    if loudest.swing >= STEADY_DB:
        loudness = 10 * math.log10(loudest.active)
        wanted = min(TARGET_DB - loudness, MAX_GAIN_DB, 20 * math.log10(_CEILING / peak))
    return wanted if wanted > 0 else min(0.0, 20 * math.log10(_LARGEST / peak))


def normalize_signal(signal: AudioSegment, offset: float, gain: float) -> AudioSegment:
    """Part of a mono signal without the recording's offset (in 16-bit steps), and with the gain (dB)."""
    # The step that shrinks the signal goes first: pydub's offset overflows at full scale.
    if gain < 0:
        signal, offset, gain = signal.apply_gain(gain), offset * 10 ** (gain / 20), 0.0
    if round(offset):  # pydub measures the offset itself, part by part, if given 0
        signal = signal.remove_dc_offset(offset=round(offset) / FULL_SCALE)
    return signal.apply_gain(gain) if gain else signal
