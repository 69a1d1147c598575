"""Speech in files of which one header field lies: it is there, or a flag or a code says that it may not be.

A target of `benchmarks.fuzz`. Each input is a recording of four seconds in one of the forms below, with one field of
its headers changed. After its preparation, each half second of speech of the unchanged recording must be found in the
result, wherever it is; else the transcript must carry a flag (of the preparation, or that there is no speech).
"""

import random
import struct
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import soundfile
from numpy.typing import NDArray

from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.speech.audio.preparation import prepare_audio
from stenopool.speech.audio.vad import speech_regions
from stenopool.speech.audio.waveform import Waveform
from stenopool.speech.transcript import NO_SPEECH

FORMS: dict[str, list[str]] = {
    "wav": ["-c:a", "pcm_s16le"],
    "stereo.wav": ["-c:a", "pcm_s16le", "-ac", "2"],
    "24.wav": ["-c:a", "pcm_s24le"],  # extensible
    "f32.wav": ["-c:a", "pcm_f32le"],
    "u8.wav": ["-c:a", "pcm_u8"],
    "mulaw.wav": ["-c:a", "pcm_mulaw", "-ar", "8000"],
    "adpcm.wav": ["-c:a", "adpcm_ms"],
    "rf64.wav": ["-rf64", "always"],
    "w64": [],
    "aiff": [],
    "sowt.aiff": ["-c:a", "pcm_s16le", "-f", "aiff"],
    "au": [],
    "caf": [],
    "alac.caf": ["-c:a", "alac"],
    "flac": [],
    "mp3": [],
    "id3.mp3": ["-metadata", "title=Minutes", "-metadata", "comment=" + "x" * 300],
    "aac": [],
    "m4a": ["-c:a", "aac"],
    "fast.m4a": ["-c:a", "aac", "-movflags", "+faststart"],
    "fragments.m4a": ["-c:a", "aac", "-movflags", "+frag_keyframe+empty_moov", "-frag_duration", "500000"],
    "pcm.mov": ["-c:a", "pcm_s16le"],
    "mka": ["-c:a", "flac"],
    "aac.mka": ["-c:a", "aac"],
    "webm": ["-c:a", "libopus"],
    "opus": ["-c:a", "libopus"],
    "ogg": ["-c:a", "libvorbis"],
    "ts": ["-c:a", "mp2"],
    "avi": ["-c:a", "mp3"],
    "wma": ["-c:a", "wmav2"],
    "amr": ["-c:a", "libopencore_amrnb", "-ar", "8000"],
    "ac3": ["-c:a", "ac3", "-ar", "48000"],
    "flv": ["-c:a", "mp3", "-ar", "44100"],
    "wv": [],
    "tta": [],
}
_HOP, _FRAME, _BANDS = 160, 400, 20
_BLOCK = 50  # hops
_ALIKE = 0.75


def seeds(folder: Path) -> list[tuple[str, bytes]]:
    """The recordings, unchanged: name and contents. They are of four seconds of speech, if there are recordings."""
    from tests.support.speech import SPEECH

    made, speech = [], SPEECH / "en" / "jfk.flac"
    if not speech.exists():
        speech = folder / "voice.wav"
        soundfile.write(speech, voice(4), 16000, "PCM_16")
    for name, arguments in FORMS.items():
        path = folder / f"seed.{name}"
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-nostdin", "-i", f"file:{speech}", "-t", "4"]
        subprocess.run([*command, "-ac", "1", "-ar", "16000", *arguments, f"file:{path}"], check=True)
        made.append((name, path.read_bytes()))
        path.unlink()
    return made


