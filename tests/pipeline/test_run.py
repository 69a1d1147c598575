"""What one item's trouble means for the others, and for the run."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stenopool.errors import (
    ErrorCode,
    ObjectNotFound,
    RecordingError,
    SetupError,
    SourceChanged,
    StorageUnavailable,
    TransientError,
)
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.pipeline import receipts
from stenopool.pipeline.receipts import Receipt
from stenopool.pipeline.recordings import Recording
from stenopool.pipeline.run import Run, each
from stenopool.pipeline.shards import WorkItem
from stenopool.pipeline.work import AUDIO
from stenopool.runtime.scratch import Scratch
from stenopool.storage.local import LocalStore

PIECES = [
    WorkItem(
        recording=Recording(uri=f"file:///{n}.wav", key=f"{n}.wav", size=1, etag="e", modified=0.0),
        fingerprint=str(n) * 32,
        seconds=1.0,
    )
    for n in range(3)
]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    (tmp_path / "source").mkdir()
    with Scratch() as scratch:
        source, destination = LocalStore(tmp_path / "source"), LocalStore(tmp_path / "out")
        yield Run(source, destination, TranscriptionOptions(), ExecutionOptions(), scratch)


def raising(error: Exception, on: WorkItem, done: list[WorkItem]) -> Callable[[WorkItem], None]:
    def do(item: WorkItem) -> None:
        if item == on:
            raise error
        done.append(item)

    return do


@pytest.mark.parametrize("error", [RecordingError(ErrorCode.INPUT_CORRUPT, "cut"), ValueError("a bug")])
def test_a_piece_that_cannot_be_done_leaves_the_others_alone(run: Run, error: Exception) -> None:
    done: list[WorkItem] = []
    each(run, "stage", PIECES, raising(error, PIECES[1], done))
    assert done == run.sound(PIECES) == [PIECES[0], PIECES[2]]
    code = run.failures[PIECES[1].fingerprint].code
    assert code == getattr(error, "code", ErrorCode.INTERNAL)


def test_after_a_transient_error_only_what_is_not_done_is_tried_again(run: Run) -> None:
    done: list[WorkItem] = []
    with pytest.raises(TransientError):
        each(run, "stage", PIECES, raising(StorageUnavailable("reset"), PIECES[0], done))
    assert done == PIECES[1:]
    again: list[WorkItem] = []
    each(run, "stage", PIECES, again.append)
    assert again == [PIECES[0]]


def test_new_content_at_the_source_is_not_tried_again(run: Run) -> None:
    each(run, "fetch", PIECES, raising(SourceChanged("new"), PIECES[0], []))
    assert run.failures[PIECES[0].fingerprint].retryable


def test_a_checkpoint_that_is_gone_means_that_another_run_finished_the_piece(run: Run) -> None:
    gone = ObjectNotFound("the checkpoint")
    with pytest.raises(SetupError):
        each(run, "assign", PIECES, raising(gone, PIECES[0], []))

    item = PIECES[0]
    receipts.write(run.destination, Receipt(key=item.recording.key, fingerprint=item.fingerprint, status="done"))
    (run.scratch.folder(item.fingerprint) / AUDIO).write_bytes(b"audio")
    run.work(item).put_audio(run.scratch.folder(item.fingerprint) / AUDIO)
    done: list[WorkItem] = []
    each(run, "assign", PIECES, raising(gone, item, done))
    assert done == run.sound(PIECES) == PIECES[1:]
    assert run.failures == {}
    assert list(run.destination.list(".work/")) == []
    assert not (run.scratch.path / item.fingerprint).exists()
