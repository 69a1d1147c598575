"""Decoding keeps the file's clock and its channels, and no file can block the decoder."""

import contextlib
import os
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stenopool.errors import ErrorCode, RecordingError, TransientError
from stenopool.settings import get_settings
from stenopool.speech.audio.decode import decode
from stenopool.speech.audio.probe import probe
from stenopool.speech.audio.waveform import Waveform
from stenopool.speech.transcript import DECODE_ERRORS, TRUNCATED
from tests.speech.audio.media import channels, make, prepare, rms_db, tone
from tests.support.speech import needs_speech, recording_path

PICTURE = ("-f", "lavfi", "-i", "testsrc=d=6:r=5:s=64x64")


def code(source: Path, flac: Path, mode: str = "mix", **execution: float) -> ErrorCode:
    with pytest.raises(RecordingError) as caught:
        prepare(source, flac, mode, **execution)
    assert not flac.exists()
    return caught.value.code


def loud_from(flac: Path) -> float:
    """Seconds before the first loud sample."""
    return float(np.argmax(np.abs(Waveform(flac).read()) > 0.01) / 16000)


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "aac"), ("a.mkv", "libopus"), ("a.ts", "mp2")])
def test_audio_that_starts_late_keeps_its_time(name: str, codec: str, tmp_path: Path) -> None:
    """In a video, sound starts after 2 s: the first two seconds are silence, as in a player."""
    sound = tone(tmp_path / "s.wav", 3)
    tracks = ("-map", "0", "-map", "1", "-c:v", "mpeg4", "-c:a", codec)
    video = make(tmp_path / name, *PICTURE, "-itsoffset", "2", "-i", sound, *tracks)
    prepared = prepare(video, tmp_path / "a.flac")
    assert prepared.audio.start_time == pytest.approx(2.0, abs=0.1)
    assert prepared.audio.duration == pytest.approx(5.0, abs=0.1)
    assert loud_from(tmp_path / "a.flac") == pytest.approx(2.0, abs=0.1)
    assert prepared.flags == []


def test_a_late_picture_does_not_move_the_sound(tmp_path: Path) -> None:
    """Sound from the start, picture later: no silence is inserted."""
    sound = tone(tmp_path / "s.wav", 3)
    arguments = ("-itsoffset", "2", *PICTURE, "-i", sound, "-map", "0", "-map", "1", "-c:v", "mpeg4", "-c:a", "flac")
    prepare(make(tmp_path / "a.mkv", *arguments), tmp_path / "a.flac")
    assert loud_from(tmp_path / "a.flac") < 0.1


def test_a_gap_in_the_clock_becomes_silence(tmp_path: Path) -> None:
    """Packets that were never sent (a muted caller) leave a pause; the rest is not moved forward."""
    sound = tone(tmp_path / "s.wav", 6, "-c:a", "pcm_s16le")
    gap = ("-c:a", "copy", "-bsf:a", r"noise=drop='between(pts*tb\,2\,4)'")
    whole = make(tmp_path / "whole.webm", "-i", sound, "-c:a", "libopus")
    prepared = prepare(make(tmp_path / "gap.webm", "-i", whole, *gap), tmp_path / "a.flac")
    assert prepared.audio.duration == pytest.approx(6.0, abs=0.1)
    wave = Waveform(tmp_path / "a.flac")
    assert rms_db(wave.read(2.2, 3.8)) < -80
    assert rms_db(wave.read(4.2, 6.0)) > -40


@pytest.mark.parametrize("name", ["a.opus", "a.webm", "a.mp3"])
def test_joined_files_lose_nothing(name: str, tmp_path: Path) -> None:
    """A recorder that reconnected: the clock restarts in the middle of the file, and the second half is kept."""
    part = tone(tmp_path / name, 3, *(() if name == "a.mp3" else ("-c:a", "libopus")))
    joined = tmp_path / f"joined-{name}"
    joined.write_bytes(part.read_bytes() * 2)
    assert prepare(joined, tmp_path / "a.flac").audio.duration == pytest.approx(6.0, abs=0.2)


