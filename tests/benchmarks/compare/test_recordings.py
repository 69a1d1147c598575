"""Recordings to measure: any folder, the same files for every system."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.compare.recordings import ALL, WARM, Corpus, read_items
from benchmarks.compare.rounds import pooled_wer
from benchmarks.compare.systems import Hearing
from stenopool.errors import SetupError

RATE = 8000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tone of one second, one of two, and a file that is not audio."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    for seconds in (1, 2):
        tone = 0.3 * np.sin(np.arange(seconds * RATE) / 5)
        soundfile.write(folder / f"{seconds}.wav", tone, RATE)
    (folder / "3.mp3").write_bytes(b"nothing to hear")
    return folder


def _names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def test_without_a_manifest_all_decodable_files_are_used(folder: Path, tmp_path: Path) -> None:
    (folder / "notes.txt").write_text("no recording")
    work = tmp_path / "work"
    corpus = Corpus(folder, work)
    assert corpus.seconds == {ALL: pytest.approx(3.0)}
    assert [item.file for item in corpus.items[ALL].values()] == ["1.wav", "2.wav"]
    assert [line.split(":")[0] for line in corpus.left_out] == ["3.mp3"]
    assert _names(corpus.sources(ALL)) == ["00000.wav", "00001.wav"]
    assert _names(work / "prepared" / ALL) == ["00000.wav.flac", "00001.wav.flac"]
    assert _names(corpus.sources(WARM)) == ["0.flac"]


def test_manifest_kinds_are_separate_and_repeated_as_requested(folder: Path, tmp_path: Path) -> None:
    listed = [{"file": "1.wav", "kind": "short", "text": "a"}, {"file": "2.wav", "kind": "long"}, {"file": "3.mp3"}]
    (folder / "manifest.json").write_text(json.dumps(listed))
    corpus = Corpus(folder, tmp_path / "work", ["short", "long"], count=3)
    assert corpus.seconds == {"short": pytest.approx(3.0), "long": pytest.approx(6.0)}
    assert len(_names(corpus.sources("short"))) == 3
    assert corpus.left_out == []  # of a kind that was not requested
    corpus.add("short-5", "short", 5)
    assert len(_names(corpus.sources("short-5"))) == 5


def test_a_missing_kind_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="kind music"):
        Corpus(folder, tmp_path / "work", ["music"])


@pytest.mark.parametrize("content", ["[1]", "{", '[{"kind": "x"}]'])
def test_a_manifest_of_another_form_is_refused_with_the_expected_form(folder: Path, content: str) -> None:
    (folder / "manifest.json").write_text(content)
    with pytest.raises(SetupError) as error:
        read_items(folder)
    assert '"file"' in error.value.remedy


def test_a_failed_recording_counts_as_an_empty_transcript(folder: Path) -> None:
    pytest.importorskip("jiwer")
    pytest.importorskip("whisper.normalizers")
    listed = [{"file": "1.wav", "text": "one two"}, {"file": "2.wav", "text": "three four"}, {"file": "3.mp3"}]
    (folder / "manifest.json").write_text(json.dumps(listed))
    items = {item.file: item for item in read_items(folder)}
    heard = Hearing(began=0.0, texts={"1.wav": "One, two!", "3.mp3": "anything else"})
    assert pooled_wer(items, heard) == pytest.approx(0.5)
    assert pooled_wer({"3.mp3": items["3.mp3"]}, heard) is None
