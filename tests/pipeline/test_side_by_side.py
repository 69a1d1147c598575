"""Stages that run side by side: a item goes on when the stage before has done it, and nobody waits for ever."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stenopool.errors import AccessDenied, ErrorCode, RecordingError, SetupError, StorageUnavailable, TransientError
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.pipeline.recordings import Recording
from stenopool.pipeline.run import Run, each, give_up
from stenopool.pipeline.shards import WorkItem
from stenopool.runtime.scratch import Scratch
from stenopool.storage import open_store

PIECES = [
    WorkItem(
        recording=Recording(uri=f"file:///{n}.wav", key=f"{n}.wav", size=1, etag="e", modified=0.0),
        fingerprint=str(n) * 32,
        seconds=1.0,
    )
    for n in range(1, 5)
]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with Scratch() as scratch:
        store = open_store(str(tmp_path))
        yield Run(store, store, TranscriptionOptions(diarization="off"), ExecutionOptions(), scratch)


class Follower:
    """A stage after "first", in a thread; what it has done so far."""

    def __init__(self, run: Run) -> None:
        self.done: list[str] = []
        self.error: BaseException | None = None
        self._run = run
        run.handover.expect("first", PIECES)
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def _follow(self) -> None:
        try:
            each(self._run, "second", PIECES, lambda item: self.done.append(item.recording.key), after=["first"])
        except BaseException as error:
            self.error = error

    def has_done(self, count: int) -> bool:
        deadline = time.monotonic() + 10
        while len(self.done) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        return len(self.done) == count

    def ends(self) -> bool:
        self._thread.join(10)
        return not self._thread.is_alive()


def test_a_piece_is_taken_up_as_soon_as_the_stage_before_has_done_it(run: Run) -> None:
    follower = Follower(run)
    assert follower.done == []
    for count, item in enumerate([PIECES[2], PIECES[0], PIECES[3], PIECES[1]], 1):
        run.handover.done("first", item)
        assert follower.has_done(count)
    assert follower.ends()
    assert follower.done == ["3.wav", "1.wav", "4.wav", "2.wav"]


def test_what_fails_before_is_not_waited_for(run: Run) -> None:
    follower = Follower(run)

    def first(item: WorkItem) -> None:
        if item is PIECES[1]:
            raise RecordingError(ErrorCode.INPUT_CORRUPT, "no audio")

    each(run, "first", PIECES, first, at_once=2)
    assert follower.ends()
    assert sorted(follower.done) == ["1.wav", "3.wav", "4.wav"]


def test_what_the_stage_before_ends_without_having_done_is_not_waited_for(run: Run) -> None:
    follower = Follower(run)

    def first(item: WorkItem) -> None:
        if item is PIECES[1]:
            raise AccessDenied("denied")

    with pytest.raises(SetupError):
        each(run, "first", PIECES, first)
    run.handover.end("first", PIECES)
    assert follower.ends()
    assert (follower.done, follower.error) == (["1.wav"], None)
    assert not run.failures  # they wait for the next run


def test_a_stage_that_is_tried_again_does_not_touch_what_is_over(run: Run) -> None:
    did: list[str] = []

    def first(item: WorkItem) -> None:
        did.append(item.recording.key)
        if item is PIECES[1] and did.count("2.wav") == 1:
            raise StorageUnavailable("reset")

    with pytest.raises(TransientError):
        each(run, "first", PIECES, first)
    run.forget(PIECES[0])  # published and receipted meanwhile
    each(run, "first", PIECES, first)
    assert did == ["1.wav", "2.wav", "3.wav", "4.wav", "2.wav"]


def test_giving_up_lets_go_of_whoever_waits(run: Run) -> None:
    follower = Follower(run)
    run.handover.done("first", PIECES[0])
    give_up(run, "first", PIECES, StorageUnavailable("away"))
    assert follower.ends()
    assert follower.done == ["1.wav"]
    assert set(run.failures) == {item.fingerprint for item in PIECES[1:]}


def test_a_stage_waits_for_nothing_that_is_not_going_to_be_done(run: Run) -> None:
    done: list[WorkItem] = []
    each(run, "second", PIECES, done.append, after=["first"])
    assert done == PIECES


def test_items_go_side_by_side_as_many_as_are_allowed(run: Run) -> None:
    at_once, most, guard = 0, 0, threading.Lock()

    def slow(_item: WorkItem) -> None:
        nonlocal at_once, most
        with guard:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.1)
        with guard:
            at_once -= 1

    each(run, "first", PIECES, slow, at_once=3)
    assert most == 3
