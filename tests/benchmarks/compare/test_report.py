"""The report contains the figures."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.compare.figures import Figures
from benchmarks.compare.plots import draw
from benchmarks.compare.report import comparison, markdown, remarks
from tests.benchmarks.compare.samples import figures, grown, measurement


@pytest.fixture
def compared() -> Figures:
    return figures(
        *(measurement("ours", n, seconds, busy=0.9) for n, seconds in enumerate((2.0, 3.0, 2.5))),
        *(measurement("engine", n, 2.0, first_result=0.5) for n in range(3)),
        *(measurement("faster-whisper", n, 10.0, failed=1, wer=0.2) for n in range(3)),
        left_out=["broken.mp3: INPUT_CORRUPT"],
        problems=["faster-whisper, calls/00001.wav: ValueError: no"],
    )


def test_a_row_has_medians_spread_and_ratio(compared: Figures) -> None:
    head, ours, _, baseline = comparison(compared, "calls")
    assert dict(zip(head, ours, strict=True)) == {
        "system": "**Stenopool, whole flow**",
        "speed": "24.0 (20.0 to 30.0)",
        "ratio": "4.00 (3.33 to 5.00)",
        "WER": "10.00 %",
        "peak memory": "500 MB",
        "first result": "1.0 s",
        "start + load": "5.0 + 1.0 s",
        "device busy": "90 %",
    }
    assert baseline[:4] == ("faster-whisper, sequential (1 failed)", "6.0", "1", "20.00 %")


def test_remarks_name_the_targets_ratios(compared: Figures) -> None:
    assert list(remarks(compared, "calls")) == [
        "Stenopool, whole flow: 4.00 (3.33 to 5.00) × faster-whisper, sequential.",
        "Whole flow: 0.80 (0.67 to 1.00) × the engine alone.",
    ]


def test_the_report_names_machine_command_and_errors(compared: Figures) -> None:
    text = markdown(compared, ["speed.svg"])
    for expected in (
        "a processor, 2 cores, 24 GiB, no GPU",
        "`python -m benchmarks.compare calls`",
        "abc1234",
        "22 November 2026",
        "6 recordings, 1.0 minutes of audio",
        "![speed.svg](speed.svg)",
        "* broken.mp3: INPUT_CORRUPT",
        "* faster-whisper, calls/00001.wav: ValueError: no",
    ):
        assert expected in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in tables} == {3, 9}  # of two and of eight columns, all well-formed


def test_without_texts_there_is_no_error_rate() -> None:
    found = figures(measurement("ours", 0, 2.0, wer=None))
    head, row = comparison(found, "calls")
    assert dict(zip(head, row, strict=True))["WER"] == ""
    assert list(remarks(found, "calls")) == []


def test_growth_has_a_row_for_every_number_of_recordings() -> None:
    text = markdown(figures(growth=(grown(20, 13.0), grown(200, 103.0))))
    assert "| 20 | 13.0 |  | 600 MB |" in text
    assert "| 200 | 103.0 | 0.500 | 600 MB |" in text


def test_pictures_are_drawn_next_to_the_report(compared: Figures, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    compared.growth = [grown(20, 13.0), grown(200, 103.0)]
    names = draw(compared, tmp_path / "report.md")
    assert names == ["report-speed.svg", "report-growth.svg"]
    said = {name: "".join(ElementTree.parse(tmp_path / name).getroot().itertext()) for name in names}
    assert "faster-whisper, sequential" in said["report-speed.svg"]
    assert "recordings done" in said["report-growth.svg"]
    first = (tmp_path / names[0]).read_bytes()
    draw(compared, tmp_path / "report.md")
    assert (tmp_path / names[0]).read_bytes() == first  # the same figures give the same file
