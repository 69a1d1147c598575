"""Progress: everyone who listens hears everything, and nobody hears anything afterwards."""

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from stenopool.errors import ErrorCode, Failure
from stenopool.runtime.progress import Event, emit, subscribe

FAILURE = Failure(code=ErrorCode.EMPTY_FILE, message="No bytes.", remedy="Upload it again.", stage="prepare")


def test_all_listeners_hear_events_from_any_thread() -> None:
    first: list[Event] = []
    second: list[Event] = []
    events = [Event("done", f"{number}.wav", 1.0) for number in range(50)]
    with subscribe(first.append), subscribe(second.append), ThreadPoolExecutor(4) as pool:
        list(pool.map(emit, events))
    assert sorted(first) == sorted(second) == sorted(events)


def test_nobody_listens_any_more_after_an_error() -> None:
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
