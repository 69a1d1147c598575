"""What happened in one run over a shard: an append-only log of outcomes and attempts, stored once, when the run ends.

Everything that is counted (shard summaries, the batch report, metrics) is folded from these logs: see `totals.py`.
"""

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel

from stenopool.errors import Failure

OutcomeStatus = Literal["done", "rendered", "prepared", "quarantined", "deferred", "skipped"]
Machine = Literal["cpu", "gpu"]
Use = Literal["cpu", "device", "loading"]
Interval = tuple[float, float]


class FailedRecording(BaseModel):
    """One line of ``failed.jsonl``."""

    key: str
    fingerprint: str
    failure: Failure

    @property
    def quarantined(self) -> bool:
        """Whether it waits until somebody retries it, instead of being retried by the next run."""
        return not self.failure.code.retryable


class Outcome(BaseModel, frozen=True):
    """What happened to one work item in one run."""

    key: str
    fingerprint: str
    status: OutcomeStatus
    """done: transcribed by this batch. rendered: missing formats added. prepared: audio ready for `transcribe`.
    quarantined: failed for good. deferred: failed, the next run retries it. skipped: another batch finished it."""
    failure: Failure | None = None
    duration: float | None = None
    """Seconds of audio."""
    flags: tuple[str, ...] = ()
    reused: tuple[str, ...] = ()
    """Checkpoints that an earlier run had left."""


class StageAttempt(BaseModel, frozen=True):
    """One attempt at a stage for one batch of work items."""

    stage: str
    uses: Use | None = None
    """As the stage declares."""
    working: tuple[Interval, ...] = ()
    """When it worked, in seconds since the run began; disjoint and sorted. Waiting for other stages does not count."""
    audio: float = 0.0
    """Seconds of audio that it worked on, as far as lengths were known when it ended."""
    again: bool = False
    """Whether an attempt at the same work came before."""
    error: str | None = None
    """Code of the transient error that ended it."""


class ShardLog(BaseModel):
    """Everything that one run over a shard did. While it is in progress, stages append to both lists, from threads."""

    machine: Machine = "gpu"
    """Which price applies."""
    seconds: float = 0.0
    """Wall time of the run."""
    outcomes: list[Outcome] = []
    attempts: list[StageAttempt] = []


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """The same time as disjoint intervals, sorted."""
    joined: list[Interval] = []
    for start, stop in sorted(intervals):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], stop)
        else:
            joined.append((start, stop))
    return joined


def length(intervals: Iterable[Interval]) -> float:
    """Seconds that the intervals cover; overlaps count once."""
    return sum(stop - start for start, stop in union(intervals))
