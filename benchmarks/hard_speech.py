"""Speech that is hard to detect, and sounds without speech: results of the second search, and which of them are
accepted.

    python -m benchmarks.hard_speech FOLDER_OF_SOUNDS [--out candidates.jsonl]   # decode every candidate, once
    python -m benchmarks.hard_speech --choose candidates.jsonl                  # choose the constants, and check them

Recordings of the speech set are mixed with noise and music, made quiet next to a loud speaker, whispered and sung. The
sounds are noises, tones and music from the given folder and generated ones. Each candidate of
`stenopool.speech.audio.vad.find_doubtful` is decoded; its words are right if the reference has them. The constants of
`stenopool.speech.engines.policy.judge` are chosen on folds of the recordings, and checked on the others.
"""

import argparse
import difflib
import itertools
import json
import re
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from scipy.linalg import solve_toeplitz
from scipy.signal import lfilter

from benchmarks.speech_set import SPEECH, SpeechSet
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.speech.audio import mixing, vad
from stenopool.speech.audio.preparation import prepare_audio
from stenopool.speech.audio.waveform import SAMPLE_RATE, Samples, Waveform
from stenopool.speech.engines import create, policy
from stenopool.speech.engines.policy import frame_seconds, is_loop

Random = np.random.Generator
_ORDER, _FRAME, _HOP = 18, 400, 160
_THRESHOLDS = (0.2,)


def colour(count: int, exponent: float, random: Random) -> Samples:
    """Noise of power 1 whose spectrum falls with this exponent of the frequency: 0 white, 0.5 pink, 1 brown."""
    spectrum = np.fft.rfft(random.standard_normal(count))
    spectrum /= np.maximum(np.fft.rfftfreq(count, 1 / SAMPLE_RATE), 20) ** exponent
    noise = np.fft.irfft(spectrum, count)
    return (noise / np.sqrt(np.mean(noise**2))).astype(np.float32)


