"""Detection of copied channels and bleeding voices, over many constructed calls.

    python benchmarks/channels.py --voices FOLDER [--calls 100] [--only KIND]

FOLDER has clips of one speaker each, named SPEAKER-anything.flac or .wav, 16 kHz mono (LibriSpeech's names). A call has
two of them in turns, with pauses and overlaps, for 12 s to 2 minutes, at different levels. Each kind of fault is
applied to the same calls, and each call is compared as `prepare_audio` does. Per kind: the lowest and highest peak of
the correlation, the share of calls whose channels are detected as copies, the share of loud windows of own speech that
are muted, and the share of the other's windows that remain in runs of 0.4 s or more, long enough for a word.

The thresholds of `stenopool/speech/audio/crosstalk.py` were set on calls of other seeds: each about half-way, in
decibels, between the highest value without the fault and the lowest with it.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import butter, fftconvolve, sosfilt

from stenopool.speech.audio import crosstalk
from stenopool.speech.audio.crosstalk import WINDOW, find_crosstalk
from stenopool.speech.audio.waveform import SAMPLE_RATE

Signal = NDArray[np.float64]
Voices = dict[str, list[Signal]]
Fault = Callable[[np.random.Generator, Signal], Signal]
PAUSE = 11  # frames of 25 ms


def read_voices(folder: Path) -> Voices:
    """Phrases of each speaker: clips cut at pauses."""
    voices: defaultdict[str, list[Signal]] = defaultdict(list)
    for path in sorted([*folder.rglob("*.flac"), *folder.rglob("*.wav")]):
        samples, rate = soundfile.read(path)
        assert rate == SAMPLE_RATE, path
        assert samples.ndim == 1, path
        voices[path.stem.split("-")[0]] += _cut(samples / (np.abs(samples).max() + 1e-9) * 0.5)
    return {name: phrases for name, phrases in voices.items() if len(phrases) > 1}


def _cut(samples: Signal, frame: int = 400) -> Iterator[Signal]:
    level = np.sqrt((samples[: len(samples) // frame * frame].reshape(-1, frame) ** 2).mean(axis=1))
    loud = np.flatnonzero(level > 0.12 * np.percentile(level, 90))
    for run in np.split(loud, np.flatnonzero(np.diff(loud) > PAUSE) + 1):
        if len(run) * frame >= SAMPLE_RATE:
            yield samples[run[0] * frame : (run[-1] + 1) * frame]


def make_call(rng: np.random.Generator, voices: Voices) -> Signal:
    """The speech of two people, each alone: shape (2, samples)."""
    parties = rng.choice(sorted(voices), 2, replace=False)
    seconds = float(rng.choice([12, 30, 60, 120]))
    call, clock, speaking = (
        np.zeros((2, round((seconds + 30) * SAMPLE_RATE))),
        rng.uniform(0.2, 2),
        int(rng.integers(2)),
    )
    gains = 10 ** (rng.uniform(-9, 0, 2) / 20)
    while clock < seconds:
        for _ in range(int(rng.integers(1, 4))):
            phrases = voices[parties[speaking]]
            phrase = phrases[int(rng.integers(len(phrases)))] * gains[speaking]
            at = round(clock * SAMPLE_RATE)
            phrase = phrase[: max(0, call.shape[1] - at)]
            call[speaking, at : at + len(phrase)] += phrase
            clock += len(phrase) / SAMPLE_RATE + rng.exponential(0.25)
        if rng.random() < 0.15:
            clock = max(0.0, clock - rng.uniform(0.3, 1.8))
        speaking = 1 - speaking
    return call[:, : round(clock * SAMPLE_RATE)]


def noise(rng: np.random.Generator, call: Signal, level: float) -> Signal:
    return rng.standard_normal(call.shape) * 10 ** (level / 20)


def delayed(signal: Signal, seconds: float) -> Signal:
    lag = round(seconds * SAMPLE_RATE)
    return np.pad(signal, (lag, 0))[: len(signal)]


def in_room(rng: np.random.Generator, signal: Signal, seconds: float) -> Signal:
    """Echoes as loud as the direct sound, of noise that falls by 60 dB in this time."""
    length = round(seconds * SAMPLE_RATE)
    tail = rng.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    tail /= np.sqrt((tail**2).sum())
    tail[0] += 1
    return fftconvolve(signal, tail)[: len(signal)] / np.sqrt(2)


def over_telephone(signal: Signal) -> Signal:
    heard = np.clip(sosfilt(butter(4, [300, 3400], "band", fs=SAMPLE_RATE, output="sos"), signal), -1, 1)
    coded = np.round(np.sign(heard) * np.log1p(255 * np.abs(heard)) / np.log(256) * 127) / 127
    return np.sign(coded) * (256 ** np.abs(coded) - 1) / 255


def bleeding(level: float, lag: float = 0.03, hiss: float = -70, room: float = 0, gain: float = 1.0) -> Fault:
    """Each party in the other's channel: ``level`` dB quieter, ``lag`` s later, through a room if ``room`` is not 0."""

    def apply(rng: np.random.Generator, call: Signal) -> Signal:
        other = np.stack([delayed(in_room(rng, each, room) if room else each, lag) for each in call[::-1]])
        return (call + gain / abs(gain) * 10 ** (level / 20) * other + noise(rng, call, hiss)) * [[1.0], [abs(gain)]]

    return apply