@pytest.mark.parametrize("name", ["a.flac", "a.mp4", "a.mkv", "a.au", "a.aiff", "a.wv", "a.mp3"])
def test_a_truncated_file_is_flagged(name: str, tmp_path: Path) -> None:
    """Half an upload: the available part is kept, and the loss is flagged. The whole file has no flag."""
    whole = tone(tmp_path / name, 20, *(("-movflags", "+faststart") if name == "a.mp4" else ()))
    assert prepare(whole, tmp_path / "whole.flac").flags == []
    cut = tmp_path / f"cut-{name}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    prepared = prepare(cut, tmp_path / "cut.flac")
    assert TRUNCATED in prepared.flags
    assert 5 < prepared.audio.duration < 15


def test_audio_shorter_than_its_video_is_not_called_truncated(tmp_path: Path) -> None:
    """The container is as long as the picture; the sound may end earlier."""
    sound = tone(tmp_path / "s.wav", 3)
    for name in ("a.mkv", "a.mp4", "a.avi"):
        video = make(tmp_path / name, *PICTURE, "-i", sound, "-c:v", "mpeg4", "-c:a", "mp3")
        assert prepare(video, tmp_path / "a.flac").flags == [], name


def test_an_undecodable_file_is_refused(tmp_path: Path) -> None:
    """Good headers, followed by garbage."""
    whole = tone(tmp_path / "a.flac", 5)
    bad = tmp_path / "bad.flac"
    data = whole.read_bytes()
    header = data.index(b"\xff\xf8")  # the first frame's sync code
    bad.write_bytes(data[:header] + bytes(20_000))
    assert code(bad, tmp_path / "out.flac") == ErrorCode.INPUT_CORRUPT


def test_channels_stay_separate(tmp_path: Path) -> None:
    """Three discrete channels without a named layout: each stays separate and in order."""
    rng = np.random.default_rng(0)
    samples = rng.uniform(-0.3, 0.3, (16000, 3)) * np.array([1.0, 0.5, 0.25])
    samples -= samples.mean(axis=0)
    soundfile.write(tmp_path / "three.wav", samples, 16000, "PCM_16")
    prepared = prepare(tmp_path / "three.wav", tmp_path / "a.flac", "split")
    assert prepared.channels == prepared.audio.channels == 3
    for got, sent in zip(channels(tmp_path / "a.flac", 3), samples.T, strict=True):
        assert np.abs(got - sent).max() < 0.001


@pytest.mark.parametrize("count", [3, 6, 12])
def test_all_channels_of_many_are_in_the_mix(count: int, tmp_path: Path) -> None:
    """A recorder with many microphones: speech into any of them is in the mix."""
    for speaking in range(count):
        samples = np.zeros((16000, count))
        samples[:, speaking] = np.sin(np.arange(16000) * 0.2) * 0.5
        soundfile.write(tmp_path / "many.wav", samples, 16000, "PCM_16")
        if probe(tmp_path / "many.wav").layout == "5.1" and speaking == 3:
            continue  # the subwoofer: no speech in it
        assert prepare(tmp_path / "many.wav", tmp_path / "a.flac").channels == 1
        assert rms_db(Waveform(tmp_path / "a.flac").read()) > -40


def test_too_many_channels_to_split_are_refused(tmp_path: Path) -> None:
    """A FLAC file can have 8."""
    soundfile.write(tmp_path / "many.wav", np.zeros((1600, 9)), 16000, "PCM_16")
    assert code(tmp_path / "many.wav", tmp_path / "a.flac", "split") == ErrorCode.TOO_MANY_CHANNELS


@needs_speech
def test_split_surround_keeps_the_centre(tmp_path: Path) -> None:
    """5.1: all six channels are kept, and the speech is in the third."""
    assert prepare(recording_path("hard/surround51.m4a"), tmp_path / "a.flac", "split").channels == 6
    levels = [rms_db(samples) for samples in channels(tmp_path / "a.flac", 6)]
    assert levels[2] == max(levels)