def active_level(samples: Samples) -> float:
    """Root mean square of the loudest tenths of a second."""
    power = (samples[: len(samples) // 1600 * 1600].reshape(-1, 1600) ** 2).mean(axis=1)
    return float(np.sqrt(power[power > power.max() * 1e-3].mean()))


def cover(speech: Samples, sound: Samples, snr: float) -> Samples:
    """Speech mixed with a sound at this signal-to-noise ratio in decibels."""
    sound = np.resize(sound, len(speech))
    mixed = speech + sound / np.sqrt(np.mean(sound**2) + 1e-12) * active_level(speech) * 10 ** (-snr / 20)
    return (mixed / max(1.0, np.abs(mixed).max() / 0.9)).astype(np.float32)


def vocode(speech: Samples, excitation: Samples) -> Samples:
    """The speech's linear prediction filter with another excitation."""
    emphasized = np.append(speech[0], speech[1:] - 0.9 * speech[:-1])
    out, window = np.zeros(len(speech) + _FRAME), np.hanning(_FRAME)
    for start in range(0, len(speech) - _FRAME, _HOP):
        frame = emphasized[start : start + _FRAME] * window
        r = np.correlate(frame, frame, "full")[_FRAME - 1 : _FRAME + _ORDER]
        r[0] = r[0] * 1.0001 + 1e-9
        a = solve_toeplitz(r[:_ORDER], r[1:])
        gain = np.sqrt(max(r[0] - a @ r[1:], 1e-12))
        filtered = lfilter([gain], [1, *-a], excitation[start : start + _FRAME])
        out[start : start + _FRAME] += filtered * window
    out = out[: len(speech)] / (np.abs(out).max() + 1e-9)
    return out.astype(np.float32)


def stretch(speech: Samples, factor: float) -> Samples:
    """Slower speech at the same pitch, by overlap-add."""
    size, hop = 640, 160
    out, weight, window = np.zeros(int(len(speech) * factor) + size), np.zeros(0), np.hanning(size)
    weight, last = np.full_like(out, 1e-3), None
    for position in range(0, len(out) - size, hop):
        start = best = int(position / factor)
        if last is not None:
            near = range(max(0, start - 160), min(len(speech) - size, start + 160), 16)
            best = max(near, key=lambda at: float(last @ speech[at : at + size]), default=start)
        if best + hop + size > len(speech):
            break
        out[position : position + size] += speech[best : best + size] * window
        weight[position : position + size] += window
        last = speech[best + hop : best + hop + size]
    return (out / weight)[: int(len(speech) * factor)].astype(np.float32)


def whisper(speech: Samples, random: Random) -> Samples:
    """Whispered: noise through the vocal tract filter, without emphasis of low frequencies."""
    return vocode(speech, random.standard_normal(len(speech) + _FRAME).astype(np.float32)) * 0.3


def sing(speech: Samples, random: Random) -> Samples:
    """Sung: slow, on notes with vibrato."""
    slow = stretch(speech, 1.6)
    count = len(slow) + _FRAME
    notes = np.repeat(random.choice([220, 247, 262, 294, 330, 349, 392], count // 6400 + 1), 6400)[:count]
    phase = np.cumsum(notes * (1 + 0.01 * np.sin(2 * np.pi * 5.5 * np.arange(count) / SAMPLE_RATE)) / SAMPLE_RATE)
    pulses = (np.diff(np.floor(phase), prepend=0) > 0) * 12.0 + 0.1 * random.standard_normal(count)
    return (lfilter([1], [1, -0.9], vocode(slow, pulses.astype(np.float32))) * 0.1).astype(np.float32)


def load(path: Path) -> Samples:
    """A file as the engines receive it."""
    with tempfile.TemporaryDirectory() as folder:
        prepare_audio(path, Path(folder) / "a.flac", TranscriptionOptions(), ExecutionOptions())
        return Waveform(Path(folder) / "a.flac").read()


def hard_versions(
    speech: Samples, other: Samples, music: list[Samples], random: Random
) -> Iterator[tuple[str, Samples]]:
    """The recording in the conditions to test. ``other``: a loud speaker next to whom it is quiet."""
    count = len(speech)
    for name, exponent in {"white": 0.0, "pink": 0.5, "brown": 1.0}.items():
        for snr in (0, -5, -10):
            yield f"{name} {snr}", cover(speech, colour(count, exponent, random), snr)
    for snr in (0, -5, -10):
        sound = music[random.integers(len(music))]
        start = int(random.integers(max(1, len(sound) - count)))
        yield f"music {snr}", cover(speech, sound[start : start + count], snr)
    for level in (-40, -50, -60):
        quiet = speech / active_level(speech) * active_level(other) * 10 ** (level / 20)
        room = colour(len(other) + count + SAMPLE_RATE, 0.5, random) * active_level(other) * 10 ** ((level - 15) / 20)
        yield f"quiet {level}", room + np.concatenate([other, np.zeros(SAMPLE_RATE, np.float32), quiet])
    yield "whispered", whisper(speech, random)
    yield "whispered 0", cover(whisper(speech, random), colour(count, 0.5, random), 0)
    song = sing(speech, random)
    yield "sung", song
    yield "sung to music", cover(song, music[random.integers(len(music))][: len(song)], 0)


def sounds(folder: Path, random: Random) -> Iterator[tuple[str, Samples]]:
    """Sounds without speech: from the folder, in parts of at most 30 seconds or many in a row, and generated ones."""
    short: list[Samples] = []
    for file in sorted(each for each in folder.rglob("*") if each.suffix in (".wav", ".mp3", ".ogg")):
        samples = load(file)
        if len(samples) < 10 * SAMPLE_RATE:
            short += [samples, np.zeros(int(random.integers(3000, 20000)), np.float32)]
            if len(short) >= 24:
                yield f"short sounds to {file.name}", np.concatenate(short)
                short = []
        for start in range(0, min(len(samples), 180 * SAMPLE_RATE) - 9 * SAMPLE_RATE, 30 * SAMPLE_RATE):
            yield f"{file.name} at {start // SAMPLE_RATE}", samples[start : start + 30 * SAMPLE_RATE]
    count = 20 * SAMPLE_RATE
    time = np.arange(count) / SAMPLE_RATE
    for name, exponent in {"white": 0.0, "pink": 0.5, "brown": 1.0, "blue": -0.5}.items():
        for level in (-70, -50, -30, -15):
            yield f"{name} noise {level}", colour(count, exponent, random) * np.float32(10 ** (level / 20))
        swell = (0.55 + 0.45 * np.sin(2 * np.pi * 0.3 * time)) * 10 ** (-30 / 20)
        yield f"{name} noise that swells", (colour(count, exponent, random) * swell).astype(np.float32)
        syllables = np.maximum(0, np.sin(2 * np.pi * 3 * time) * np.sin(2 * np.pi * 0.37 * time)) * 0.1
        yield f"{name} noise in syllables", (colour(count, exponent, random) * syllables).astype(np.float32)
    yield "hum", (0.05 * sum(np.sin(2 * np.pi * 50 * n * time) / n for n in range(1, 12))).astype(np.float32)
    for name, tones, on, off in (
        ("ringing", (440, 480), 2, 4), ("dial tone", (350, 440), 20, 0), ("busy", (480, 620), 0.5, 0.5),
        ("ringing in Europe", (425, 425), 1, 4), ("alarm", (2000, 2400), 0.2, 0.2), ("reversing", (1000,), 0.5, 0.5),
    ):  # fmt: skip
        beep = sum(np.sin(2 * np.pi * tone * time) for tone in tones) * 0.1
        yield name, (beep * (time % (on + off) < on)).astype(np.float32)
    clicks, breath, melody = (np.zeros(count) for _ in range(3))
    for start in random.integers(0, count - 800, 150):
        decay = np.exp(-np.arange(800) / random.integers(50, 300))
        clicks[start : start + 800] += random.standard_normal(800) * decay * random.uniform(0.05, 0.5)
    for start in range(0, count - 24_000, 56_000):
        breath[start : start + 24_000] += colour(24_000, 0.5, random) * np.hanning(24_000) * 0.02
    for start in range(0, count - 8000, 8000):
        note, beat = random.choice([220, 262, 330, 392, 440, 523]), time[:8000]
        overtones = sum(np.sin(2 * np.pi * note * n * beat) / n for n in range(1, 6))
        melody[start : start + 8000] += np.exp(-beat * 3) * overtones
    yield from (("clicks", clicks.astype(np.float32)), ("breath", breath.astype(np.float32)))
    yield "melody", (melody * 0.2).astype(np.float32)
    yield "siren", (0.2 * np.sin(2 * np.pi * (800 * time + 60 * np.sin(2 * np.pi * 0.5 * time)))).astype(np.float32)


def is_kept_apart(name: str) -> bool:
    """A third of the recordings, the same each time."""
    return zlib.crc32(name.encode()) % 3 == 0


def words_of(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def count_right(text: str, reference: str) -> int:
    """Words of the text that occur in the reference in this order."""
    matcher = difflib.SequenceMatcher(None, words_of(text), words_of(reference), autojunk=False)
    return sum(block.size for block in matcher.get_matching_blocks())


def candidates(samples: Samples, decoder: Any, language: str) -> Iterator[dict[str, Any]]:
    """Results of the second search, decoded."""
    with tempfile.TemporaryDirectory() as folder:
        (level,) = mixing.measure([samples[:, None] * mixing.FULL_SCALE])  # normalized like `prepare_audio`
        normal = np.clip(samples * 10 ** (mixing.gain_db([level]) / 20), -1, 1)
        soundfile.write(Path(folder) / "a.flac", normal, SAMPLE_RATE, subtype="PCM_16")
        waveform = Waveform(Path(folder) / "a.flac")
        first = vad.speech_regions(waveform, max_speech=policy.SPEECH_SECONDS)
        found = sum(region.duration for region in first)
        yield {"first": round(found, 2), "seconds": round(waveform.duration, 2)}
        for threshold in _THRESHOLDS:
            pauses = vad.find_doubtful(waveform, first, threshold=threshold, max_speech=policy.SPEECH_SECONDS)
            doubtful = [region for pause in pauses for region in pause]
            for region in (
                window for pause in pauses for window in vad.phrases(pause, policy.SPEECH_SECONDS, policy.SPAN_SECONDS)
            ):
                encoded = decoder.encode([waveform.read(region.start, region.end)], frame_seconds(region))
                (result,) = decoder.decode(encoded, [language], [region.duration])
                voiced = sum(r.duration for r in doubtful if region.start <= r.start < region.end)
                yield {
                    "threshold": threshold, "seconds": round(region.duration, 2), "voiced": round(voiced, 2),
                    "logprob": round(result.avg_logprob, 3), "no_speech": round(result.no_speech_prob, 3),
                    "ratio": round(result.compression_ratio, 2), "text": result.text,
                }  # fmt: skip


def measure(folder: Path, out: Path, every: int) -> None:
    """Decode each candidate of every n-th recording and of all sounds, one line of JSON each."""
    speech = SpeechSet(SPEECH, Path(tempfile.gettempdir()))
    music = [load(file) for file in sorted(folder.rglob("music/*.mp3"))]
    engine = create("faster-whisper", "base", ExecutionOptions())
    engine.load()
    decoder = engine.decoder(TranscriptionOptions(language="en"))  # type: ignore[attr-defined]
    both = [*speech.of("en_short"), *speech.of("lang_short")]
    items = [item for item in both if item.language not in ("zh", "ja")][::every]  # words are counted
    with out.open("w") as lines:

        def write(name: str, condition: str, samples: Samples, language: str, reference: str) -> None:
            for found in candidates(samples, decoder, language):
                right = count_right(found.get("text", ""), reference)
                about = {"name": name, "condition": condition, "words": len(words_of(reference)), "right": right}
                lines.write(json.dumps(about | found) + "\n")
            lines.flush()

        for name, samples in sounds(folder, np.random.default_rng(0)):
            write(name, "sound", samples, "en", "")
        for number, item in enumerate(items):
            random = np.random.default_rng(number)
            other = load(speech.folder / items[(number + 7) % len(items)].file)[: 6 * SAMPLE_RATE]
            for condition, samples in hard_versions(load(speech.folder / item.file), other, music, random):
                write(item.file, condition, samples, item.language or "en", item.text or "")


def choose(file: Path) -> None:
    """Choose the constants on folds, and print their effect on the other recordings."""
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    found = [row for row in rows if "threshold" in row]
    logprobs, no_speech_probs = (-0.4, -0.5, -0.6, -0.7, -0.8, -0.9, -1.0), (0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8)
    grid = list(itertools.product(_THRESHOLDS, logprobs, no_speech_probs, (0.0, 3.0, 5.0, 7.0)))

    def believed(row: dict[str, Any], constants: tuple[float, ...]) -> bool:
        threshold, logprob, no_speech, slowest = constants
        return (
            row["threshold"] == threshold
            and row["logprob"] > logprob
            and row["no_speech"] < no_speech
            and len(row["text"].strip().encode()) > slowest * row["seconds"]
            and row["ratio"] < policy.REPETITIVE
            and bool(row["text"].strip())
            and not is_loop(row["text"])
        )

    def score(part: list[dict[str, Any]], constants: tuple[float, ...]) -> tuple[int, int, int]:
        """Right words, wrong words in speech, words in sounds."""
        kept = [row for row in part if believed(row, constants)]
        right = sum(row["right"] for row in kept)
        wrong = sum(len(words_of(row["text"])) - row["right"] for row in kept if row["condition"] != "sound")
        made_up = sum(len(words_of(row["text"])) for row in kept if row["condition"] == "sound")
        return right, wrong, made_up

    def value(part: list[dict[str, Any]], constants: tuple[float, ...]) -> float:
        right, wrong, made_up = score(part, constants)
        return right - 3 * wrong - 20 * made_up

    chosen_from = [row for row in found if not is_kept_apart(row["name"])]
    apart = [row for row in found if is_kept_apart(row["name"])]
    for fold in range(5):
        inside = [row for row in chosen_from if zlib.crc32(b"fold" + row["name"].encode()) % 5 != fold]
        outside = [row for row in chosen_from if zlib.crc32(b"fold" + row["name"].encode()) % 5 == fold]
        best = max(grid, key=lambda constants: value(inside, constants))
        print(f"fold {fold}: {best}, inside {score(inside, best)}, outside {score(outside, best)}")
    best = max(grid, key=lambda constants: value(chosen_from, constants))
    print(f"all folds: {best} {score(chosen_from, best)}; kept apart: {score(apart, best)} (right, wrong, in sounds)")
    table: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for row in apart:
        if believed(row, best):
            table[row["condition"]][0] += row["right"]
            table[row["condition"]][1] += len(words_of(row["text"])) - row["right"]
    for row in rows:
        if "first" in row and is_kept_apart(row["name"]):
            table[row["condition"]][2] += row["words"]
    for condition, (right, wrong, words) in sorted(table.items()):
        print(f"| {condition} | {right} | {wrong} | {words} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sounds", type=Path, nargs="?")
    parser.add_argument("--out", type=Path, default=Path("candidates.jsonl"))
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--choose", type=Path)
    asked = parser.parse_args()
    if asked.choose:
        choose(asked.choose)
    else:
        measure(asked.sounds, asked.out, asked.every)
