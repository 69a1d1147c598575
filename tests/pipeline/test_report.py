"""Results of runs that were begun more than once: each recording is counted once, by the batch that finished it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stenopool.errors import ErrorCode, Failure, TransientError
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.pipeline.receipts import Receipt, write
from stenopool.pipeline.recordings import Recording
from stenopool.pipeline.report import ShardResult, Totals
from stenopool.pipeline.run import Run
from stenopool.pipeline.shards import WorkItem
from stenopool.pipeline.stages.prepare import PreparedRecording
from stenopool.pipeline.stages.publish import receipt
from stenopool.runtime.scratch import Scratch
from stenopool.storage.local import LocalStore

BATCH = "20260101T000000Z-aaaaaaaa"
BAD = Failure(code=ErrorCode.EMPTY_FILE, message="m", remedy="r", stage="normalize")


def item(name: str) -> WorkItem:
    recording = Recording(uri=f"file:///{name}", key=f"{name}.wav", size=1, etag="e", modified=0.0)
    return WorkItem(recording=recording, fingerprint=name * 32, seconds=1.0)


OURS, THEIRS, BROKEN, LEFT = map(item, "abcd")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    (tmp_path / "source").mkdir()
    with Scratch() as scratch:
        source, destination = LocalStore(tmp_path / "source"), LocalStore(tmp_path / "out")
        made = Run(source, destination, TranscriptionOptions(), ExecutionOptions(), scratch)
        made.batch = BATCH
        yield made


def finished(run: Run, item: WorkItem, batch: str, failure: Failure | None = None) -> None:
    status = "quarantined" if failure else "done"
    flags = () if failure else ("no_speech",)
    one = Receipt(
        key=item.recording.key,
        fingerprint=item.fingerprint,
        status=status,
        failure=failure,
        duration=None if failure else 4.0,
        batch=batch,
        flags=flags,
        formats=run.execution.formats,
    )
    write(run.destination, one)


def test_what_an_attempt_before_finished_counts_as_this_ones(run: Run) -> None:
    finished(run, OURS, BATCH)
    finished(run, THEIRS, "another")
    finished(run, BROKEN, BATCH, BAD)
    assert [run.leave(one) for one in (OURS, THEIRS, BROKEN, LEFT)] == [True, True, True, False]
    run.durations[LEFT.fingerprint] = 2.0
    run.flags[LEFT.fingerprint] = ("truncated",)
    result = ShardResult.of(run, [OURS, THEIRS, BROKEN, LEFT], finished=True)
    assert (result.done, result.left, result.audio_seconds) == (2, 1, 6.0)
    assert [(one.key, one.failure.code) for one in result.failed] == [("c.wav", "EMPTY_FILE")]
    assert result.tally.flags == {"no_speech": 1, "truncated": 1}


def test_a_lost_run_did_what_receipts_with_its_batch_say(run: Run) -> None:
    finished(run, OURS, BATCH)
    finished(run, THEIRS, "another")
    finished(run, BROKEN, BATCH, BAD)
    one_more_format = THEIRS.model_copy(update={"formats": ("srt",)})
    result = ShardResult.lost(run.destination, BATCH, [OURS, THEIRS, BROKEN, LEFT, one_more_format])
    assert (result.done, result.left, result.rendered, result.audio_seconds) == (1, 1, 1, 4.0)
    assert [one.failure.code for one in result.failed] == ["EMPTY_FILE", "RUN_LOST"]
    assert result.tally.flags == {"no_speech": 1}


@pytest.mark.parametrize(("batch", "done", "left"), [(BATCH, 1, 0), ("another", 0, 1)])
def test_a_receipt_that_is_there_already_is_counted_by_whoever_wrote_it(
    run: Run, batch: str, done: int, left: int
) -> None:
    run.durations[OURS.fingerprint] = 4.0
    finished(run, OURS, batch)
    receipt(run, [OURS])
    result = ShardResult.of(run, [OURS], finished=True)
    assert (result.done, result.left) == (done, left)


def test_checkpoints_of_an_earlier_run_are_hits_of_their_own_flow_only(run: Run) -> None:
    work = run.work(OURS)
    work.save("prepare", PreparedRecording.model_construct())
    run.found.clear()
    run.forget(OURS)
    assert run.work(OURS).has("prepare")
    run.work(LEFT).has("prepare")
    assert ShardResult.of(run, [OURS, LEFT]).tally.checkpoints == {"prepare": 1}
    assert ShardResult.of(run, [OURS, LEFT], finished=True).tally.checkpoints == {}


def test_attempts_are_tallied_with_what_went_wrong(run: Run) -> None:
    run.durations[OURS.fingerprint] = 2.5
    with run.attempt("fetch", [OURS], again=False):
        pass
    with pytest.raises(TransientError), run.attempt("fetch", [OURS], again=True):
        raise TransientError(ErrorCode.SOURCE_UNAVAILABLE, "reset")
    totals = Totals()
    totals.add(ShardResult.of(run, [OURS]), ShardResult())
    totals.add(ShardResult.of(run, [OURS]), ShardResult())
    assert totals.tally.stages["fetch"].count == 4
    assert totals.tally.audio == {"fetch": 10.0}
    assert totals.tally.retries == {"fetch": 2}
    assert totals.tally.errors == {"fetch SOURCE_UNAVAILABLE": 2}
    assert run.tally.stages["fetch"].count == 2
