"""The check of the first bytes of an upload accepts every real recording, and no document."""

import subprocess
from pathlib import Path

import imageio_ffmpeg
import pytest

from stenopool.api.uploads import HEAD, may_be_media
from tests.support.speech import SPEECH, needs_speech

CONTAINERS = ["wav", "flac", "mp3", "ogg", "opus", "m4a", "mp4", "mov", "webm", "mkv", "aac", "aiff", "au", "caf",
              "wma", "ts", "m2ts", "mpg", "flv", "avi", "ac3", "w64", "wv", "3gp", "mka", "amr", "tta"]  # fmt: skip


# Files of the test set that are not recordings, whatever their names.
NO_RECORDINGS = {"empty.mp3", "empty.wav", "page.mp3", "picture.mp3", "random.ogg", "text.wav", "zip.m4a"}


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
    assert may_be_media(path.read_bytes()[:HEAD])


@needs_speech
def test_every_real_recording_is_accepted() -> None:
    sounding = [path for path in SPEECH.rglob("*.*") if path.suffix not in (".json", ".md", ".rttm", ".txt")]
    turned_away = {path.name for path in sounding if not may_be_media(path.read_bytes()[:HEAD])}
    assert turned_away == NO_RECORDINGS


@pytest.mark.parametrize(
    "head",
    [
        *(b"%PDF-1.7", b"PK\x03\x04", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff\xe0JFIF", b"\x1f\x8b\x08"),
        *(b"RIFF\x00\x00\x00\x00WEBPVP8 ", b"<!DOCTYPE html>", b"#!/bin/sh\n", b"\x7fELF\x02", b"{}", b"Good morning"),
        *(b"G" * 100, b"\xff\xfea\0b\0", b"\0" * 512, b""),
    ],
)
def test_other_files_are_refused(head: bytes) -> None:
    assert not may_be_media(head)
