"""Speech in files with one wrong header field is found, or a flag or a code says that it may be missing.

A target of `benchmarks.fuzz`. Each input is a recording of four seconds in one of the forms below, with one header
field changed. After preparation, each half second of speech of the unchanged recording must be found anywhere in the
result; otherwise the transcript must carry a flag (of the preparation, or that it has no speech).
"""

import random
import struct
import subprocess
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Literal

import imageio_ffmpeg
import numpy as np
import soundfile
from numpy.typing import NDArray

from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.speech.audio.formats import USUAL_RATES
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
_ORDERS: tuple[Literal["little"], Literal["big"]] = ("little", "big")
_WORDS = [(4 + 4 * n, 4) for n in range(10)]
# Magic bytes, byte order, and the fields after them: offset, bytes.
_FIELDS: list[tuple[bytes, Literal["little", "big"], list[tuple[int, int]]]] = [
    (b"RIFF", "little", [(4, 4)]),
    (b"ds64", "little", [(4, 4), (8, 8), (16, 8), (24, 8)]),
    (b"fmt \x10\0\0\0", "little", [(4, 4), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2), (22, 2)]),
    (b"fmt \x12\0\0\0", "little", [(4, 4), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2), (22, 2), (24, 2)]),
    (b"fmt \x28\0\0\0", "little", [(8, 2), (10, 2), (12, 4), (16, 4), (20, 2), (22, 2), (26, 2), (32, 2)]),
    (b"fmt \x32\0\0\0", "little", [(8, 2), (10, 2), (12, 4), (16, 4), (20, 2), (22, 2), (26, 2)]),
    (b"fmt \xf3\xac", "little", [(16, 8), (24, 2), (26, 2), (28, 4), (32, 4), (36, 2), (38, 2)]),
    (b"data\xf3\xac", "little", [(16, 8)]),
    (b"LIST", "little", [(4, 4)]),
    (b"data", "little", [(4, 4)] * 2),
    (b"FORM", "big", [(4, 4)]),
    (b"COMM", "big", [(4, 4), (8, 2), (10, 4), (14, 2), (16, 2), (18, 2)]),
    (b"SSND", "big", [(4, 4), (8, 4), (12, 4)]),
    (b".snd", "big", _WORDS[:5]),
    (b"caff", "big", [(20, 8), (28, 4), (32, 4), (36, 4), (40, 4), (44, 4), (48, 4)]),
    (b"fLaC", "big", [(5, 3), (8, 2), (10, 2), (12, 3), (15, 3), (18, 3), (18, 8), (21, 5), (43, 3)]),
    (b"Xing", "big", _WORDS[:3]),
    (b"Info", "big", _WORDS[:3]),
    (b"ID3", "big", [(6, 4), (9, 1), (8, 1)]),
    *((box, "big", [(-4, 4), *_WORDS]) for box in (b"elst", b"mdhd", b"tkhd", b"mvhd", b"trun", b"tfhd", b"tfdt")),
    *((box, "big", [(-4, 4), *_WORDS[:6]]) for box in (b"stts", b"stsz", b"stsc", b"stco", b"mp4a", b"sowt")),
    *(
        (box, "big", [(-4, 4)])
        for box in (b"mdat", b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"esds")
    ),
    (b"OggS", "little", [(5, 1), (6, 8), (14, 4), (18, 4), (26, 1)]),
    (b"OpusHead", "little", [(9, 1), (10, 2), (12, 4), (16, 2)]),
    (b"\x01vorbis", "little", [(11, 1), (12, 4), (16, 4), (20, 4), (28, 1)]),
    (b"\x2a\xd7\xb1\x83", "big", [(4, 3)]),  # Matroska: TimestampScale, SamplingFrequency, Channels, CodecDelay
    (b"\xb5\x84", "big", [(2, 4)]),
    (b"\xb5\x88", "big", [(2, 8)]),
    (b"\x9f\x81", "big", [(2, 1)]),
    (b"\x56\xaa\x83", "big", [(3, 3)]),
    (b"\x1f\x43\xb6\x75", "big", [(4, 1), (4, 8)]),
]
_HEADERS = 8192  # bytes
_HOP, _FRAME, _BANDS = 160, 400, 20
_BLOCK = 50  # hops
_ALIKE = 0.75


def seeds(folder: Path) -> list[tuple[str, bytes]]:
    """The unchanged recordings: name and contents. Four seconds of speech each, if recordings are available."""
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
    """A gliding, voiced sound in syllables: mono, 16 kHz. No two parts are alike."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * 16000)) / 16000
    pitch = 120 + 40 * np.sin(2 * np.pi * 0.31 * time + seed)
    phase = 2 * np.pi * np.cumsum(pitch) / 16000
    sound = np.sum([np.sin(n * phase + n) / n**1.3 for n in range(1, 12)], axis=0)
    syllables = np.interp(time, np.arange(0, seconds + 0.2, 0.1), rng.uniform(0, 1, round(seconds * 10) + 2))
    return np.rint(sound * syllables * 5000).astype(np.int16)


def changed(chance: random.Random, data: bytes, name: str) -> bytes:
    """The recording with one header field changed; in Ogg, the page's checksum may be updated too."""
    out = bytearray(data)
    named = fields(data)
    if named and chance.random() < 0.75:
        at, width, order = chance.choice(named)
    else:
        at, width, order = chance.choice(_places(name, data)), chance.choice([1, 1, 2, 4, 8]), chance.choice(_ORDERS)
    at = min(at, len(out) - width)
    old, most = int.from_bytes(out[at : at + width], order), 2 ** (8 * width) - 1
    new = old
    while new == old:
        values = [
            0,
            most,
            most >> 1,
            old + 1,
            old - 1,
            old ^ 1 << chance.randrange(8 * width),
            chance.randrange(most + 1),
        ]
        values += [round(old * factor) for factor in (0.1, 0.3, 0.5, 0.8, 1.2, 2, 3, 10)]  # could be correct
        new = chance.choice([*values, chance.choice([1, 2, 6, 8, 24, 32, 8000, 22050, 44100, 48000])]) & most
    out[at : at + width] = new.to_bytes(width, order)
    if name in ("opus", "ogg") and chance.random() < 0.7:
        _sum_pages(out)
    return bytes(out)


