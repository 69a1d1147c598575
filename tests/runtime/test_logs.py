"""Logs: one record is one line, with any names in it; JSON has the location. All subscribers get all events."""

import ast
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

import stenopool
from stenopool.errors import ErrorCode, Failure, TransientError
from stenopool.runtime.logs import Event, emit, get_logger, json_formatter, log_context, printable, subscribe

FORGED = "a.wav\n2026-11-27 00:00:00 | INFO | stenopool - b.wav: done"
FAILURE = Failure(code=ErrorCode.EMPTY_FILE, message="No bytes.", remedy="Upload it again.", stage="prepare")


@pytest.fixture
def lines() -> Iterator[Any]:
    """The output of our logger, with the formatter that a test chooses."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = get_logger()
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)

    def read(formatter: logging.Formatter | None = None) -> list[str]:
        if formatter:
            handler.setFormatter(formatter)
        return stream.getvalue().splitlines()

    yield read
    logger.removeHandler(handler)
    logger.setLevel(level)


@given(st.text())
def test_printable_text_stays_on_one_line(text: str) -> None:
    assert printable(text).isprintable()
    assert len(f"x{printable(text)}".splitlines()) == 1


@pytest.mark.parametrize("name", [FORGED, "a\r.wav", "a\x1b[2J.wav", "a\u2028.wav", "a\u202egpj.wav", "\udcff.wav"])
def test_a_name_stays_on_one_line(lines: Any, name: str) -> None:
    emit(Event("done", name, 1.0))
    emit(Event("failed", name, 1.0, TransientError(ErrorCode.RUN_LOST, f"{name} is gone").failure("fetch")))
    read = lines()
    assert len(read) == 2
    assert all(line.isprintable() and line.startswith(("a", "\\")) for line in read)


def test_the_text_of_an_exception_cannot_start_a_new_line(lines: Any) -> None:
    try:
        raise ValueError(FORGED)
    except ValueError:
        get_logger().exception("%s: failed", FORGED)
    first, *traceback = lines()
    assert first.endswith(": failed")
    assert len(traceback) > 3
    assert all(line.startswith("    ") for line in traceback)


def test_json_has_message_and_location(lines: Any) -> None:
    lines(json_formatter())
    with log_context(run="r", batch="b", shard=3), log_context(stage="fetch", recording=FORGED):
        get_logger().warning("%s: %s", FORGED, "nothing there")
    get_logger("stenopool.api").info("elsewhere")
    first, second = map(json.loads, lines())
    assert first["message"] == f"{printable(FORGED)}: nothing there"
    assert {name: first[name] for name in ("level", "logger", "run", "batch", "shard", "stage", "recording")} == {
        "level": "WARNING",
        "logger": "stenopool",
        "run": "r",
        "batch": "b",
        "shard": 3,
        "stage": "fetch",
        "recording": FORGED,
    }
    assert first["time"].endswith("+00:00")
    assert "stage" not in second


def test_json_of_a_library_has_its_extra_fields_and_no_colours() -> None:
    record = logging.makeLogRecord(
        {"name": "prefect", "levelname": "INFO", "msg": "begins", "flow_run_id": UUID(int=7), "color_message": "[1m"}
    )
    line = json.loads(json_formatter().format(record))
    assert (line["run"], line["logger"]) == (str(UUID(int=7)), "prefect")
    assert "color_message" not in line


def test_json_contains_a_traceback_in_one_line(lines: Any) -> None:
    lines(json_formatter())
    try:
        raise ValueError(FORGED)
    except ValueError:
        get_logger().exception("failed")
    (line,) = lines()
    assert "ValueError" in json.loads(line)["exception"]


def test_a_logger_configured_by_others_still_uses_our_format() -> None:
    script = "import logging; logging.getLogger('stenopool').addHandler(logging.StreamHandler())\n"
    script += "from stenopool.runtime.logs import logger; logger.warning('%s', 'a\\nb')"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stderr == "a\\x0ab\n"


def test_all_modules_use_the_logger_with_our_format() -> None:
    root = Path(stenopool.__file__).parents[1]
    folders = [root / name for name in ("stenopool", "flows", "monitoring", "workers", "blocks", "deployments")]
    for path in (path for folder in folders for path in folder.rglob("*.py") if path.name != "logs.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("getLogger"):
                named = node.args[0]
                ours = isinstance(named, ast.Constant) and not str(named.value).startswith("stenopool")
                assert ours, f"{path}:{node.lineno}: use stenopool.runtime.logs.get_logger"


def test_a_command_with_json_logs_writes_nothing_else_to_stderr(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("stenopool")
    environment = os.environ | {"STENOPOOL_LOG__FORMAT": "json", "STENOPOOL_MODELS__CACHE": str(tmp_path)}
    command = [program, "run", tmp_path / "none", tmp_path / "out", "--diarization", "off", "--model", "tiny.en"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert run.returncode == 2
    (line,) = run.stderr.splitlines()
    assert json.loads(line)["level"] == "ERROR"
    assert "OBJECT_NOT_FOUND" in json.loads(line)["message"]


def test_all_subscribers_get_events_from_any_thread() -> None:
    first: list[Event] = []
    second: list[Event] = []
    events = [Event("done", f"{number}.wav", 1.0) for number in range(50)]
    with subscribe(first.append), subscribe(second.append), ThreadPoolExecutor(4) as pool:
        list(pool.map(emit, events))
    assert sorted(first) == sorted(second) == sorted(events)


def test_a_subscription_ends_after_an_error() -> None:
    heard: list[Event] = []
    with pytest.raises(KeyError), subscribe(heard.append):
        raise KeyError
    emit(Event("done", "a.wav", 1.0))
    assert heard == []


def test_the_log_has_a_line_per_step_and_warns_of_failures(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "stenopool"):
        emit(Event("planned", "a.wav", 1.0))
        emit(Event("prepared", "a.wav", 1.0))
        emit(Event("failed", "b.wav", 0.0, FAILURE))
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", "a.wav: prepared"),
        ("WARNING", "b.wav: EMPTY_FILE (prepare) No bytes."),
    ]
