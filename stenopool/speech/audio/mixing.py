"""Signals to transcribe: which channels, or a mix of them, at which level. Done with pydub on parts of a spool."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Literal

import numpy as np
from numpy.typing import NDArray

from stenopool.speech.audio.levels import FULL_SCALE, Level
from stenopool.speech.audio.waveform import SAMPLE_RATE
from stenopool.speech.transcript import OPPOSITE_PHASE

with warnings.catch_warnings():
    # pydub warns that it finds no ffmpeg on PATH. It needs none for samples that are decoded already.
    warnings.simplefilter("ignore", RuntimeWarning)
    from pydub import AudioSegment

Signals = Callable[[AudioSegment], list[AudioSegment]]

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


def samples(segment: AudioSegment) -> NDArray[np.int16]:
    """The samples of a segment: int16, shape (frames, channels)."""
    return np.frombuffer(segment.raw_data, np.int16).reshape(-1, segment.channels)


def join_samples(signals: Sequence[AudioSegment]) -> NDArray[np.int16]:
    """The samples of mono signals side by side: int16, shape (frames, signals)."""
    return np.concatenate([samples(signal) for signal in signals], axis=1)


def candidates(channels: int, mode: Literal["mix", "split"]) -> Signals:
    """Every signal that may be chosen: each channel and, for a stereo mix, the mix as the third."""
    if channels == 2 and mode == "mix":
        return lambda segment: [*segment.split_to_mono(), segment.set_channels(1)]
    return AudioSegment.split_to_mono if channels > 1 else lambda segment: [segment]


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
        return _remove_offset(signal.apply_gain(gain), offset * 10 ** (gain / 20))
    signal = _remove_offset(signal, offset)
    return signal.apply_gain(gain) if gain else signal


def _remove_offset(signal: AudioSegment, offset: float) -> AudioSegment:
    # pydub measures the offset itself, part by part, if given 0.
    return signal.remove_dc_offset(offset=round(offset) / FULL_SCALE) if round(offset) else signal