def voice(seconds: float, seed: int = 0) -> NDArray[np.int16]:
    """A gliding, voiced sound in syllables: mono, 16 kHz. No two stretches are alike."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * 16000)) / 16000
    pitch = 120 + 40 * np.sin(2 * np.pi * 0.31 * time + seed)
    phase = 2 * np.pi * np.cumsum(pitch) / 16000
    sound = np.sum([np.sin(n * phase + n) / n**1.3 for n in range(1, 12)], axis=0)
    syllables = np.interp(time, np.arange(0, seconds + 0.2, 0.1), rng.uniform(0, 1, round(seconds * 10) + 2))
    return np.rint(sound * syllables * 5000).astype(np.int16)


def changed(chance: random.Random, data: bytes, name: str) -> bytes:
    """The recording with one header field changed; in Ogg, the page's checksum is changed with it or not."""
    out = bytearray(data)
    at = chance.choice(_places(name, data))
    width = chance.choice([1, 1, 2, 2, 4, 4, 8])
    at = min(at - at % chance.choice([1, min(width, 4)]), len(out) - width)
    order = chance.choice(["little", "big"])
    old = int.from_bytes(out[at : at + width], order)
    most = 2 ** (8 * width) - 1
    new = old
    while new == old:
        new = chance.choice(
            [0, 1, most, most >> 1, old + 1, old - 1, old * 2, old // 2, old ^ 1 << chance.randrange(8 * width)]
            + [chance.randrange(most + 1)] * 3
        )
        new &= most
    out[at : at + width] = new.to_bytes(width, order)
    if name in ("opus", "ogg") and chance.random() < 0.7:
        _sum_pages(out)
    return bytes(out)


def _places(name: str, data: bytes) -> list[int]:
    """Positions of headers: before the media, and behind it in formats that keep their tables there."""
    from_the_start = {
        **{"mp3": 200, "id3.mp3": 600, "aac": 7, "amr": 6, "ac3": 7, "ts": 600, "opus": 400, "ogg": 3800, "webm": 600},
        **{"mka": 700, "aac.mka": 700, "flac": 120, "wma": 900, "avi": 5800, "flv": 400, "wv": 60, "tta": 80},
    }
    size = len(data)
    if (mark := data.find(b"moov")) > 0:
        places = [*range(48), *range(mark - 4, min(size, mark + 1600))]
        for box in (b"moof", b"elst", b"mdhd", b"stts", b"stsz", b"stsc", b"stco", b"tkhd", b"stsd", b"trun", b"tfdt"):
            if (found := data.find(box)) > 0:
                places += [*range(found - 4, min(size, found + 40))] * 2
        return places
    length = from_the_start.get(name, 120)
    return [*range(min(length, size))]


def _sum_pages(out: bytearray) -> None:
    """Put right the checksums of all Ogg pages: the lie is then in the field alone."""
    at = 0
    while (at := out.find(b"OggS", at)) >= 0 and at + 27 <= len(out):
        table = out[at + 27 : at + 27 + out[at + 26]]
        end = at + 27 + len(table) + sum(table)
        page = bytes(out[at : at + 22]) + bytes(4) + bytes(out[at + 26 : end])
        out[at + 22 : at + 26] = struct.pack("<I", _ogg_sum(page))
        at += 4


@lru_cache(maxsize=1)
def _table() -> list[int]:
    entries = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
        entries.append(value)
    return entries


def _ogg_sum(page: bytes) -> int:
    value, table = 0, _table()
    for byte in page:
        value = (value << 8 & 0xFFFFFFFF) ^ table[value >> 24 ^ byte]
    return value


def features(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Levels in bands, in dB, each 10 ms: shape (hops, bands)."""
    if len(samples) < _FRAME:
        samples = np.pad(samples, (0, _FRAME - len(samples)))
    frames = np.lib.stride_tricks.sliding_window_view(samples, _FRAME)[::_HOP] * np.hanning(_FRAME)
    power = np.abs(np.fft.rfft(frames, 512)) ** 2
    edges = np.unique(np.geomspace(3, 120, _BANDS + 1).astype(int))
    levels = np.add.reduceat(power, edges[:-1], axis=1)
    return 10 * np.log10(levels + levels.max() * 1e-5 + 1e-12)


def missing(reference: NDArray[np.float64], got: NDArray[np.float64]) -> list[float]:
    """Where the half seconds of speech begin, in seconds, that are not in ``got``."""
    loudness = reference.mean(axis=1)
    lost = []
    if len(got) < _BLOCK:
        got = np.pad(got, ((0, _BLOCK - len(got)), (0, 0)), mode="edge")
    windows = (
        np.lib.stride_tricks.sliding_window_view(got, _BLOCK, axis=0)
        .transpose(0, 2, 1)
        .reshape(-1, _BLOCK * got.shape[1])
    )
    windows = windows - windows.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(windows, axis=1) + 1e-9
    for start in range(0, len(reference) - _BLOCK + 1, _BLOCK // 2):
        if loudness[start : start + _BLOCK].max() < loudness.max() - 20:
            continue
        block = reference[start : start + _BLOCK].reshape(-1)
        block = block - block.mean()
        likeness = windows @ block / norms / (np.linalg.norm(block) + 1e-9)
        if likeness.max() < _ALIKE:
            lost.append(start * _HOP / 16000)
    return lost


class Judge:
    """Prepares changed recordings, and finds the speech that is lost without a word."""

    def __init__(self, folder: Path, originals: list[tuple[str, bytes]]) -> None:
        self._folder = folder
        self._originals = originals
        self._references: dict[int, NDArray[np.float64]] = {}

    def prepare(self, data: bytes) -> tuple[NDArray[np.float64], list[str]]:
        """What comes out, and its flags. Raises `StenopoolError`."""
        with tempfile.TemporaryDirectory(dir=self._folder) as scratch:
            source, flac = Path(scratch) / "source", Path(scratch) / "out.flac"
            source.write_bytes(data)
            prepared = prepare_audio(source, flac, TranscriptionOptions(), ExecutionOptions(max_duration=7200))
            flags = list(prepared.flags)
            waveform = Waveform(flac)
            samples = waveform.read(0, 600)
            if not flags and not speech_regions(waveform):
                flags.append(NO_SPEECH)
        return features(samples), flags

    def check(self, number: int, data: bytes) -> None:
        """Raises `AssertionError` if speech was lost silently, `StenopoolError` with the code of a refusal."""
        if number not in self._references:
            reference, flags = self.prepare(self._originals[number][1])
            if set(flags) - {NO_SPEECH}:
                raise AssertionError(f"{self._originals[number][0]}, unchanged, is flagged: {flags}")
            self._references[number] = reference
        got, flags = self.prepare(data)
        if not flags and (lost := missing(self._references[number], got)):
            name, original = self._originals[number]
            where = [at for at, pair in enumerate(zip(data, original, strict=False)) if pair[0] != pair[1]]
            raise AssertionError(f"lost without a word: {lost} s of {name}; bytes {where[:8]} are changed")
