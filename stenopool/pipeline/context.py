"""The context of a run, a work item in progress (`Job`), and how stages are declared."""

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

# Objects that a stage reads or writes concurrently: most of the time goes to waiting for the network.
TRANSFERS = 8


@dataclass(frozen=True)
class RunContext:
    """State shared by the stages of one run. Immutable, except for the log, which is append-only."""

    source: ObjectStore
    destination: ObjectStore
    options: TranscriptionOptions
    execution: ExecutionOptions
    scratch: Scratch
    batch: str | None = None
    """The batch that the run belongs to; it is recorded in receipts."""
    log: ShardLog = field(default_factory=ShardLog)
    started: float = field(default_factory=time.monotonic)
    reading: StoreCheck = field(init=False)
    """Checks whether the source as a whole has a fault."""
    writing: StoreCheck = field(init=False)
    """Checks whether the destination as a whole has a fault."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "reading", check_reading(self.source))
        object.__setattr__(self, "writing", check_writing(self.destination))

    def now(self) -> float:
        """Seconds since the run started."""
        return round(time.monotonic() - self.started, 4)

    def find_store_fault(self, error: BaseException) -> StenopoolError | None:
        """The fault of a whole store, which affects all recordings, if this error may be a sign of one."""
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
    """A work item on its way through a run's stages. One stage at a time uses it, or two that use different fields."""

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
        """Seconds of audio, once known."""

    @property
    def duration(self) -> float:
        """Seconds of audio, read from the checkpoint of `prepare` if necessary."""
        if self.known_duration is None:
            self.known_duration = self.work.load(PREPARED).prepared.audio.duration
        return self.known_duration

    @property
    def sound(self) -> bool:
        """Whether it has not failed and has no outcome yet."""
        return self.failure is None and self.outcome is None

    @property
    def audio(self) -> Path:
        """The prepared audio in scratch."""
        return self._context.scratch.folder(self.fingerprint) / AUDIO

    def fail(self, failure: Failure) -> None:
        """Mark the job as failed in this run."""
        self.failure = failure
        emit(Event("failed", self.key, self.item.seconds, failure))

    def end(self, status: OutcomeStatus) -> None:
        """Log the outcome and release the job's resources."""
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
        """Whether another run has finished this work item. If so, use that run's outcome and delete the checkpoints."""
        if self.item.formats:  # already finished; only formats are missing
            return False
        # A retried item still has its quarantine receipt.
        ends = ("done",) if self.item.attempts else ("done", "quarantined")
        found = find_receipts(self._context.destination, self.key, self.fingerprint)
        end = next((name for name in found if name.status in ends), None)
        if end is None:
            return False
        self.failure = None
        receipt = read(self._context.destination, end)
        if receipt and receipt.batch is not None and receipt.batch == self._context.batch:
            # Items finished by an earlier attempt at the same batch count for this one.
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
    """One step of the pipeline. Tasks, metric labels and the order of work derive from it.

    ``run(context, job)`` processes one job, in a thread. If ``run_stream(context, jobs, done)`` is set, it is called
    instead, once per attempt: it iterates over ``jobs``, which blocks until the preceding stages have finished the next
    job, and calls ``done`` for each finished job. Both may be repeated at any time.

    Errors: a `RecordingError` fails the job; a `TransientError` makes the task retry the unfinished jobs; a
    `SetupError` ends the run, and so does an `ObjectError` if the whole store has the fault.
    """

    name: str
    """Name of its tasks, label of its metrics, and ``stage`` in logs and failures."""
    run: Callable[[RunContext, Job], None] = lambda _run, _job: None
    run_stream: RunStream | None = None
    waits_for: "tuple[Stage, ...]" = ()
    """Stages that must finish a job first. Stages that are not part of the run are ignored."""
    concurrency: int = 1
    """Maximum number of jobs (with ``run_stream``: batches) in this stage at a time, per run."""
    checkpoint: Checkpoint[Any] | None = None
    """Its result. If an earlier run stored it, the stage is skipped."""
    needed_for: Checkpoint[Any] | None = None
    """A later stage's result: if that exists, the stage is skipped too."""
    uses: Use | None = None
    """The resource that it uses: the CPU, the device, or the device while loading. None: it waits for the network."""
    stoppable: bool = True
    """Whether it stops between jobs when the process is asked to stop."""
    takes_failed: bool = False
    """Whether it processes failed jobs instead of successful ones."""
    event: Kind | None = None
    """Event for the progress display when it has finished a job."""
    applies: Callable[[TranscriptionOptions], bool] = lambda _: True
    """Whether it is part of a run with these options."""
