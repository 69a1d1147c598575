"""What happened in one run over a shard: an append-only log of outcomes and attempts, stored once, when the run ends.

Everything that is counted (shard summaries, the batch report, metrics) is folded from these logs: see `totals.py`.
"""

import time
from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict

from stenopool.errors import Failure
from stenopool.pipeline.stage import Use

OutcomeStatus = Literal["done", "rendered", "prepared", "quarantined", "deferred", "skipped"]
Machine = Literal["cpu", "gpu"]
Interval = tuple[float, float]


class FailedRecording(BaseModel):
    """One line of ``failed.jsonl``."""

    key: str
    fingerprint: str
    failure: Failure

    @property
    def quarantined(self) -> bool:
        """Whether it waits until somebody retries it, instead of being retried by the next run."""
        return not self.failure.retryable


class Outcome(BaseModel):
    """What happened to one work item in one run."""

    model_config = ConfigDict(frozen=True)

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


class StageAttempt(BaseModel):
    """One attempt at a stage for one batch of work items."""

    model_config = ConfigDict(frozen=True)

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
    """Everything that one run over a shard did."""

    machine: Machine = "gpu"
    """Which price applies."""
    seconds: float = 0.0
    """Wall time of the run."""
    outcomes: list[Outcome] = []
    attempts: list[StageAttempt] = []

    @property
    def failed(self) -> list[FailedRecording]:
        """The recordings that failed, with reasons."""
        return [
            FailedRecording(key=outcome.key, fingerprint=outcome.fingerprint, failure=outcome.failure)
            for outcome in self.outcomes
            if outcome.failure
        ]


class OutcomeLog:
    """The log of a run that is in progress. Stages append to both lists from several threads."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self.outcomes: list[Outcome] = []
        self.attempts: list[StageAttempt] = []

    def now(self) -> float:
        """Seconds since the run began."""
        return round(time.monotonic() - self._started, 4)

    def close(self, machine: Machine) -> ShardLog:
        """The whole log."""
        return ShardLog(machine=machine, seconds=self.now(), outcomes=self.outcomes, attempts=self.attempts)


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
