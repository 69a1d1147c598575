"""The check of the first bytes accepts every recording, and no document; a run uses the same check."""

import subprocess
from pathlib import Path

import imageio_ffmpeg
import pytest

from stenopool.errors import RecordingError
from stenopool.speech.audio.probe import probe
from stenopool.speech.audio.sniffing import HEAD, find_refusal
from tests.support.speech import SPEECH, needs_speech

CONTAINERS = ["wav", "flac", "mp3", "ogg", "opus", "m4a", "mp4", "mov", "webm", "mkv", "aac", "aiff", "au", "caf",
              "wma", "ts", "m2ts", "mpg", "flv", "avi", "ac3", "w64", "wv", "3gp", "mka", "amr", "tta"]  # fmt: skip


# Files of the test set that are not recordings, whatever their names.
NO_RECORDINGS = {"page.mp3", "picture.mp3", "text.wav", "zip.m4a"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("containers")


@pytest.mark.parametrize("extension", CONTAINERS)
def test_files_from_ffmpeg_are_accepted(extension: str, folder: Path) -> None:
    path = folder / f"a.{extension}"
    rate = ["-ar", "8000", "-ac", "1"] if extension in ("3gp", "amr") else []
    command = ["-v", "error", "-f", "lavfi", "-i", "sine=d=1:r=44100", *rate, str(path)]
    if subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), *command], capture_output=True).returncode:
        pytest.skip(f"this FFmpeg writes no {extension}")
    data = path.read_bytes()
    assert find_refusal(data[:HEAD]) is None
    if extension in ("mp3", "aac", "ts"):  # cut off a stream, or after what a recorder left
        for beginning in (data[1234:], bytes(5000) + data, b"\x17\xfe\x80" * 200 + data):
            path.write_bytes(beginning)
            assert probe(path).codec in ("mp3", "aac", "mp2")
            assert find_refusal(beginning[:HEAD]) is None


@needs_speech
def test_every_real_recording_is_accepted() -> None:
    sounding = [path for path in SPEECH.rglob("*.*") if path.suffix not in (".json", ".md", ".rttm", ".txt")]
    turned_away = [path for path in sounding if find_refusal(path.read_bytes()[:HEAD])]
    assert {path.name for path in turned_away} == NO_RECORDINGS
    for path in turned_away:
        with pytest.raises(RecordingError) as refused:
            probe(path)
        assert refused.value.code == find_refusal(path.read_bytes()[:HEAD])


@pytest.mark.parametrize(
    "head",
    [
        *(b"%PDF-1.7", b"PK\x03\x04", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff\xe0JFIF", b"\x1f\x8b\x08"),
        *(b"RIFF\x00\x00\x00\x00WEBPVP8 ", b"<!DOCTYPE html>", b"#!/bin/sh\n", b"\x7fELF\x02", b"{}", b"Good morning"),
        *(b"G" * 100, b"\xff\xfea\0b\0", b"\xef\xbb\xbfcaf\xc3\xa9", "é".encode()[:1].join([b"caf", b""])),
        *(b"#EXTM3U\na.mp3", b"\xef\xbb\xbf [playlist]", b"<?xml?><smil>", b"ffconcat version 1.0"),
    ],
)
def test_other_files_are_refused_by_the_api_and_by_a_run_with_the_same_code(head: bytes, folder: Path) -> None:
    code = find_refusal(head)
    assert code is not None
    path = folder / "document.wav"
    path.write_bytes(head)
    with pytest.raises(RecordingError) as refused:
        probe(path)
    assert refused.value.code == code
