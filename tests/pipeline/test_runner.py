"""Jobs move from stage to stage: the effect of one job's error on the others, and that every stage ends."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

from stenopool.errors import (
    AccessDenied,
    ErrorCode,
    ObjectNotFound,
    RecordingError,
    RunLost,
    SourceChanged,
    StorageUnavailable,
)
from stenopool.pipeline import receipts
from stenopool.pipeline.checkpoints import DIARIZED, Diarized, WorkArea
from stenopool.pipeline.context import Job, RunContext, Stage
from stenopool.pipeline.outcomes import length
from stenopool.pipeline.receipts import Receipt
from stenopool.pipeline.runner import BatchRunner
from stenopool.pipeline.stages import QUARANTINE
from stenopool.runtime import signals
from stenopool.runtime.scratch import Scratch
from tests.support.runs import carry, run_context, work_item

ITEMS = [work_item(name) for name in "1234"]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunContext]:
    with Scratch() as scratch:
        yield run_context(tmp_path, scratch)


class Work:
    """The stages' work, in order; a stage's function raises the given errors, one per call."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []
        self.errors: dict[tuple[str, str], list[BaseException]] = {}
        self._lock = threading.Lock()

    def of(self, stage: str, pause: float = 0.0) -> Callable[[RunContext, Job], None]:
        def work(_run: RunContext, job: Job) -> None:
            time.sleep(pause)
            job.known_duration = 2.0
            if errors := self.errors.get((stage, job.key)):
                raise errors.pop(0)
            with self._lock:
                self.done.append((stage, job.key))

        return work

    def streamed(self, stage: str) -> Callable[[RunContext, Iterator[Job], Callable[[Job], None]], None]:
        def work(run: RunContext, jobs: Iterator[Job], done: Callable[[Job], None]) -> None:
            one = self.of(stage)
            for job in jobs:
                one(run, job)
                done(job)

        return work

    def keys(self, stage: str) -> list[str]:
        return sorted(key for name, key in self.done if name == stage)


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture(params=["one by one", "as a stream"])
def chain(request: pytest.FixtureRequest, work: Work) -> tuple[Stage, ...]:
    """Three stages in a row; the second one processes jobs one by one, or as a stream."""
    first = Stage("first", work.of("first"), concurrency=2)
    if request.param == "one by one":
        second = Stage("second", work.of("second"), waits_for=(first,))
    else:
        second = Stage("second", run_stream=work.streamed("second"), waits_for=(first,))
    return first, second, Stage("third", work.of("third"), waits_for=(second,)), QUARANTINE


def test_every_job_goes_through_every_stage_in_order(run: RunContext, chain: tuple[Stage, ...], work: Work) -> None:
    jobs, errors = carry(run, chain, ITEMS)
    assert not errors
    for item in ITEMS:
        key = item.recording.key
        assert [stage for stage, done in work.done if done == key] == ["first", "second", "third"]
    assert {job.outcome.status for job in jobs if job.outcome} == {"prepared"}  # no stage said that they are done


def test_a_stage_waits_for_all_stages_before_it(run: RunContext, work: Work) -> None:
    slow, fast = Stage("slow", work.of("slow", pause=0.1)), Stage("fast", work.of("fast"))
    joint = Stage("joint", work.of("joint"), waits_for=(slow, fast))
    carry(run, (slow, fast, joint), ITEMS)
    for item in ITEMS:
        order = [stage for stage, key in work.done if key == item.recording.key]
        assert order == ["fast", "slow", "joint"]


def test_stages_that_do_not_apply_are_not_waited_for(run: RunContext, work: Work) -> None:
    absent = Stage("absent", work.of("absent"), applies=lambda _options: False)
    joint = Stage("joint", work.of("joint"), waits_for=(absent, Stage("elsewhere", work.of("elsewhere"))))
    carry(run, (absent, joint), ITEMS)
    assert {stage for stage, _ in work.done} == {"joint"}
    assert len(work.done) == len(ITEMS)


ALONE = [
    RecordingError(ErrorCode.INPUT_CORRUPT, "cut"),
    SourceChanged("new content"),
    RunLost("its audio is gone"),
    ValueError("a bug"),
]


