"""Headers that contradict the file: all audio is decoded, and doubtful results are flagged."""

import io
import struct
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.lying_headers import voice
from stenopool.errors import ErrorCode, RecordingError
from stenopool.speech.audio.formats import Survey, survey
from stenopool.speech.audio.samples import SampleFormat
from stenopool.speech.audio.waveform import Waveform
from stenopool.speech.transcript import DECODE_ERRORS, HEADER_MISMATCH, TRUNCATED
from tests.speech.audio.media import make, prepare

RATE = 16000


VOICE, OTHER = voice(3), voice(2, seed=1)


def chunk(name: bytes, body: bytes, size: int | None = None, *, pad: bool = True) -> bytes:
    return name + struct.pack("<I", len(body) if size is None else size) + body + b"\0" * (len(body) % 2 if pad else 0)


def wave_format(**changed: int) -> bytes:
    fields = {"tag": 1, "channels": 1, "rate": RATE, "bytes": 2 * RATE, "block": 2, "bits": 16} | changed
    return chunk(b"fmt ", struct.pack("<HHIIHH", *fields.values()))


def extensible(kind: bytes = b"\1\0") -> bytes:
    guid = kind + b"\1\0\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"[len(kind) :]
    return chunk(b"fmt ", wave_format(tag=0xFFFE)[8:] + struct.pack("<HHI", 22, 16, 4) + guid)


