"""What a run works with, one work item on its way through it, and the stages on that way, declared once each."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stenopool.errors import Failure, ObjectError, ObjectNotFound, OutputDenied, StenopoolError, TransientError
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.pipeline.checkpoints import AUDIO, PREPARED, Checkpoint, WorkArea
from stenopool.pipeline.evidence import StoreCheck, check_reading, check_writing
from stenopool.pipeline.outcomes import Outcome, OutcomeStatus, ShardLog, Use
from stenopool.pipeline.receipts import find_receipts, read
from stenopool.pipeline.shards import WorkItem
from stenopool.runtime.logs import Event, Kind, emit, logger
from stenopool.runtime.scratch import Scratch
from stenopool.storage.base import ObjectStore

# Objects of a store that a stage reads or writes at a time: each waits for the network most of its time.
TRANSFERS = 8


@dataclass(frozen=True)
class RunContext:
    """What the stages of one run share. Nothing in it changes but the log, which only grows."""

    source: ObjectStore
    destination: ObjectStore
    options: TranscriptionOptions
    execution: ExecutionOptions
    scratch: Scratch
    batch: str | None = None
    """The batch that the run works for; receipts carry its name."""
    log: ShardLog = field(default_factory=ShardLog)
    started: float = field(default_factory=time.monotonic)
    reading: StoreCheck = field(init=False)
    """What is wrong with the source as a whole."""
    writing: StoreCheck = field(init=False)
    """What is wrong with the destination as a whole."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "reading", check_reading(self.source))
        object.__setattr__(self, "writing", check_writing(self.destination))

    def now(self) -> float:
        """Seconds since the run began."""
        return round(time.monotonic() - self.started, 4)

    def find_store_fault(self, error: BaseException) -> StenopoolError | None:
        """What is wrong with a whole store, so that no recording could be done, if this error is a sign of it."""
        checks: tuple[StoreCheck, ...] = ()
        match error:
            case OutputDenied() | ObjectNotFound():  # a checkpoint
                checks = (self.writing,)
            case ObjectError():
                checks = (self.reading,)
            case TransientError():
                checks = (self.reading, self.writing)
        return next(filter(None, (check.find_fault() for check in checks)), None)


class Job:
    """A work item on its way through a run's stages: held by one at a time, or by two that use different fields."""

    def __init__(self, context: RunContext, item: WorkItem) -> None:
        self.item = item
        self.key = item.recording.key
        self.fingerprint = item.fingerprint
        self.work = WorkArea(context.destination, item.fingerprint)
        self.flags: tuple[str, ...] = ()
        self.language: str | None = None
        self.reused: tuple[str, ...] = ()
        self.failure: Failure | None = None
        self.outcome: Outcome | None = None
        self._context = context
        self.known_duration: float | None = None
        """Seconds of audio, once they are known."""

    @property
    def duration(self) -> float:
        """Seconds of audio, from the checkpoint of `prepare` if need be."""
        if self.known_duration is None:
            self.known_duration = self.work.load(PREPARED).prepared.audio.duration
        return self.known_duration

    @property
    def sound(self) -> bool:
        """Whether nothing has failed and no outcome is known yet."""
        return self.failure is None and self.outcome is None

    @property
    def audio(self) -> Path:
        """The prepared audio in scratch."""
        return self._context.scratch.folder(self.fingerprint) / AUDIO

    def fail(self, failure: Failure) -> None:
        """Give this job up for this run."""
        self.failure = failure
        emit(Event("failed", self.key, self.item.seconds, failure))

    def end(self, status: OutcomeStatus) -> None:
        """Log how it ended, and drop what is held for it."""
        self.outcome = Outcome(
            key=self.key,
            fingerprint=self.fingerprint,
            status=status,
            failure=self.failure,
            duration=self.known_duration,
            flags=self.flags if status == "done" else (),
            reused=self.reused,
        )
        self._context.log.outcomes.append(self.outcome)
        self.work.release()
        self._context.scratch.release(self.fingerprint)

    def skip_if_finished(self) -> bool:
        """Whether another run has finished this work item; then its outcome is that run's, and ours is removed."""
        if self.item.formats:  # finished long ago; only formats are missing
            return False
        # A retried one still has its quarantine receipt.
        ends = ("done",) if self.item.attempts else ("done", "quarantined")
        found = find_receipts(self._context.destination, self.key, self.fingerprint)
        end = next((name for name in found if name.status in ends), None)
        if end is None:
            return False
        self.failure = None
        receipt = read(self._context.destination, end)
        if receipt and receipt.batch is not None and receipt.batch == self._context.batch:
            # What an earlier attempt at the same batch finished counts as this one's.
            self.failure, self.known_duration, self.flags = receipt.failure, receipt.duration, receipt.flags
            self.reused = ()
            self.end(receipt.status)
        else:
            self.end("skipped")
        self.work.remove()
        logger.info("%s: finished by another run", self.key)
        return True


RunStream = Callable[[RunContext, Iterator[Job], Callable[[Job], None]], None]


@dataclass(frozen=True, eq=False, repr=False)
class Stage:
    """One step that every recording goes through. Tasks, metric labels and the order of work derive from it.

    ``run(context, job)`` does the work on one job, in a thread. Where there is ``run_stream(context, jobs, done)``, it
    is called instead, once per attempt: it iterates over ``jobs``, which blocks until the stages before have done the
    next one, and calls ``done`` for each job that it has done.
    Either may be repeated at any time. Errors: a `RecordingError` fails the job, a `TransientError` makes the task try
    again what is not done, a `SetupError` ends the run. So does an `ObjectError` where the whole store has the fault.
    """

    name: str
    """Name of its tasks, label of its metrics, ``stage`` in the log and in failures."""
    run: Callable[[RunContext, Job], None] = lambda _run, _job: None
    run_stream: RunStream | None = None
    waits_for: "tuple[Stage, ...]" = ()
    """A job reaches it when these have done it. Those that do not take part in a run are not waited for."""
    concurrency: int = 1
    """Most jobs (with ``run_stream``: batches) that a run works on at a time in this stage."""
    checkpoint: Checkpoint[Any] | None = None
    """Its result. Where an earlier run left it, there is nothing to do."""
    needed_for: Checkpoint[Any] | None = None
    """A later stage's result: where that exists, there is nothing to do either."""
    uses: Use | None = None
    """What its work keeps busy: the CPU, the device, or the device with loading. None: it waits for the network."""
    stoppable: bool = True
    """Whether it ends between jobs when the process was asked to stop."""
    takes_failed: bool = False
    """Whether it takes the jobs that failed, instead of those that did not."""
    event: Kind | None = None
    """What the progress display is told when it has done a job."""
    applies: Callable[[TranscriptionOptions], bool] = lambda _: True
    """Whether it takes part with these options."""