def fields(data: bytes) -> list[tuple[int, int, Literal["little", "big"]]]:
    """Header fields at fixed offsets after their magic bytes: position, bytes, byte order."""
    found: list[tuple[int, int, Literal["little", "big"]]] = []
    for mark, order, places in _FIELDS:
        at = data.find(mark)
        while 0 <= at < _HEADERS or (at >= 0 and b"moov" in data):  # elsewhere, sound that looks like magic bytes
            found += [(at + offset, width, order) for offset, width in places if at + offset >= 0]
            at = data.find(mark, at + 1) if mark == b"OggS" else -1
    return found


def _places(name: str, data: bytes) -> list[int]:
    """Positions of headers: before the media, and after it in formats that keep their tables there."""
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
    """Update the checksums of all Ogg pages, so that only the field is wrong."""
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
    """Levels in bands, in dB, every 10 ms: shape (hops, bands)."""
    if len(samples) < _FRAME:
        samples = np.pad(samples, (0, _FRAME - len(samples)))
    frames = np.lib.stride_tricks.sliding_window_view(samples, _FRAME)[::_HOP] * np.hanning(_FRAME)
    power = np.abs(np.fft.rfft(frames, 512)) ** 2
    edges = np.unique(np.geomspace(3, 120, _BANDS + 1).astype(int))
    levels = np.add.reduceat(power, edges[:-1], axis=1)
    return 10 * np.log10(levels + levels.max() * 1e-5 + 1e-12)


def missing(reference: NDArray[np.float64], got: NDArray[np.float64]) -> list[float]:
    """Start times, in seconds, of the half seconds of speech that are missing in ``got``."""
    loudness = reference.mean(axis=1)
    lost = []
    # A pause may be inserted, of digital silence.
    whole, dense = _finder(got, _BLOCK), _finder(got[got.max(axis=1) > got.min() + 1], _BLOCK)
    for start in range(0, len(reference) - _BLOCK + 1, _BLOCK // 2):
        block = reference[start : start + _BLOCK]
        if loudness[start : start + _BLOCK].max() > loudness.max() - 20 and not whole(block) and not dense(block):
            lost.append(start * _HOP / 16000)
    return lost


def _finder(got: NDArray[np.float64], length: int) -> Callable[[NDArray[np.float64]], bool]:
    """A function that says whether a part of this many hops occurs anywhere in ``got``."""
    if len(got) < length:
        got = np.pad(got, ((0, length - len(got)), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(got, length, axis=0)
    # Changes of levels: most sounds of a voice have nearly the same spectrum.
    windows = (windows - windows.mean(axis=2, keepdims=True)).reshape(len(windows), -1)
    norms = np.linalg.norm(windows, axis=1) + 1e-9

    def find(block: NDArray[np.float64]) -> bool:
        changes = (block - block.mean(axis=0)).T.reshape(-1)
        return bool((windows @ changes / norms).max() >= _ALIKE * np.linalg.norm(changes))

    return find


class Judge:
    """Prepares changed recordings, and finds speech that is lost silently."""

    def __init__(self, folder: Path, originals: list[tuple[str, bytes]]) -> None:
        self._folder = folder
        self._originals = originals
        self._references: dict[int, tuple[NDArray[np.float64], int]] = {}

    def prepare(self, data: bytes) -> tuple[NDArray[np.float64], int, list[str]]:
        """The prepared audio, the rate in the header, and the flags. Raises `StenopoolError`."""
        with tempfile.TemporaryDirectory(dir=self._folder) as scratch:
            source, flac = Path(scratch) / "source", Path(scratch) / "out.flac"
            source.write_bytes(data)
            prepared = prepare_audio(source, flac, TranscriptionOptions(), ExecutionOptions(max_duration=7200))
            flags = list(prepared.flags)
            waveform = Waveform(flac)
            samples = waveform.read(0, 600)
            if not flags and not speech_regions(waveform):
                flags.append(NO_SPEECH)
        return features(samples), prepared.audio.sample_rate, flags

    def check(self, number: int, data: bytes) -> None:
        """Raises `AssertionError` if speech was lost silently, `StenopoolError` with the code of a refusal."""
        if number not in self._references:
            sound, rate, flags = self.prepare(self._originals[number][1])
            if set(flags) - {NO_SPEECH}:
                raise AssertionError(f"{self._originals[number][0]}, unchanged, is flagged: {flags}")
            self._references[number] = sound, rate
        (sent, right), (name, original) = self._references[number], self._originals[number]
        got, rate, flags = self.prepare(data)
        if rate != right and rate in USUAL_RATES and not name.endswith("wav"):
            return  # contradicted by nothing else in the file, so undetectable
        if not flags and (lost := missing(sent, got)):
            where = [at for at, pair in enumerate(zip(data, original, strict=False)) if pair[0] != pair[1]]
            raise AssertionError(f"lost silently: {lost} s of {name}; bytes {where[:8]} are changed")
