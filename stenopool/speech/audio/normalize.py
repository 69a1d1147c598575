"""Levels brought to where speech is expected: the offset taken out, quiet recordings raised, nothing clipped."""

import math
from collections.abc import Sequence

from stenopool.speech.audio.levels import FULL_SCALE, Level
from stenopool.speech.audio.segments import AudioSegment

TARGET_DB = -23.0  # active level of speech (EBU R 128's reference); louder recordings stay as they are
MAX_GAIN_DB = 45.0
STEADY_DB = 6.0  # what swings less is noise, hum or a tone: raising it would only invite invented words
_CEILING = 10 ** (-1 / 20) * FULL_SCALE  # raised peaks stay 1 dB below full scale
_LARGEST = FULL_SCALE - 1


def gain_db(levels: Sequence[Level]) -> float:
    """One gain for all signals, in dB: their proportions, and so cross-talk between channels, stay what they are.

    Measured on the loudest. Negative only where taking out the offset would push a peak over full scale.
    """
    loudest = max(levels, key=lambda level: level.active)
    peak = max(level.peak for level in levels) + 1.0  # 1: rounding, here and in the mix
    wanted = 0.0
    if loudest.swing >= STEADY_DB:
        loudness = 10 * math.log10(loudest.active)
        wanted = min(TARGET_DB - loudness, MAX_GAIN_DB, 20 * math.log10(_CEILING / peak))
    return wanted if wanted > 0 else min(0.0, 20 * math.log10(_LARGEST / peak))


def normalize_signal(signal: AudioSegment, offset: float, gain: float) -> AudioSegment:
    """A piece of a mono signal without its offset (16-bit steps, of the whole recording) and with the gain (dB)."""
    # Whichever shrinks the signal goes first, for pydub's offset wraps round at full scale.
    if gain < 0:
        return _remove_offset(signal.apply_gain(gain), offset * 10 ** (gain / 20))
    signal = _remove_offset(signal, offset)
    return signal.apply_gain(gain) if gain else signal


def _remove_offset(signal: AudioSegment, offset: float) -> AudioSegment:
    # pydub takes an offset of 0 for "find it yourself", piece by piece.
    return signal.remove_dc_offset(offset=round(offset) / FULL_SCALE) if round(offset) else signal