@pytest.mark.parametrize(
    "name",
    [
        "-i.wav",
        "a:b.wav",
        "pipe:0",
        "http:|||x.wav",
        " both ends ",
        'quote\'s "both".wav',
        "new\nline.wav",
        "%03d.wav",
        "concat:a|b.wav",
        "é日本🎙️.wav",
        os.fsdecode(b"latin-\xe9.wav"),
        "x" * 251 + ".wav",
    ],
)
def test_odd_file_names_are_only_names(name: str, tmp_path: Path) -> None:
    """No name is taken as an option, a protocol or a pattern."""
    plain = tone(tmp_path / "plain.wav", 1)
    odd = plain.rename(tmp_path / name)
    assert prepare(odd, tmp_path / "a.flac").audio.duration == 1.0


def test_a_relative_path_is_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The prober may have been started in another folder."""
    tone(tmp_path / "a.wav", 1)
    monkeypatch.chdir(tmp_path)
    assert prepare(Path("a.wav"), Path("a.flac")).audio.duration == 1.0


def test_limits_apply_to_the_header(tmp_path: Path) -> None:
    """Refused before decoding."""
    wav = tone(tmp_path / "a.wav", 4)
    assert code(wav, tmp_path / "a.flac", max_duration=3) == ErrorCode.TOO_LONG
    assert code(wav, tmp_path / "a.flac", max_bytes=1000) == ErrorCode.TOO_LARGE
    assert prepare(wav, tmp_path / "a.flac", max_duration=4).audio.duration == 4.0


def test_length_is_limited_even_if_the_header_is_wrong(tmp_path: Path) -> None:
    """A FLAC file that claims one second and contains an hour is stopped at the limit."""
    long = tone(tmp_path / "a.flac", 3600)
    data = bytearray(long.read_bytes())
    (packed,) = struct.unpack(">Q", data[18:26])  # STREAMINFO: rate, channels, bits, and 36 bits of samples
    data[18:26] = struct.pack(">Q", packed >> 36 << 36 | 16000)
    long.write_bytes(data)
    assert code(long, tmp_path / "out.flac", max_duration=60) == ErrorCode.TOO_LONG


def test_a_silent_decoder_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It hangs before its first output, here on a pipe that nothing writes to."""
    pipe = tmp_path / "pipe.wav"
    os.mkfifo(pipe)
    monkeypatch.setenv("STENOPOOL_AUDIO__DECODE_TIMEOUT", "0.5")
    get_settings.cache_clear()
    found = probe(tone(tmp_path / "a.wav", 1))
    started = time.monotonic()
    with (
        pipe.open("r+b", buffering=0),
        (tmp_path / "spool").open("w+b") as spool,
        pytest.raises(RecordingError) as caught,
    ):
        decode(pipe, found, spool, channels="mix", max_duration=60)
    assert caught.value.code == ErrorCode.DECODE_TIMEOUT
    assert time.monotonic() - started < 5
    assert processes_with(pipe) == []


def test_a_slow_decoder_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time limit, the decoder and its children are gone."""
    long = tone(tmp_path / "a.flac", 1800)
    monkeypatch.setenv("STENOPOOL_AUDIO__DECODE_TIMEOUT", "0.01")
    get_settings.cache_clear()
    started = time.monotonic()
    assert code(long, tmp_path / "out.flac") == ErrorCode.DECODE_TIMEOUT
    assert time.monotonic() - started < 5
    assert processes_with(long) == []


def processes_with(path: Path) -> list[int]:
    """Other processes that have the file open."""
    found = []
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):  # ended in the meantime
            if descriptor.readlink() == path:
                found.append(int(descriptor.parts[2]))
    return [pid for pid in found if pid != os.getpid()]


def test_a_full_disk_is_reported(tmp_path: Path) -> None:
    """Not an error of the recording: it may be retried."""
    wav = tone(tmp_path / "a.wav", 30)
    (tmp_path / "out.flac").symlink_to("/dev/full")
    with pytest.raises(TransientError) as caught:
        prepare(wav, tmp_path / "out.flac")
    assert caught.value.code == ErrorCode.SCRATCH_FULL
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav"]


def test_damage_in_the_middle_is_skipped(tmp_path: Path) -> None:
    """Damage affects only its own place, not the rest."""
    whole = tone(tmp_path / "a.mp3", 20)
    data = bytearray(whole.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(2000)
    whole.write_bytes(data)
    prepared = prepare(whole, tmp_path / "out.flac")
    assert DECODE_ERRORS in prepared.flags
    assert prepared.audio.duration > 18