@pytest.mark.parametrize("error", ALONE, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("stage", ["first", "third"])
def test_an_error_of_one_job_does_not_affect_the_others_and_is_not_retried(
    run: RunContext, chain: tuple[Stage, ...], work: Work, error: Exception, stage: str
) -> None:
    work.errors[stage, "2.wav"] = [error]
    jobs, errors = carry(run, chain, ITEMS, attempts=3)
    assert not errors
    assert work.keys("third") == ["1.wav", "3.wav", "4.wav"]
    (failed,) = [job for job in jobs if job.failure]
    assert failed.outcome is not None
    code = getattr(error, "code", ErrorCode.INTERNAL)
    assert (failed.failure.code, failed.failure.stage, failed.key) == (code, stage, "2.wav") if failed.failure else None
    assert failed.outcome.status == ("deferred" if failed.failure and failed.failure.code.retryable else "quarantined")


def test_after_a_transient_error_only_unfinished_jobs_are_retried(
    run: RunContext, chain: tuple[Stage, ...], work: Work
) -> None:
    for stage in ("first", "second"):
        work.errors[stage, "3.wav"] = [StorageUnavailable("reset"), StorageUnavailable("reset")]
    jobs, errors = carry(run, chain, ITEMS, attempts=3)
    assert not errors
    assert not [job for job in jobs if job.failure]
    assert Counter(work.done).most_common(1)[0][1] == 1, "nothing is done twice"
    attempts = [attempt for attempt in run.log.attempts if attempt.stage == "first"]
    assert [attempt.again for attempt in attempts] == [False, True, True]
    assert [attempt.error for attempt in attempts] == ["STORAGE_UNAVAILABLE", "STORAGE_UNAVAILABLE", None]


def test_unfinished_jobs_after_the_last_attempt_wait_for_the_next_run(
    run: RunContext, chain: tuple[Stage, ...], work: Work
) -> None:
    work.errors["second", "3.wav"] = [StorageUnavailable("away")] * 9
    jobs, errors = carry(run, chain, ITEMS, attempts=2)
    assert not errors
    assert {job.key: job.outcome.status for job in jobs if job.failure and job.outcome}["3.wav"] == "deferred"
    assert "3.wav" not in work.keys("third")


def test_each_deferred_recording_has_its_own_error(run: RunContext, work: Work) -> None:
    for name in "123":
        work.errors["first", f"{name}.wav"] = [StorageUnavailable(f"{name} was reset")] * 9
    jobs, _ = carry(run, (Stage("first", work.of("first")), QUARANTINE), ITEMS, attempts=2)
    found = {job.key: job.failure.message for job in jobs if job.failure}
    assert found == {f"{name}.wav": f"{name} was reset" for name in "123"}


def test_an_error_of_the_installation_ends_its_stage_and_finished_jobs_continue(run: RunContext, work: Work) -> None:
    first = Stage("first", work.of("first"))
    second = Stage("second", work.of("second"), waits_for=(first,))
    work.errors["first", "2.wav"] = [AccessDenied("denied")]
    jobs, errors = carry(run, (first, second, QUARANTINE), ITEMS, attempts=2)
    assert [type(error) for error in errors] == [AccessDenied]
    assert work.keys("second") == work.keys("first")
    assert "2.wav" not in work.keys("second")
    assert not [job for job in jobs if job.failure], "they wait for the next run"


def test_a_missing_checkpoint_means_that_another_run_finished_the_job(run: RunContext, work: Work) -> None:
    stage = Stage("assign", work.of("assign"))
    work.errors["assign", "1.wav"] = [ObjectNotFound("the checkpoint")]
    jobs, errors = carry(run, (stage,), ITEMS[:1])
    assert not errors
    assert [job.failure and job.failure.code for job in jobs] == [ErrorCode.RUN_LOST], "no run finished it"

    item = ITEMS[0]
    receipts.write(run.destination, Receipt(key=item.recording.key, fingerprint=item.fingerprint, status="done"))
    run.destination.put_bytes(receipts.work_key(item.fingerprint, "audio.flac"), b"audio")
    work.errors["assign", "1.wav"] = [ObjectNotFound("the checkpoint")]
    jobs, errors = carry(run, (stage, QUARANTINE), ITEMS)
    assert not errors
    assert [job.outcome.status for job in jobs if job.outcome] == ["skipped", "prepared", "prepared", "prepared"]
    assert list(run.destination.list(".work/")) == []
    assert not (run.scratch.path / item.fingerprint).exists()


def test_a_request_to_stop_ends_stoppable_stages_and_publishes_finished_jobs(
    run: RunContext, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()

    def stop_if_asked() -> None:
        if asked.is_set():
            raise signals.Stopped

    monkeypatch.setattr("stenopool.pipeline.runner.stop_if_asked", stop_if_asked)

    def first(_run: RunContext, job: Job) -> None:
        work.done.append(("first", job.key))
        if job.key == "2.wav":
            asked.set()

    one = Stage("first", first)
    last = Stage("last", work.of("last"), waits_for=(one,), stoppable=False)
    _, errors = carry(run, (one, last), ITEMS)
    assert [type(error) for error in errors] == [signals.Stopped]
    assert work.keys("first") == work.keys("last")
    assert len(work.keys("first")) < len(ITEMS)


def test_stages_with_an_existing_checkpoint_do_nothing(run: RunContext, work: Work) -> None:
    first = Stage("first", work.of("first"), needed_for=DIARIZED)
    second = Stage("second", work.of("second"), waits_for=(first,), checkpoint=DIARIZED)
    third = Stage("third", work.of("third"), waits_for=(second,))
    WorkArea(run.destination, ITEMS[0].fingerprint).save(DIARIZED, Diarized(turns=[], diarizer_version="1", seconds=0))
    jobs, _ = carry(run, (first, second, third), ITEMS)
    for stage in ("first", "second"):
        assert work.keys(stage) == ["2.wav", "3.wav", "4.wav"]
        (attempt,) = [one for one in run.log.attempts if one.stage == stage]
        assert attempt.audio == 6.0, "no time and no audio is counted for it"
    assert len(work.keys("third")) == 4
    assert [job.outcome.reused for job in jobs if job.outcome] == [("diarize",), (), (), ()]


def test_no_stage_exceeds_its_declared_concurrency(run: RunContext) -> None:
    in_progress, most, lock = 0, 0, threading.Lock()

    def slow(_run: RunContext, _job: Job) -> None:
        nonlocal in_progress, most
        with lock:
            in_progress += 1
            most = max(most, in_progress)
        time.sleep(0.1)
        with lock:
            in_progress -= 1

    carry(run, (Stage("first", slow, concurrency=3),), ITEMS)
    assert most == 3


def test_time_is_counted_once_however_many_jobs_are_in_progress(run: RunContext, work: Work) -> None:
    carry(run, (Stage("first", work.of("first", pause=0.2), concurrency=4),), ITEMS)
    (attempt,) = run.log.attempts
    assert 0.2 <= length(list(attempt.working)) < 0.6
    assert attempt.audio == 8.0


@pytest.mark.parametrize("kind", ["one by one", "as a stream"])
def test_a_cancelled_run_ends_after_the_work_in_progress(run: RunContext, work: Work, kind: str) -> None:
    """As after Ctrl-C: nothing else is started, and no thread waits forever."""
    started = threading.Event()

    def slow(_run: RunContext, job: Job) -> None:
        started.set()
        time.sleep(0.3)
        work.done.append(("slow", job.key))

    def stream(run: RunContext, jobs: Iterator[Job], done: Callable[[Job], None]) -> None:
        for job in jobs:
            slow(run, job)
            done(job)

    stage = Stage("slow", slow) if kind == "one by one" else Stage("slow", run_stream=stream)

    async def cancelled() -> None:
        runner = BatchRunner(run, (stage,), ITEMS, {})
        async with anyio.create_task_group() as group:
            group.start_soon(runner.attempt, stage)
            await anyio.to_thread.run_sync(started.wait)
            group.cancel_scope.cancel()

    anyio.run(cancelled)
    assert len(work.done) == 1


def test_a_recording_that_cannot_be_quarantined_is_logged_as_deferred(run: RunContext, work: Work) -> None:
    """Otherwise the batch would be complete without it."""
    work.errors["first", "2.wav"] = [RecordingError(ErrorCode.INPUT_CORRUPT, "cut")]
    work.errors["aside", "2.wav"] = [StorageUnavailable("away")] * 9
    aside = Stage("aside", work.of("aside"), takes_failed=True)
    _, errors = carry(run, (Stage("first", work.of("first")), aside), ITEMS, attempts=2)
    assert not errors
    outcomes = {outcome.key: outcome.status for outcome in run.log.outcomes}
    assert outcomes == {"1.wav": "prepared", "2.wav": "deferred", "3.wav": "prepared", "4.wav": "prepared"}


def test_a_checkpoint_with_a_transient_read_error_is_retried(
    run: RunContext, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The length of a recording that was prepared earlier is read when the stage passes it on."""
    area = WorkArea(run.destination, ITEMS[0].fingerprint)
    area.save(DIARIZED, Diarized(turns=[], diarizer_version="1", seconds=0))
    failures = [StorageUnavailable("reset"), StorageUnavailable("reset")]

    def duration(_job: Job) -> float:
        if failures:
            raise failures.pop()
        return 2.0

    monkeypatch.setattr(Job, "duration", property(duration))
    stage = Stage("store", lambda _run, _job: None, checkpoint=DIARIZED, event="prepared")
    jobs, errors = carry(run, (stage, QUARANTINE), ITEMS[:1], attempts=3)
    assert not errors
    assert not failures
    assert [(job.outcome.status, job.outcome.reused) for job in jobs if job.outcome] == [("prepared", ("diarize",))]