def copy(lag: float = 0.0, gain: float = 1.0, room: float = 0) -> Fault:
    """The conversation, on both channels."""

    def apply(rng: np.random.Generator, call: Signal) -> Signal:
        mono = call.sum(axis=0)
        both = [mono, gain * delayed(mono, lag)]
        both = [in_room(rng, each, room) for each in both] if room else both
        return np.stack(both) + noise(rng, call, -60)

    return apply


def telephone(fault: Fault) -> Fault:
    return lambda rng, call: np.stack([over_telephone(each) for each in fault(rng, call)])


APART: dict[str, Fault] = {
    "call": lambda rng, call: call + noise(rng, call, -70),
    "call, digital silence": lambda _, call: call,
    "call, telephone": telephone(lambda _, call: call),
    "call, hum in both": lambda rng, call: (
        call + noise(rng, call, -70) + 0.01 * np.sin(np.arange(call.shape[1]) * 2 * np.pi * 50 / SAMPLE_RATE)
    ),
}
BLEEDING: dict[str, Fault] = {
    "-6 dB": bleeding(-6),
    "-10 dB": bleeding(-10),
    "-20 dB": bleeding(-20),
    "-20 dB, inverted": bleeding(-20, gain=-1),
    "-20 dB, other channel -26 dB": bleeding(-20, gain=0.05),
    "-30 dB": bleeding(-30),
    "-40 dB": bleeding(-40),
    "-40 dB, noise -60 dB": bleeding(-40, hiss=-60),
    "-10 dB, room": bleeding(-10, 0.005, room=0.5),
    "-20 dB, room": bleeding(-20, 0.005, room=0.5),
    "-30 dB, room": bleeding(-30, 0.005, room=0.5),
    "-25 dB, room, telephone": telephone(bleeding(-25, room=0.4)),
}
COPIES: dict[str, Fault] = {
    "copy": copy(),
    "copy, 0.5 s later": copy(0.5),
    "copy, inverted, -6 dB": copy(gain=-0.5),
    "copy, -11 dB, 0.1 s later": copy(0.1, 0.28),
    "copy, two microphones in a room": copy(0.01, room=0.5),
    "copy, telephone": telephone(copy(0.05)),
}


def measure(voices: Voices, fault: Fault, calls: int, seed: int) -> list[tuple[float, ...]]:
    """Per call: peak, copies, own speech muted, the other party's speech left."""
    rows = []
    for number in range(calls):
        rng = np.random.default_rng([seed, number])
        call = make_call(rng, voices)
        samples = np.clip(np.rint(fault(rng, call).T * 32767), -32768, 32767).astype(np.int16)
        found = find_crosstalk(lambda samples=samples: [samples], 2)
        energy = np.add.reduceat(call**2, np.arange(0, call.shape[1], WINDOW), axis=1)
        loudest = np.percentile(energy, 95, axis=1)[:, None]
        loud, audible = energy > loudest * 10**-1.5, energy > loudest * 10**-2.5
        lost, left = [], []
        for channel in (0, 1):
            muted = found.muted.get(channel, np.zeros(energy.shape[1], bool))
            other = loud[1 - channel] & ~audible[channel]
            run = np.convolve(other & ~muted, np.ones(4), "valid") >= 4
            lost.append((muted & loud[channel]).sum() / max(1, loud[channel].sum()))
            left.append(run.sum() / max(1, other.sum()))
        rows.append((highest_peak(samples), len(found.copies), max(lost), max(left)))
    return rows


def highest_peak(samples: NDArray[np.int16]) -> float:
    sums = crosstalk.sum_spectra([samples], 2)[0, 1]
    return max((height for each in (*sums, sums.sum(axis=0)) for height, _ in crosstalk.peaks(each)), default=0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voices", type=Path, required=True)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    voices = read_voices(arguments.voices)
    print(
        "| kind | peak, lowest to highest | detected as copies | own speech muted, mean and worst | other voice left |"
    )
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, fault in {**APART, **BLEEDING, **COPIES}.items():
        if arguments.only in name:
            rows = np.array(measure(voices, fault, arguments.calls, arguments.seed))
            left = f"{rows[:, 3].mean():.1%}" if name in BLEEDING else ""
            print(
                f"| {name} | {rows[:, 0].min():.1f} to {rows[:, 0].max():.1f} | {rows[:, 1].mean():.0%} "
                f"| {rows[:, 2].mean():.2%}, {rows[:, 2].max():.1%} | {left} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
