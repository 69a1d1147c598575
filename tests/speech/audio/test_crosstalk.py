"""Split channels: each sentence once. Copies become one channel; a voice is muted in another person's channel."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import butter, fftconvolve, sosfilt

from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.speech.audio.crosstalk import WINDOW, Crosstalk, find_crosstalk
from stenopool.speech.audio.preparation import prepare_audio
from stenopool.speech.audio.waveform import SAMPLE_RATE
from stenopool.speech.transcript import (
    CHANNEL_BLEED,
    CHANNEL_NAMES_MISMATCH,
    DUPLICATE_CHANNELS,
    SILENT_CHANNEL,
    SINGLE_CHANNEL,
    Prepared,
)
from tests.speech.audio.media import channels
from tests.support.speech import needs_speech, recording_path

Signal = NDArray[np.float64]

# Two readers taking turns, with two seconds of overlap.
TURNS = [(0, "1688-142285-0001"), (1, "2033-164914-0001"), (0, "1688-142285-0003"), (1, "2033-164914-0004")]


@pytest.fixture(scope="module")
def call() -> Signal:
    """A call of half a minute, each person alone: shape (2, samples)."""
    sound, at = np.zeros((2, 60 * SAMPLE_RATE)), SAMPLE_RATE
    for channel, name in TURNS:
        spoken, _ = soundfile.read(recording_path(f"en/libri-{name}.flac"))
        sound[channel, at : at + len(spoken)] += spoken
        at += len(spoken) - (2 * SAMPLE_RATE if name == TURNS[1][1] else -SAMPLE_RATE // 3)
    sound = sound[:, : at + SAMPLE_RATE // 2]
    return sound + 10 ** (-70 / 20) * np.random.default_rng(1).standard_normal(sound.shape)


def delayed(signal: Signal, seconds: float) -> Signal:
    """The signal delayed, or for a negative time advanced."""
    lag = round(seconds * SAMPLE_RATE)
    return np.pad(signal, (max(0, lag), max(0, -lag)))[max(0, -lag) :][: len(signal)]


def in_room(signal: Signal, seconds: float = 0.4, seed: int = 2) -> Signal:
    """With echoes as loud as the direct sound."""
    length = round(seconds * SAMPLE_RATE)
    tail = np.random.default_rng(seed).standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    tail /= np.sqrt((tail**2).sum())
    tail[0] += 1
    return fftconvolve(signal, tail)[: len(signal)] / np.sqrt(2)


def over_telephone(signal: Signal) -> Signal:
    """In the telephone band, with mu-law rounding."""
    heard = np.clip(sosfilt(butter(4, [300, 3400], "band", fs=SAMPLE_RATE, output="sos"), signal), -1, 1)
    coded = np.round(np.sign(heard) * np.log1p(255 * np.abs(heard)) / np.log(256) * 127) / 127
    return np.sign(coded) * (256 ** np.abs(coded) - 1) / 255


def bled(call: Signal, level: float, change: Callable[[Signal], Signal] = lambda signal: signal) -> Signal:
    """Each voice also in the other channel, this many dB quieter."""
    return call + 10 ** (level / 20) * np.stack([change(call[1]), change(call[0])])


def int16(*columns: Signal) -> NDArray[np.int16]:
    return np.clip(np.rint(np.stack(columns, axis=1) * 32767), -32768, 32767).astype(np.int16)


def compare(*columns: Signal) -> Crosstalk:
    """Compare channels, read in parts whose lengths are not multiples of the frames."""
    samples = int16(*columns)
    step = 7 * WINDOW * 10
    return find_crosstalk(lambda: (samples[at : at + step] for at in range(0, len(samples), step)), len(columns))


def windows_spoken(call: Signal, channel: int, below_loudest: float) -> NDArray[np.bool_]:
    energy = np.add.reduceat(call[channel] ** 2, np.arange(0, call.shape[1], WINDOW))
    return energy > np.percentile(energy, 95) * 10 ** (-below_loudest / 10)


COPIES: dict[str, Callable[[Signal], tuple[Signal, ...]]] = {
    "the same": lambda mono: (mono, mono),
    "10 ms later": lambda mono: (mono, delayed(mono, 0.01)),
    "0.9 s later": lambda mono: (mono, delayed(mono, 0.9)),
    "0.5 s earlier": lambda mono: (mono, delayed(mono, -0.5)),
    "inverted": lambda mono: (mono, -mono),
    "inverted, quieter and later": lambda mono: (mono, -0.4 * delayed(mono, 0.12)),
    "11 dB quieter": lambda mono: (0.28 * mono, mono),
    "with an offset": lambda mono: (mono, 0.5 * mono + 0.05),
    "with separate noise": lambda mono: (mono, mono + 0.003 * np.random.default_rng(3).standard_normal(len(mono))),
    "over a telephone": lambda mono: (mono, over_telephone(mono)),
    "two microphones in a room": lambda mono: (in_room(mono, seed=4), in_room(delayed(mono, 0.004), seed=5)),
}


@needs_speech
@pytest.mark.parametrize("name", COPIES)
def test_a_copied_channel_is_found(call: Signal, name: str) -> None:
    found = compare(*COPIES[name](call.sum(axis=0)))
    assert len(found.copies) == 1
    assert not found.muted


APART: dict[str, Callable[[Signal], Signal]] = {
    "unchanged": lambda call: call,
    "over a telephone": lambda call: np.stack([over_telephone(each) for each in call]),
    "digital silence between": lambda call: np.where(np.abs(call) > 0.002, call, 0),
    "the same hum": lambda call: call + 0.01 * np.sin(np.arange(call.shape[1]) * 2 * np.pi * 50 / SAMPLE_RATE),
    "both at once": lambda call: np.stack([call[0], np.roll(call[1], -8 * SAMPLE_RATE)]),
    "one person is silent": lambda call: np.stack([call[0], 0 * call[1]]),
    "both people are silent": lambda call: 0 * call,
    "one is 30 dB quieter": lambda call: call * [[1.0], [0.03]],
    "very short": lambda call: call[:, SAMPLE_RATE : SAMPLE_RATE * 5 // 4],
}


@needs_speech
@pytest.mark.parametrize("name", APART)
def test_channels_of_a_call_are_not_changed(call: Signal, name: str) -> None:
    assert compare(*APART[name](call)) == Crosstalk()


BLEEDING: dict[str, Callable[[Signal], Signal]] = {
    "-8 dB": lambda call: bled(call, -8, lambda x: delayed(x, 0.02)),
    "-20 dB, 30 ms later": lambda call: bled(call, -20, lambda x: delayed(x, 0.03)),
    "-20 dB at once": lambda call: bled(call, -20),
    "-20 dB, inverted": lambda call: bled(call, -20, lambda x: -delayed(x, 0.2)),
    "-30 dB": lambda call: bled(call, -30, lambda x: delayed(x, 0.03)),
    "-40 dB": lambda call: bled(call, -40, lambda x: delayed(x, 0.03)),
    "-20 dB in a room": lambda call: bled(call, -20, lambda x: in_room(delayed(x, 0.005))),
    "-25 dB over a telephone": lambda call: np.stack([over_telephone(x) for x in bled(call, -25, in_room)]),
    "-20 dB, earlier than itself": lambda call: bled(call, -20, lambda x: delayed(x, -0.15)),
    "-20 dB, channels at different levels": lambda call: bled(call, -20, lambda x: delayed(x, 0.03)) * [[1.0], [0.06]],
}


@needs_speech
@pytest.mark.parametrize("name", BLEEDING)
def test_a_voice_is_muted_only_in_the_other_channel(call: Signal, name: str) -> None:
    found = compare(*BLEEDING[name](call))
    assert not found.copies
    for channel in (0, 1):
        other = windows_spoken(call, 1 - channel, 15)
        own, loud = windows_spoken(call, channel, 25), windows_spoken(call, channel, 15)
        muted = found.muted[channel]
        left = other & ~own & ~muted
        assert (muted & loud).sum() <= 0.02 * loud.sum()
        # Near own words some of the other voice remains, but never long enough for a word.
        assert np.convolve(left, np.ones(5), "valid").max() < 5


@needs_speech
def test_a_single_voice_stays_in_its_own_channel(call: Signal) -> None:
    """A message on an answering machine: the other channel has only its echo, and must not count as a second person."""
    found = compare(call[0], 10 ** (-25 / 20) * delayed(call[0], 0.04))
    assert not found.copies
    assert list(found.muted) == [1]
    assert (found.muted[1] & windows_spoken(call, 0, 15)).sum() >= 0.98 * windows_spoken(call, 0, 15).sum()


@needs_speech
def test_a_speaker_of_few_words_is_not_lost_with_the_copy(call: Signal) -> None:
    """This person only says "yes", next to strong crosstalk at the level of a copy."""
    yes = np.zeros(call.shape[1])
    yes[-2 * SAMPLE_RATE : -SAMPLE_RATE] = call[1, 14 * SAMPLE_RATE : 15 * SAMPLE_RATE]
    agent = call[0].copy()
    agent[-3 * SAMPLE_RATE :] *= 0.001
    found = compare(agent, 0.4 * agent + yes)
    assert not found.copies
    spoken = np.abs(yes.reshape(-1)[: len(yes) // WINDOW * WINDOW]).reshape(-1, WINDOW).max(axis=1) > 0.05
    assert not (found.muted[1][: len(spoken)] & spoken).any()


@needs_speech
def test_three_microphones_on_a_table_keep_their_nearest_speaker(call: Signal) -> None:
    """Each microphone hears everyone; each sentence stays with the nearest one."""
    third = np.roll(call[0], 11 * SAMPLE_RATE) * (np.arange(call.shape[1]) > 20 * SAMPLE_RATE)
    own = np.stack([call[0] * (third == 0), call[1], third])
    heard = np.stack([sum(own[m] if m == n else 0.15 * delayed(own[m], 0.004) for m in range(3)) for n in range(3)])
    found = compare(*heard)
    assert not found.copies
    for n in range(3):
        spoken = windows_spoken(own, n, 15)
        assert (found.muted[n] & spoken).sum() <= 0.05 * spoken.sum()


@needs_speech
def test_a_track_that_is_the_mix_of_the_others_is_muted(call: Signal) -> None:
    """Streaming programs write such a track first: nothing of it remains, even where both speak, and the others are
    complete.
    """
    own = np.stack([call[0], np.roll(call[1], -4 * SAMPLE_RATE)])
    found = compare(own.sum(axis=0), *own)
    assert not found.copies
    spoken = [windows_spoken(own, channel, 20) for channel in (0, 1)]
    assert ((spoken[0] | spoken[1]) & ~found.muted[0]).mean() < 0.01
    for channel in (0, 1):
        loud = windows_spoken(own, channel, 15)
        assert (found.muted[channel + 1] & loud).sum() <= 0.01 * loud.sum()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    lag=st.floats(-0.9, 0.9),
    gain=st.floats(-11, 11),
    sign=st.sampled_from([1, -1]),
    noise=st.floats(-80, -50),
)
def test_any_copy_becomes_one_channel_and_other_sounds_do_not(
    seed: int, lag: float, gain: float, sign: int, noise: float
) -> None:
    rng = np.random.default_rng(seed)
    time = np.arange(20 * SAMPLE_RATE) / SAMPLE_RATE
    one, other = (
        rng.standard_normal(len(time)) * np.clip(np.sin(2 * np.pi * rng.uniform(0.5, 3) * time), 0.01, 1) * 0.05
        for _ in range(2)
    )
    hiss = 10 ** (noise / 20) * rng.standard_normal((2, len(time)))
    assert len(compare(one + hiss[0], sign * 10 ** (gain / 20) * delayed(one, lag) + hiss[1]).copies) == 1
    assert compare(one + hiss[0], other * 10 ** (gain / 20) + hiss[1]) == Crosstalk()


def prepared(path: Path, *names: str, **options: object) -> Prepared:
    chosen = TranscriptionOptions.model_validate({"channels": "split", "channel_names": names, **options})
    return prepare_audio(path, path.with_suffix(".flac"), chosen, ExecutionOptions())


@needs_speech
@pytest.mark.parametrize(
    ("sound", "names", "kept", "undivided", "flags"),
    [
        ("mono", (), 1, True, [SINGLE_CHANNEL]),
        ("mono", ("agent", "customer"), 1, True, [SINGLE_CHANNEL]),
        ("mono", ("agent",), 1, False, []),
        ("copies", (), 1, True, [DUPLICATE_CHANNELS]),
        ("copies", ("agent", "customer"), 1, True, [DUPLICATE_CHANNELS]),
        ("call", (), 2, False, []),
        ("call", ("agent", "customer"), 2, False, []),
        ("call", ("agent",), 2, False, [CHANNEL_NAMES_MISMATCH]),
        ("call", ("agent", "customer", "supervisor"), 2, False, [CHANNEL_NAMES_MISMATCH]),
        ("bled", ("agent", "customer"), 2, False, [CHANNEL_BLEED]),
        ("left", ("agent", "customer"), 2, False, [SILENT_CHANNEL]),
        ("twice", (), 4, False, [DUPLICATE_CHANNELS]),
        ("twice the same", (), 1, True, [DUPLICATE_CHANNELS]),
        ("nothing", (), 2, False, []),
    ],
)
def test_a_prepared_file_keeps_the_right_channels(
    call: Signal, tmp_path: Path, sound: str, names: tuple[str, ...], kept: int, undivided: bool, flags: list[str]
) -> None:
    mono = call.sum(axis=0)
    sounds = {
        "mono": [mono],
        "copies": [mono, -delayed(mono, 0.02)],
        "call": [*call],
        "bled": [*bled(call, -20, lambda x: delayed(x, 0.03))],
        "left": [mono, 0 * mono],
        "twice": [*call, *call],
        "twice the same": [mono, 0 * mono, mono, mono],
        "nothing": [0 * mono, 0 * mono],
    }
    soundfile.write(tmp_path / "a.wav", int16(*sounds[sound]), SAMPLE_RATE, "PCM_16")
    found = prepared(tmp_path / "a.wav", *names)
    assert (found.channels, found.undivided, found.flags) == (kept, undivided, flags)
    assert found.audio.channels == len(sounds[sound])
    if sound == "twice":
        signals = channels(tmp_path / "a.flac", 4)
        assert [bool(signal.any()) for signal in signals] == [True, True, False, False]
    if sound == "bled":
        agent, customer = channels(tmp_path / "a.flac", 2)
        begins = np.flatnonzero(windows_spoken(call, 1, 15))[0] * WINDOW
        assert np.abs(customer[SAMPLE_RATE * 2 : begins - SAMPLE_RATE]).max() < 0.003
        assert np.abs(agent[SAMPLE_RATE * 2 : begins - SAMPLE_RATE]).max() > 0.1