def riff(*chunks: bytes, mark: bytes = b"RIFF", size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return mark + struct.pack("<I", len(body) if size is None else size) + body


def data(samples: NDArray[np.int16] = VOICE, size: int | None = None) -> bytes:
    return chunk(b"data", samples.tobytes(), size)


def stereo(samples: NDArray[np.int16]) -> bytes:
    return riff(wave_format(channels=2, bytes=4 * RATE, block=4), data(np.repeat(samples, 2)))


def w64(samples: NDArray[np.int16], size: int | None = None) -> bytes:
    tail = b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
    body = samples.tobytes()
    fmt = b"fmt " + tail + struct.pack("<Q", 40) + wave_format()[8:]
    content = b"data" + tail + struct.pack("<Q", 24 + (len(body) if size is None else size)) + body
    whole = b"wave" + tail + fmt + content
    return b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0" + struct.pack("<Q", 24 + len(whole)) + whole


def rf64(samples: NDArray[np.int16], size: int | None = None, mark: bytes = b"RF64") -> bytes:
    size = 2 * len(samples) if size is None else size
    sizes = chunk(b"ds64", struct.pack("<QQQI", size + 72, size, size // 2, 0))
    return riff(sizes, wave_format(), data(samples, 2**32 - 1), mark=mark, size=2**32 - 1)


def aiff(samples: NDArray[np.int16], size: int | None = None, **changed: int) -> bytes:
    body = samples.astype(">i2").tobytes()
    fields = {
        "channels": 1,
        "frames": len(samples),
        "bits": 16,
        "exponent": 16396,
        "rate": RATE << 50,
        "offset": 0,
    } | changed
    offset = fields.pop("offset")
    comm = b"COMM" + struct.pack(">IHIHHQ", 18, *fields.values())
    sound = b"SSND" + struct.pack(">III", 8 + len(body) if size is None else size, offset, 0) + body
    whole = b"AIFF" + comm + sound
    return b"FORM" + struct.pack(">I", len(whole)) + whole


def caf(samples: NDArray[np.int16], size: int | None = None, **changed: int) -> bytes:
    fields = {"flags": 2, "block": 2, "frames": 1, "channels": 1, "bits": 16} | changed
    desc = struct.pack(">d4sIIIII", RATE, b"lpcm", *fields.values())
    body = samples.tobytes()
    size = 4 + len(body) if size is None else size
    return b"caff\0\1\0\0desc" + struct.pack(">q", 32) + desc + b"data" + struct.pack(">qI", size, 0) + body


def au(samples: NDArray[np.int16], **changed: int) -> bytes:
    body = samples.astype(">i2").tobytes()
    fields = {"offset": 24, "size": len(body), "encoding": 3, "rate": RATE, "channels": 1} | changed
    return b".snd" + struct.pack(">5I", *fields.values()) + body


def samples_in(flac: Path) -> NDArray[np.float64]:
    return Waveform(flac).read().astype(np.float64)


def likeness(got: NDArray[np.float64], sent: NDArray[np.int16]) -> float:
    """Correlation of output and input, over the length of both."""
    sent = sent - sent.mean()
    if abs(len(got) - len(sent)) > 0.05 * len(sent):
        return 0.0
    length = min(len(got), len(sent))
    return float(np.corrcoef(got[:length], sent[:length])[0, 1])


def best_likeness(got: NDArray[np.float64], sent: NDArray[np.float64]) -> float:
    """The highest correlation over small shifts: encoders delay the sound by some milliseconds."""
    length = min(len(got), len(sent))
    got, sent = got[:length] - got[:length].mean(), sent[:length] - sent[:length].mean()
    products = np.fft.irfft(np.fft.rfft(got, 2 * length) * np.conj(np.fft.rfft(sent, 2 * length)))
    return float(products.max() / np.linalg.norm(got) / np.linalg.norm(sent))


def check(content: bytes, folder: Path, sent: NDArray[np.int16] = VOICE) -> list[str]:
    """The flags of a file whose audio must be decoded completely."""
    (folder / "a.wav").write_bytes(content)
    prepared = prepare(folder / "a.wav", folder / "a.flac")
    assert likeness(samples_in(folder / "a.flac"), sent) > 0.98
    return prepared.flags


def box(name: bytes, *inside: bytes) -> bytes:
    body = b"".join(inside)
    return struct.pack(">I", 8 + len(body)) + name + body


# Boxes that are parsed, with numbers in place of their contents.
MP4 = (
    box(b"ftyp", b"M4A \0\0\0\0")
    + box(b"mdat", bytes(100))
    + box(
        b"moov",
        box(
            b"trak",
            box(b"tkhd", bytes(20) + struct.pack(">I", 3000) + bytes(60)),
            box(b"edts", box(b"elst", struct.pack(">IIIiI", 0, 1, 3000, 1024, 65536))),
            box(b"mdia", box(b"mdhd", bytes(12) + struct.pack(">II", RATE, 3 * RATE) + bytes(4))),
        ),
    )
)
LIST = chunk(b"LIST", b"INFOISFT\x06\0\0\0Lavf63")
BOTH = np.concatenate([VOICE, OTHER])
ODD = chunk(b"note", b"odd")
UNPADDED = chunk(b"note", b"odd", pad=False)

RIGHT: dict[str, bytes] = {
    "plain": riff(wave_format(), data()),
    "LIST before the data": riff(wave_format(), LIST, data()),
    "junk before the format": riff(chunk(b"JUNK", bytes(52)), wave_format(), data()),
    "odd chunk, padded": riff(ODD, wave_format(), data(), ODD),
    "metadata after the data": riff(wave_format(), data(), LIST, chunk(b"id3 ", bytes(3000))),
    "zeros after the data": riff(wave_format(), data()) + bytes(4096),
    "size of the file 0": riff(wave_format(), data(), size=0),
    "sizes of a pipe (FFmpeg)": riff(wave_format(), data(size=2**32 - 1), size=2**32 - 1),
    "sizes of a pipe (SoX)": riff(wave_format(), data(size=0x7FFFF000), size=0x7FFFF024),
    "size of the data 0": riff(wave_format(), data(size=0)),
    "extensible": riff(extensible(), data()),
    "RF64": rf64(VOICE),
    "BW64": rf64(VOICE, mark=b"BW64"),
    "W64": w64(VOICE),
    "AIFF": aiff(VOICE),
    "CAF": caf(VOICE),
    "CAF of unknown size": caf(VOICE, size=-1),
    "AU": au(VOICE),
    "AU of unknown size": au(VOICE, size=2**32 - 1),
    "AU, size too small": au(VOICE, size=100),
    "bytes per second of bits": riff(wave_format(bytes=16 * RATE), data()),
    "bytes per second 0": riff(wave_format(bytes=0), data()),
    "format after the data": riff(data(), wave_format()),
    "odd chunk, not padded": riff(UNPADDED, wave_format(), data()),
    "odd chunk before the data, not padded": riff(wave_format(), UNPADDED, data()),
}

CONTRADICTED: dict[str, bytes] = {
    "data of 1 s": riff(wave_format(), data(size=2 * RATE)),
    "data of 1 s, size of the file 0": riff(wave_format(), data(size=2 * RATE), size=0),
    "data of 1 s, and metadata": riff(wave_format(), data(size=2 * RATE), LIST),
    "data of one odd byte": riff(wave_format(), data(size=1)),
    "RF64, data of 1 s": rf64(VOICE, size=2 * RATE),
    "W64, data of 1 s": w64(VOICE, size=2 * RATE),
    "AIFF, data of 1 s": aiff(VOICE, size=2 * RATE),
    "AIFF, fewer frames": aiff(VOICE, frames=100),
    "AIFF, two channels": aiff(VOICE, channels=2),
    "AIFF, 24 bits": aiff(VOICE, bits=24),
    "AIFF, 8 bits": aiff(VOICE, bits=8),
    "AIFF, offset in the samples": aiff(VOICE, offset=30_000),
    "CAF, two channels": caf(VOICE, channels=2),
    "CAF, 8 bits": caf(VOICE, bits=8),
    "CAF, big-endian": caf(VOICE, flags=0),
    "AU, mu-law": au(VOICE, encoding=1),
    "AU, 24 bits": au(VOICE, encoding=4),
    "AU, floats": au(VOICE, encoding=6),
    "CAF, data of 1 s": caf(VOICE, size=2 * RATE),
    "AU, offset in the samples": au(VOICE, offset=3000),
    "bytes per second of one byte a sample": riff(wave_format(bytes=RATE), data()),
    "bytes per second too high": riff(wave_format(bytes=176400), data()),
    "block of 3": riff(wave_format(block=3), data()),
    "block of 1": riff(wave_format(block=1), data()),
    "block 0": riff(wave_format(block=0), data()),
    "two channels": riff(wave_format(channels=2), data()),
    "300 channels": riff(wave_format(channels=300), data()),
    "no channels": riff(wave_format(channels=0), data()),
    "8 bits": riff(wave_format(bits=8), data()),
    "24 bits": riff(wave_format(bits=24), data()),
    "unusual rate": riff(wave_format(rate=16384), data()),
    "rate 0": riff(wave_format(rate=0), data()),
    "mu-law of 16 bits": riff(wave_format(tag=7), data()),
    "floats of 16 bits": riff(wave_format(tag=3), data()),
    "ADPCM of 16 bits": riff(wave_format(tag=2), data()),
    "extensible, floats of 16 bits": riff(extensible(b"\3\0"), data()),
    "extensible, of an unknown kind": riff(extensible(b"\3\0\1\2\3"), data()),
    "an unknown format tag": riff(wave_format(tag=0x9901), data()),
}

JOINED: dict[str, bytes] = {
    "WAV and WAV": riff(wave_format(), data()) + riff(wave_format(), LIST, data(OTHER)),
    "WAV of unknown size and WAV": riff(wave_format(), data(size=2**32 - 1)) + riff(wave_format(), data(OTHER)),
    "WAV of size 0 and WAV": riff(wave_format(), data(size=0)) + riff(wave_format(), data(OTHER)),
    "RF64 and RF64": rf64(VOICE) + rf64(OTHER),
    "W64 and W64": w64(VOICE) + w64(OTHER),
    "AIFF and AIFF": aiff(VOICE) + aiff(OTHER),
    "CAF and CAF": caf(VOICE) + caf(OTHER),
    "AU and AU": au(VOICE) + au(OTHER),
    "WAV and AIFF": riff(wave_format(), data()) + aiff(OTHER),
    "WAV in WAV": riff(wave_format(), chunk(b"data", riff(wave_format(), data(BOTH)))),
    "empty WAV and WAV": riff(wave_format(), data(VOICE[:0])) + riff(wave_format(), data(BOTH)),
    "WAV and stereo WAV": riff(wave_format(), data()) + stereo(OTHER),
    "stereo WAV and WAV": stereo(VOICE) + riff(wave_format(), data(OTHER)),
}


@pytest.mark.parametrize("name", RIGHT)
def test_unusual_but_correct_headers_are_not_flagged(name: str, tmp_path: Path) -> None:
    assert check(RIGHT[name], tmp_path) == []


@pytest.mark.parametrize("name", CONTRADICTED)
def test_headers_contradicted_by_the_data_or_each_other_are_flagged(name: str, tmp_path: Path) -> None:
    assert check(CONTRADICTED[name], tmp_path) == [HEADER_MISMATCH]


@pytest.mark.parametrize("name", JOINED)
def test_joined_files_are_decoded_completely(name: str, tmp_path: Path) -> None:
    assert check(JOINED[name], tmp_path, BOTH) == []


@pytest.mark.parametrize(
    ("channels", "samples"), [(2, VOICE), (1, np.stack([VOICE[: len(OTHER)], OTHER], axis=1).reshape(-1))]
)
def test_a_number_of_channels_contradicted_only_by_samples_is_flagged(
    channels: int, samples: NDArray[np.int16]
) -> None:
    """Not certain enough to decode differently."""
    assert survey_of(au(samples, channels=channels)).contradictory
    assert not survey_of(au(samples, channels=3 - channels)).contradictory
    assert not survey_of(au(np.repeat(VOICE, 2), channels=2)).contradictory


JOINED_BY_FFMPEG = {
    "a.m4a": (),
    "a.mp4": ("-movflags", "+faststart"),
    "fragments.mp4": ("-movflags", "+frag_keyframe+empty_moov", "-frag_duration", "500000"),
    "a.flac": (),
    "a.mka": ("-c:a", "flac"),
    "a.webm": ("-c:a", "libopus"),
    "a.opus": ("-c:a", "libopus"),
    "a.mp3": ("-b:a", "96k"),
    "a.aac": (),
    "adpcm.wav": ("-c:a", "adpcm_ms"),
    "alac.caf": ("-c:a", "alac"),
    "a.au": ("-c:a", "pcm_mulaw"),
}


def encode(folder: Path, name: str, *arguments: str, samples: NDArray[np.int16] = VOICE) -> bytes:
    """The samples of a file that ffmpeg creates."""
    (folder / "sent.wav").write_bytes(riff(wave_format(), data(samples)))
    path = make(folder / name, "-i", folder / "sent.wav", *arguments)
    content = path.read_bytes()
    path.unlink()
    return content


@pytest.mark.parametrize("name", JOINED_BY_FFMPEG)
def test_joined_compressed_files_are_decoded_completely(name: str, tmp_path: Path) -> None:
    """Encoders add some milliseconds at both ends, so the halves are compared with themselves."""
    one = encode(tmp_path, name, *JOINED_BY_FFMPEG[name])
    (tmp_path / "one").write_bytes(one)
    single = prepare(tmp_path / "one", tmp_path / "one.flac").audio.duration
    (tmp_path / "two").write_bytes(one + one)
    double = prepare(tmp_path / "two", tmp_path / "two.flac")
    assert double.audio.duration == pytest.approx(2 * single, abs=0.15)
    first = samples_in(tmp_path / "one.flac")
    second = samples_in(tmp_path / "two.flac")[-len(first) :]
    assert best_likeness(second, first) > 0.9


def field(content: bytes, box: bytes, offset: int, value: int, width: int = 4) -> bytes:
    """The contents with the number at this offset from a name changed."""
    out, at = bytearray(content), content.index(box) + len(box) + offset
    out[at : at + width] = value.to_bytes(width, "big")
    return bytes(out)


def flags_of(content: bytes, folder: Path) -> tuple[list[str], NDArray[np.float64]]:
    (folder / "a").write_bytes(content)
    return prepare(folder / "a", folder / "a.flac").flags, samples_in(folder / "a.flac")


MP4_LIES = {
    "edits of half a second": (b"elst", 8, 500),
    "edits that start after 2 s": (b"elst", 12, 2 * RATE),
    "half the samples in stsz": (b"stsz", 8, 20),
    "half the samples in stts": (b"stts", 8, 20),
    "one chunk fewer": (b"stco", 4, 1),
    "media of one second": (b"mdat", -8, 8000),
}


@pytest.mark.parametrize("name", MP4_LIES)
def test_mp4_tables_that_omit_audio_are_detected(name: str, tmp_path: Path) -> None:
    content = encode(tmp_path, "a.mp4", "-b:a", "64k", "-movflags", "+faststart")
    assert flags_of(content, tmp_path)[0] == []
    try:
        flags, samples = flags_of(field(content, *MP4_LIES[name]), tmp_path)
    except RecordingError as error:
        assert error.code == ErrorCode.INPUT_CORRUPT  # noqa: PT017 (a code is as good as a flag)
    else:
        assert flags or likeness(samples, VOICE) > 0.95


@pytest.mark.parametrize("scale", [RATE // 2, RATE * 4, 1000])
def test_an_mp4_clock_that_contradicts_the_audio_is_ignored(scale: int, tmp_path: Path) -> None:
    """With half the time scale, a pause would follow each packet."""
    content = encode(tmp_path, "a.m4a", "-b:a", "64k")
    flags, samples = flags_of(field(content, b"mdhd", 12, scale), tmp_path)
    assert HEADER_MISMATCH in flags
    assert len(samples) == pytest.approx(len(VOICE), abs=3000)
    whole = flags_of(content, tmp_path)[1]
    assert best_likeness(samples, whole) > 0.9


def test_a_matroska_clock_that_contradicts_the_audio_is_ignored(tmp_path: Path) -> None:
    content = encode(tmp_path, "a.webm", "-c:a", "libopus")
    assert flags_of(content, tmp_path)[0] == []
    flags, samples = flags_of(field(content, b"\x2a\xd7\xb1", 1, 4_000_000, 3), tmp_path)
    assert HEADER_MISMATCH in flags
    assert len(samples) == pytest.approx(len(VOICE), abs=3000)


def test_pauses_are_not_errors(tmp_path: Path) -> None:
    """A call in which nothing is sent most of the time: the clock is right."""
    whole = make(tmp_path / "whole.webm", "-i", Path(encode_path(tmp_path)), "-c:a", "libopus")
    sparse = make(tmp_path / "gap.webm", "-i", whole, "-c:a", "copy", "-bsf:a", r"noise=drop='gt(mod(n\,20)\,4)'")
    prepared = prepare(sparse, tmp_path / "a.flac")
    assert HEADER_MISMATCH not in prepared.flags
    assert prepared.audio.duration == pytest.approx(3.0, abs=0.4)


def encode_path(folder: Path) -> Path:
    (folder / "sent.wav").write_bytes(riff(wave_format(), data()))
    return folder / "sent.wav"


@pytest.mark.parametrize("name", ["a.opus", "a.ogg", "a.aac", "a.mp3"])
def test_parts_with_another_number_of_channels_are_decoded(name: str, tmp_path: Path) -> None:
    """A voice on the right channel only, after a mono part, is decoded."""
    codec = {"a.opus": ("-c:a", "libopus"), "a.ogg": ("-c:a", "libvorbis")}.get(name, ())
    mono = encode(tmp_path, name, *codec)
    sides = np.stack([OTHER * 0, OTHER], axis=1).reshape(-1)
    (tmp_path / "sides.wav").write_bytes(riff(wave_format(channels=2, bytes=4 * RATE, block=4), data(sides)))
    both = make(tmp_path / name, "-i", tmp_path / "sides.wav", *codec).read_bytes()
    samples = flags_of(mono + both, tmp_path)[1]
    assert np.abs(samples[-RATE:]).max() > 0.05


@pytest.mark.parametrize("name", ["a.mp3", "a.flac", "a.opus"])
def test_a_compressed_file_under_a_wav_header_is_decoded(name: str, tmp_path: Path) -> None:
    inside = encode(tmp_path, name, *(("-c:a", "libopus") if name == "a.opus" else ()))
    inside = inside[inside.index(b"\xff\xf3") :] if name == "a.mp3" else inside
    alone = flags_of(inside, tmp_path)[1]
    samples = flags_of(riff(wave_format(), chunk(b"data", inside)), tmp_path)[1]
    assert best_likeness(samples, alone) > 0.95


@pytest.mark.parametrize("size", [0, 5000, 2**31])
def test_a_chunk_of_wrong_size_before_the_data_is_skipped(size: int, tmp_path: Path) -> None:
    """The chunk sizes are wrong; the data is found by its magic bytes."""
    odd = chunk(b"LIST", bytes(range(200)), size=size)
    assert check(riff(wave_format(), odd, data()), tmp_path) in ([], [HEADER_MISMATCH])


def test_opus_headers_that_skip_or_mute_audio_are_flagged(tmp_path: Path) -> None:
    content = encode(tmp_path, "a.webm", "-c:a", "libopus")
    head = content.index(b"OpusHead")
    for offset, value in ((10, b"\xff\xff"), (16, (-60 * 256).to_bytes(2, "little", signed=True))):
        changed = content[: head + offset] + value + content[head + offset + 2 :]
        assert HEADER_MISMATCH in flags_of(changed, tmp_path)[0]


@pytest.mark.parametrize("extra", [1, 2000, 20_000])
def test_an_id3_tag_that_hides_audio_is_detected(extra: int, tmp_path: Path) -> None:
    content = encode(tmp_path, "a.mp3", "-b:a", "64k", "-metadata", "title=Minutes")
    whole = flags_of(content, tmp_path)[1]
    size = sum(byte << 7 * (3 - n) for n, byte in enumerate(content[6:10])) + extra
    packed = bytes(size >> 7 * (3 - n) & 0x7F for n in range(4))
    flags, samples = flags_of(content[:6] + packed + content[10:], tmp_path)
    assert abs(len(samples) - len(whole)) < 1300
    assert extra == 1 or flags == [HEADER_MISMATCH]


@pytest.mark.parametrize("name", ["picture", "padding", "text", "unsynchronized"])
def test_a_correct_id3_tag_is_not_flagged(name: str, tmp_path: Path) -> None:
    content = encode(tmp_path, "a.mp3", "-b:a", "64k", "-id3v2_version", "0")
    body = {
        "picture": b"APIC" + (60_000).to_bytes(4, "big") + b"\0\0" + np.random.default_rng(0).bytes(60_000),
        "padding": b"TIT2" + (5).to_bytes(4, "big") + b"\0\0\0abcd" + bytes(30_000),
        "unsynchronized": b"TIT2" + (6).to_bytes(4, "big") + b"\0\0\1\xff\0\xfea\0b" + bytes(100),
        "text": b"COMM" + (30_000).to_bytes(4, "big") + b"\0\0" + b"\0engx" + b"y" * 29_995,
    }[name]
    tag = (
        b"ID3\3\0"
        + (b"\x80" if name == "unsynchronized" else b"\0")
        + bytes(len(body) >> 7 * (3 - n) & 0x7F for n in range(4))
        + body
    )
    assert flags_of(tag + content, tmp_path)[0] == []


@pytest.mark.parametrize("name", ["a.flac", "a.tta"])
def test_frame_checksums_find_damage(name: str, tmp_path: Path) -> None:
    """Also with a seek table that points to the wrong places."""
    content = encode(tmp_path, name)
    assert flags_of(content, tmp_path)[0] == []
    middle = len(content) // 2
    damaged = content[:middle] + bytes(byte ^ 0xFF for byte in content[middle : middle + 4]) + content[middle + 4 :]
    assert DECODE_ERRORS in flags_of(damaged, tmp_path)[0]


def test_an_mp3_header_that_promises_too_little_is_ignored(tmp_path: Path) -> None:
    """Xing's numbers of frames and bytes are only for the progress bar."""
    content = encode(tmp_path, "a.mp3", "-q:a", "4")
    mark = b"Xing" if b"Xing" in content else b"Info"
    whole = flags_of(content, tmp_path)[1]
    for offset in (4, 8):
        flags, samples = flags_of(field(content, mark, offset, 10), tmp_path)
        assert abs(len(samples) - len(whole)) < 1300
        assert flags == []


def test_a_flac_header_that_promises_too_little_is_ignored(tmp_path: Path) -> None:
    """Its number of samples and its MD5 are for verification; the frames have their own positions."""
    content = encode(tmp_path, "a.flac")
    packed = int.from_bytes(content[18:26], "big") >> 36 << 36
    for changed in (
        content[:18] + (packed | RATE).to_bytes(8, "big") + content[26:],
        content[:26] + bytes(range(16)) + content[42:],
    ):
        flags, samples = flags_of(changed, tmp_path)
        assert flags == []
        assert likeness(samples, VOICE) > 0.98


# Any field, any value: decided on headers alone, without a decoder

FIELDS = {"tag": 16, "channels": 16, "rate": 32, "bytes": 32, "block": 16, "bits": 16}


def survey_of(content: bytes) -> Survey:
    return survey(lambda at, length: content[at : at + length] if at >= 0 else b"", len(content))


# libsndfile's name: tag, bits
SUBTYPES = {
    **{"PCM_U8": (1, 8), "PCM_16": (1, 16), "PCM_24": (1, 24), "PCM_32": (1, 32)},
    **{"FLOAT": (3, 32), "DOUBLE": (3, 64), "ALAW": (6, 8), "ULAW": (7, 8)},
}


@lru_cache
def raw(subtype: str, channels: int) -> bytes:
    file = io.BytesIO()
    sound = np.stack([VOICE, np.roll(VOICE, 8000)][:channels], axis=1)
    soundfile.write(file, sound, RATE, subtype, format="RAW", endian="LITTLE")
    return file.getvalue()


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(sorted(SUBTYPES)), st.sampled_from([1, 2]), st.sampled_from(sorted(FIELDS)), st.data())
def test_any_value_of_any_wav_field_is_handled(subtype: str, channels: int, name: str, values: st.DataObject) -> None:
    """Decoded correctly, or flagged, or refused as an unknown codec."""
    tag, bits = SUBTYPES[subtype]
    block = channels * bits // 8
    right = {"tag": tag, "channels": channels, "rate": RATE, "bytes": RATE * block, "block": block, "bits": bits}
    value = values.draw(
        st.integers(0, 2 ** FIELDS[name] - 1) | st.sampled_from([0, 1, 2, 3, 6, 7, 8, 16, 24, 32, 44100])
    )
    found = survey_of(riff(wave_format(**right | {name: value}), chunk(b"data", raw(subtype, channels))))
    if value == right[name]:
        assert (found.contradictory, found.parts) == (False, [])
    elif not found.contradictory:
        same = name == "bits" and tag == 1 and (value + 7) // 8 * 8 == bits  # this many bytes contain this many bits
        assert same or name == "bytes" or (name == "tag" and found.plain is None)
    elif subtype == "PCM_16" and channels == 1:
        assert found.parts[0].form == SampleFormat("s16le", found.parts[0].form.sample_rate, 1)


@settings(max_examples=60, deadline=None)
@given(size=st.integers(0, 2**32 - 1), behind=st.sampled_from([b"", LIST, bytes(4096)]))
def test_any_size_of_the_data_is_handled(size: int, behind: bytes) -> None:
    """All available audio is decoded; missing audio is still promised, so that the loss is flagged."""
    found = survey_of(riff(wave_format(), data(size=size), behind))
    (part,) = found.parts or [found.plain]
    assert part.start == 44
    assert part.end >= 44 + 2 * len(VOICE) - 1024
    assert found.contradictory or found.promised is None or found.promised >= len(VOICE) / RATE - 0.1


@pytest.mark.parametrize("behind", [b"zzzz\x7f\x7f\x7f\x7f", b"LIST\xff\xff\xff\x00", b"data\x00\x00\x00\x00"])
def test_samples_that_look_like_a_chunk_are_samples(behind: bytes) -> None:
    """A chunk that would end after the file is not a chunk."""
    samples = bytearray(raw("PCM_U8", 1))
    samples[8000 : 8000 + len(behind)] = behind
    found = survey_of(riff(wave_format(bits=8, block=1, bytes=RATE), chunk(b"data", bytes(samples), size=8000)))
    assert found.contradictory
    assert found.parts[0].end >= len(samples)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_the_survey_accepts_any_file(values: st.DataObject) -> None:
    """It never fails, and all its positions are in the file."""
    samples = {**RIGHT, **CONTRADICTED, **JOINED, "MP4": MP4, "ID3": b"ID3\3\0\0\0\0\2\0" + bytes(400)}
    content = bytearray(samples[values.draw(st.sampled_from(sorted(samples)))])
    for _ in range(values.draw(st.integers(1, 4))):
        at = values.draw(st.integers(0, min(len(content), 300) - 1))
        piece = values.draw(
            st.binary(min_size=1, max_size=8) | st.sampled_from([b"\xff" * 8, bytes(8), b"RIFF", b"ftyp"])
        )
        content[at : at + len(piece)] = piece
    del content[values.draw(st.integers(0, len(content)) | st.just(len(content))) :]
    for part in survey_of(bytes(content)).parts:
        assert 0 <= part.start < part.end <= len(content)


# Samples over full scale


def floats(scale_db: float) -> NDArray[np.float64]:
    return VOICE / np.abs(VOICE).max() * 10 ** (scale_db / 20)


@pytest.mark.parametrize("scale_db", [-3, 6, 12, 24, 40, 90.3])
@pytest.mark.parametrize("kind", ["FLOAT", "DOUBLE"])
def test_floats_above_full_scale_are_scaled(scale_db: float, kind: str, tmp_path: Path) -> None:
    """90 dB: 16-bit integers, written as floats."""
    soundfile.write(tmp_path / "a.wav", floats(scale_db), RATE, kind)
    prepared = prepare(tmp_path / "a.wav", tmp_path / "a.flac")
    assert likeness(samples_in(tmp_path / "a.flac"), VOICE) > 0.999
    assert prepared.flags == ([HEADER_MISMATCH] if scale_db > 20 else [])
    assert prepared.audio.gain_db == pytest.approx(min(0, -scale_db), abs=0.5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30, -3e38])
def test_invalid_floats_affect_only_their_place(bad: float, tmp_path: Path) -> None:
    """They affect only their own place, and not the level of the rest."""
    samples = floats(6).astype(np.float32)
    samples[[5000, 20_000, 20_001, 40_000]] = bad
    soundfile.write(tmp_path / "a.wav", samples, RATE, "FLOAT")
    prepared = prepare(tmp_path / "a.wav", tmp_path / "a.flac")
    assert DECODE_ERRORS in prepared.flags
    got = samples_in(tmp_path / "a.flac")
    assert np.corrcoef(got[6000:19_000], VOICE[6000:19_000])[0, 1] > 0.98


@pytest.mark.parametrize(
    ("name", "arguments"), [("a.mp3", ("-b:a", "128k")), ("a.m4a", ()), ("a.ogg", ("-c:a", "libvorbis"))]
)
def test_lossy_codecs_above_full_scale_are_not_clipped(name: str, arguments: tuple[str, ...], tmp_path: Path) -> None:
    """A loud master: the codec's ripple exceeds full scale, and is not clipped."""
    square = np.where(np.sin(2 * np.pi * 220 * np.arange(3 * RATE) / RATE) > 0, 32767, -32767).astype(np.int16)
    (tmp_path / "a").write_bytes(encode(tmp_path, name, *arguments, samples=square))
    assert prepare(tmp_path / "a", tmp_path / "a.flac").audio.gain_db < -0.2
    got = samples_in(tmp_path / "a.flac")
    assert (np.abs(got) > 0.9999).mean() < 0.001


def test_a_truncated_header_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(riff(wave_format()))
    with pytest.raises(RecordingError) as caught:
        prepare(tmp_path / "a", tmp_path / "a.flac")
    assert caught.value.code == ErrorCode.INPUT_CORRUPT


def test_truncated_data_is_flagged(tmp_path: Path) -> None:
    assert TRUNCATED in check(riff(wave_format(), data(size=10 * RATE)), tmp_path)
