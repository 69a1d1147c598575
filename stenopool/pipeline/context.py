"""What a run works with, and one work item on its way through it."""

from dataclasses import dataclass, field
from pathlib import Path

from stenopool.errors import Failure
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.pipeline.checkpoints import PREPARED
from stenopool.pipeline.outcomes import Outcome, OutcomeLog, OutcomeStatus
from stenopool.pipeline.receipts import ReceiptName, find_receipts, read_or_skip
from stenopool.pipeline.shards import WorkItem
from stenopool.pipeline.work_area import AUDIO, WorkArea
from stenopool.runtime.progress import Event, emit, logger
from stenopool.runtime.scratch import Scratch
from stenopool.storage.base import ObjectStore


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
    shard: int | None = None
    log: OutcomeLog = field(default_factory=OutcomeLog)


class Job:
    """A work item on its way through the stages of one run. It is in the hands of one stage at a time, or of two
    that do not touch the same fields.
    """

    def __init__(self, context: RunContext, item: WorkItem) -> None:
        self.item = item
        self.key = item.recording.key
        self.fingerprint = item.fingerprint
        self.work = WorkArea(context.destination, item.fingerprint)
        self.flags: tuple[str, ...] = ()
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

    def end(self, status: OutcomeStatus, *, failure: Failure | None = None) -> None:
        """Log how it ended, and drop what is held for it."""
        self.outcome = Outcome(
            key=self.key,
            fingerprint=self.fingerprint,
            status=status,
            failure=failure,
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
        self._end_as(end)
        self.work.remove()
        logger.info("%s: finished by another run", self.key)
        return True

    def _end_as(self, end: ReceiptName) -> None:
        """What an earlier attempt at the same batch finished counts as this one's."""
        receipt = read_or_skip(self._context.destination, end)
        if receipt is None or receipt.batch is None or receipt.batch != self._context.batch:
            return self.end("skipped")
        self.known_duration, self.flags, self.reused = receipt.duration, receipt.flags, ()
        return self.end(receipt.status, failure=receipt.failure)
