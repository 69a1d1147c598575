"""Levels, channel choice and gain, on signals of every kind."""

import tempfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stenopool.speech.audio.mixing import (
    FULL_SCALE,
    MAX_GAIN_DB,
    candidates,
    choose,
    gain_db,
    join_samples,
    measure,
    normalize_signal,
    segments,
)
from stenopool.speech.audio.waveform import SAMPLE_RATE
from stenopool.speech.transcript import OPPOSITE_PHASE
from tests.speech.audio.media import rms_db

Signal = NDArray[np.int16]


@st.composite
def signals(draw: st.DrawFn) -> Signal:
    """One to three channels of swelling noise, of any level, offset and length, with clicks: shape (n, channels)."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    frames = draw(st.sampled_from([1, 2, 1599, 1600, 1601, 16000, 40000, 70001]))
    count = draw(st.integers(1, 3))
    envelope = np.abs(np.sin(np.arange(frames) / 3000))[:, None] + draw(st.sampled_from([0.0, 0.02, 1.0]))
    signal = rng.standard_normal((frames, count)) * envelope * draw(st.sampled_from([0, 1, 30, 1000, 20000]))
    signal += draw(st.sampled_from([-30000, -500, 0, 3, 12000]))
    if draw(st.booleans()):
        signal[rng.integers(frames)] = draw(st.sampled_from([-32768, 32767]))
    return np.clip(np.rint(signal), -32768, 32767).astype(np.int16)


def process(signal: Signal, mode: str, seconds: float) -> tuple[Signal, float, list[str]]:
    """Both passes of `prepare_audio`, in slices of this length."""
    count = signal.shape[1]
    with tempfile.TemporaryFile() as spool:
        spool.write(signal.tobytes())
        levels = measure(join_samples(candidates(piece, mode)) for piece in segments(spool, count, seconds))
        kept, flags = choose(levels, count, mode)
        gain = gain_db([levels[n] for n in kept])
        out = [
            join_samples([normalize_signal(candidates(piece, mode)[n], levels[n].offset, gain) for n in kept])
            for piece in segments(spool, count, seconds)
        ]
    return np.concatenate(out), gain, flags


@settings(max_examples=60, deadline=None)
@given(signal=signals(), mode=st.sampled_from(["mix", "split"]))
def test_any_signal_keeps_its_length_without_clipping(signal: Signal, mode: str) -> None:
    """Length is kept; nothing clips or wraps around; slices make no difference to the result."""
    if mode == "mix" and signal.shape[1] > 2:
        mode = "split"  # ffmpeg has already mixed these
    whole, gain, flags = process(signal, mode, 60.0)
    assert len(whole) == len(signal)
    assert -7 <= gain <= MAX_GAIN_DB
    for seconds in (0.1, 0.7):
        sliced, sliced_gain, sliced_flags = process(signal, mode, seconds)
        np.testing.assert_array_equal(sliced, whole)
        assert (sliced_gain, sliced_flags) == (pytest.approx(gain), flags)
    if mode == "split" or signal.shape[1] == 1:
        expected = (signal - signal.mean(axis=0)) * 10 ** (gain / 20)
        # One step for the offset, amplified with the rest, and one for each rounding: no clipped or wrapped sample.
        assert np.abs(expected - whole).max() <= 10 ** (max(gain, 0) / 20) + 2


def speech_like(seconds: float, level: float, seed: int = 0) -> NDArray[np.float64]:
    """Noise in syllables, ``level`` dB below full scale (RMS)."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    signal = np.random.default_rng(seed).standard_normal(len(time)) * np.clip(np.sin(2 * np.pi * 2 * time), 0.003, 1)
    return signal / np.sqrt(np.mean(signal**2)) * 10 ** (level / 20) * FULL_SCALE


def int16(*columns: NDArray[np.float64]) -> Signal:
    return np.rint(np.stack(columns, axis=1)).astype(np.int16)


@pytest.mark.parametrize("level", [-65, -50, -35])
def test_quiet_speech_is_amplified(level: float) -> None:
    """Whatever level it was recorded at, the result has the same level, also between long silences."""
    silence = np.zeros(SAMPLE_RATE * 120)
    signal = int16(np.concatenate([silence, speech_like(4, level), silence]))
    out, gain, _ = process(signal, "mix", 60.0)
    spoken = out[SAMPLE_RATE * 120 : -SAMPLE_RATE * 120].astype(np.float32)[:, 0] / FULL_SCALE
    assert gain > 0
    assert -29 < rms_db(spoken) < -20


def test_loud_speech_is_not_changed() -> None:
    """Nothing to fix, so the samples are the same."""
    signal = int16(speech_like(4, -18))
    signal -= np.int16(round(signal.mean()))
    np.testing.assert_array_equal(process(signal, "mix", 60.0)[0], signal)


def test_steady_noise_is_not_amplified() -> None:
    """A fan at -60 dB stays at -60 dB."""
    noise = np.random.default_rng(0).standard_normal(SAMPLE_RATE * 5) * FULL_SCALE * 10 ** (-60 / 20)
    assert process(int16(noise), "mix", 60.0)[1] == 0.0


def test_one_gain_for_both_channels() -> None:
    """Crosstalk 30 dB below its speaker stays 30 dB below."""
    speech = speech_like(4, -40)
    out, _, _ = process(int16(speech, speech * 10 ** (-30 / 20)), "split", 60.0)
    left, right = (rms_db(out[:, n].astype(np.float32)) for n in (0, 1))
    assert left - right == pytest.approx(30, abs=1)


A, B = speech_like(4, -20, 1), speech_like(4, -20, 2)


@pytest.mark.parametrize(
    ("left", "right", "expected", "flags"),
    [
        (A, A, A, []),
        (A, -A, A, [OPPOSITE_PHASE]),
        (A * 0.5, -A, -A, [OPPOSITE_PHASE]),  # the louder
        (A, -A + B * 0.3, None, [OPPOSITE_PHASE]),  # not completely opposite
        (A, B, (A + B) / 2, []),  # two people: nothing cancels
        (A, A * 0, A, []),  # one silent: the other one, not half of it
        (A * 0.001, B, B, []),
        (A * 0.1, A, A * 0.55, []),
        (A * 0, A * 0, A * 0, []),
    ],
)
def test_two_channels_are_mixed_where_nothing_cancels(
    left: NDArray[np.float64], right: NDArray[np.float64], expected: NDArray[np.float64] | None, flags: list[str]
) -> None:
    """The mix where mixing is harmless, otherwise one channel."""
    out, gain, got = process(int16(left, right), "mix", 60.0)
    assert got == flags
    if expected is None:
        assert rms_db(out.astype(np.float32) / FULL_SCALE) > -24
    else:
        np.testing.assert_allclose(out[:, 0] / 10 ** (gain / 20), expected - expected.mean(), atol=2.5)
