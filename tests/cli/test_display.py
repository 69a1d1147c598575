"""Output while a batch runs: one line per event, without control characters from file names."""

import io
import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from stenopool.cli.display import print_addresses, print_line, printable, show_progress, tabulate_failures
from stenopool.errors import ErrorCode, Failure
from stenopool.pipeline.outcomes import FailedRecording
from stenopool.pipeline.report import BatchReport
from stenopool.runtime.logs import Event, emit, logger

FAILURE = Failure(code=ErrorCode.EMPTY_FILE, message="No bytes.", remedy="Upload it again.")
HOSTILE = "a\x1b]0;owned\x07\x1b[2J\r\n\u202e.wav"


@given(st.text())
def test_printable_text_has_no_control_characters(text: str) -> None:
    assert printable(text).isprintable()
    if text.isprintable():
        assert printable(text) == text


def test_printable_text_shows_control_characters_as_escapes() -> None:
    assert printable("a\x1b[31m\nb é 日") == "a\\x1b[31m\\x0ab é 日"


@pytest.mark.parametrize("text", [HOSTILE, *map(chr, (0x7F, 0x9B, 0x2028, 0x200F, 0x2066, 0xFEFF, 0xFFFE, 0xD800))])
def test_any_text_is_printed_as_one_line(text: str) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None)
    print_line(f"a{text}[bold]b", console)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue().removesuffix("\n")
    assert shown.isprintable()
    assert shown.endswith("[bold]b")


@pytest.mark.parametrize("terminal", [True, False])
def test_addresses_are_links_on_a_terminal(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console(force_terminal=terminal, color_system="truecolor" if terminal else None, width=40)
    monkeypatch.setattr("stenopool.cli.display.out", console)
    rows = {"Web page": "http://127.0.0.1:8200", "API": "", "Logs": "/a folder/[logs]\x1b", "Workers": "cpu, gpu"}
    print_addresses("Running", rows, "Press Ctrl-C to stop.")
    printed = capsys.readouterr().out
    links = re.findall(r"\x1b]8;[^;]*;([^\x1b]+)", printed)
    assert links == (["http://127.0.0.1:8200", "file:///a%20folder/%5Blogs%5D%1B"] if terminal else [])
    if not terminal:
        assert printed.splitlines() == [
            "Running",
            "",
            "  Web page     http://127.0.0.1:8200",
            "  Logs         /a folder/[logs]\\x1b",
            "  Workers      cpu, gpu",
            "",
            "Press Ctrl-C to stop.",
        ]


def _shown(console: Console, *events: Event) -> str:
    with show_progress(console, diarize=True):
        for event in events:
            emit(event)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_log_has_one_line_per_recording() -> None:
    console = Console(file=io.StringIO(), width=20)
    text = _shown(
        console,
        Event("planned", HOSTILE, 1.0),
        Event("prepared", "a.wav", 65.0),
        Event("done", "a.wav", 65.0),
        Event("failed", HOSTILE, 0.0, FAILURE),
    )
    done, failed = text.splitlines()
    assert done.split() == ["done", "a.wav", "0:01:05"]
    assert failed.startswith("failed")
    assert failed.endswith("EMPTY_FILE: No bytes.")
    assert failed.isprintable()


def test_markup_in_a_key_is_printed_as_text() -> None:
    text = _shown(Console(file=io.StringIO()), Event("done", "[red]a[/b].wav", 1.0))
    assert "[red]a[/b].wav" in text


def test_a_terminal_has_bars_that_reach_the_total() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    events = [Event(kind, "a.wav", 1.0) for kind in ("planned", "prepared", "transcribed", "diarized", "done")]
    text = _shown(console, Event("planned", "b.wav", 1.0), *events, Event("failed", "b.wav", 0.0, FAILURE))
    assert text.count("1/1") >= 4
    assert "EMPTY_FILE" in text


@pytest.mark.parametrize("terminal", [True, False])
def test_warnings_of_the_log_are_shown_and_failures_once(terminal: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger.name)
    kept = _Lines()
    logger.addHandler(kept)
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100)
    try:
        with show_progress(console, diarize=True):
            emit(Event("done", "a.wav", 1.0))
            emit(Event("failed", "b.wav", 0.0, FAILURE))
            logger.warning("%s: cannot prepare audio for the page", HOSTILE)
        logger.warning("afterwards")
    finally:
        logger.removeHandler(kept)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert text.count("EMPTY_FILE") == 1
    assert text.count(": cannot prepare audio for the page") == 1
    assert "\x07" not in text
    assert "a.wav: done" not in text
    assert caplog.messages == [
        "afterwards"
    ]  # a handler of the root logger would have written the others through the bars
    assert len(kept.lines) == 4


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.mark.parametrize("key", ["[bold]a.wav", "a[/b].wav"])
def test_the_table_of_failures_shows_a_key_as_it_is(key: str) -> None:
    report = BatchReport.model_construct(
        failures_by_code={"EMPTY_FILE": 1}, failed=[FailedRecording(key=key, fingerprint="0" * 32, failure=FAILURE)]
    )
    console = Console(file=io.StringIO(), width=200)
    console.print(tabulate_failures(report))
    assert key in console.file.getvalue()  # type: ignore[attr-defined]
