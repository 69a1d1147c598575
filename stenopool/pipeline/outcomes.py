"""The log of one run over a shard: append-only outcomes and attempts, stored once, when the run ends.

All counts (shard summaries, the batch report, metrics) are computed from these logs by one function, `fold`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, Field

from stenopool.errors import Failure
from stenopool.metrics.amounts import Amounts, Histogram, add_up
from stenopool.metrics.definitions import read_metrics
from stenopool.settings import get_settings

OutcomeStatus = Literal["done", "rendered", "prepared", "quarantined", "deferred", "skipped"]
Machine = Literal["cpu", "gpu"]
Use = Literal["cpu", "device", "loading"]
Interval = tuple[float, float]


class FailedRecording(BaseModel):
    """A line of ``failed.jsonl``."""

    key: str
    fingerprint: str
    failure: Failure

    @property
    def quarantined(self) -> bool:
        """Whether it must be retried manually; otherwise the next run retries it."""
        return not self.failure.code.retryable


class Outcome(BaseModel, frozen=True):
    """The result of one work item in one run."""

    key: str
    fingerprint: str
    status: OutcomeStatus
    """done: transcribed by this batch. rendered: missing formats added. prepared: audio ready for `transcribe`.
    quarantined: failed permanently. deferred: failed; the next run retries it. skipped: finished by another batch.
    """
    failure: Failure | None = None
    duration: float | None = None
    """Seconds of audio."""
    flags: tuple[str, ...] = ()
    reused: tuple[str, ...] = ()
    """Checkpoints reused from an earlier run."""


class StageAttempt(BaseModel, frozen=True):
    """One attempt at a stage for one batch of work items."""

    stage: str
    uses: Use | None = None
    """The resource that the stage uses, as declared."""
    working: tuple[Interval, ...] = ()
    """Intervals of work, in seconds since the run started; disjoint and sorted. Waiting for other stages is not
    included.
    """
    audio: float = 0.0
    """Seconds of audio processed, as far as durations were known at the end."""
    again: bool = False
    """Whether an earlier attempt was made at the same work."""
    error: str | None = None
    """Code of the transient error that ended it."""


class ShardLog(BaseModel):
    """The log of one run over a shard. During the run, stages append to both lists from several threads."""

    machine: Machine = "gpu"
    """Machine type, which determines the price."""
    seconds: float = 0.0
    """Wall time of the run."""
    outcomes: list[Outcome] = []
    attempts: list[StageAttempt] = []


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """The union of the intervals, as sorted disjoint intervals."""
    joined: list[Interval] = []
    for start, stop in sorted(intervals):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], stop)
        else:
            joined.append((start, stop))
    return joined


def length(intervals: Iterable[Interval]) -> float:
    """Total seconds covered by the intervals; overlaps count once."""
    return sum(stop - start for start, stop in union(intervals))


def join_cause(stage: str | None, code: str) -> str:
    """Stage and code as one string: "fetch STORAGE_UNAVAILABLE"."""
    return f"{stage or ''} {code}"


def split_cause(cause: str) -> tuple[str, str]:
    """Stage and code. A stage's name may contain a space; a code does not."""
    stage, _, code = cause.rpartition(" ")
    return stage, code


class Tally(Amounts):
    """Figures that a run collects about itself, by stage."""

    stages: dict[str, Histogram] = Field(default_factory=dict)
    """Duration of attempts, in seconds."""
    audio: dict[str, float] = Field(default_factory=dict)
    """Seconds of audio processed."""
    retries: Counter[str] = Field(default_factory=Counter)
    """Attempts other than the first."""
    errors: Counter[str] = Field(default_factory=Counter)
    """Transient errors, by stage and code."""
    checkpoints: Counter[str] = Field(default_factory=Counter)
    """Recordings for which an earlier run had completed the stage."""
    flags: Counter[str] = Field(default_factory=Counter)
    """Transcripts, by flag."""


class Totals(Amounts):
    """Sums over logs. The size grows only with the number of failed recordings."""

    shards: int = 0
    ends: Counter[OutcomeStatus] = Field(default_factory=Counter)
    failed: list[FailedRecording] = Field(default_factory=list)
    audio_seconds: float = 0.0
    """Audio of the recordings that were transcribed."""
    machine_seconds: dict[str, float] = Field(default_factory=dict)
    """Wall time of the runs, by `Machine`."""
    device_seconds: dict[str, float] = Field(default_factory=dict)
    """Seconds of runs on GPU machines: busy, load, idle."""
    stage_seconds: dict[str, float] = Field(default_factory=dict)
    """Wall time in which each stage was working on any number of items."""
    stage_audio: dict[str, float] = Field(default_factory=dict)
    """Audio processed by the stages that compute on it."""
    loads: Histogram = Field(default_factory=Histogram)
    tally: Tally = Field(default_factory=Tally)

    @property
    def cost(self) -> float:
        """Cost at the prices in the settings."""
        prices, seconds = get_settings().prices, self.machine_seconds
        return (seconds.get("cpu", 0.0) * prices.cpu_hour + seconds.get("gpu", 0.0) * prices.gpu_hour) / 3600


def fold(logs: Iterable[ShardLog], *, resumed: bool = False) -> Totals:
    """Totals of one shard's logs.

    ``resumed``: the shard was started by an earlier attempt at the same run of `ingest`. Its temporary failures are
    pending again, so the following listing finds and counts them.
    """
    totals = Totals(shards=1)
    for log in logs:
        add_up(totals.machine_seconds, {log.machine: log.seconds})
        for outcome in log.outcomes:
            if resumed and outcome.status == "deferred":
                continue
            totals.ends[outcome.status] += 1
            totals.tally.checkpoints.update(outcome.reused)
            if outcome.failure:
                failed = FailedRecording(key=outcome.key, fingerprint=outcome.fingerprint, failure=outcome.failure)
                totals.failed.append(failed)
            if outcome.status == "done":
                totals.audio_seconds += outcome.duration or 0.0
                totals.tally.flags.update(outcome.flags)
        _add_attempts(totals, log)
    return totals


def _add_attempts(totals: Totals, log: ShardLog) -> None:
    tally, buckets = totals.tally, read_metrics()["stenopool_stage_seconds"].buckets
    by_stage, by_use = defaultdict[str, list[Interval]](list), defaultdict[Use | None, list[Interval]](list)
    for attempt in log.attempts:
        stage = attempt.stage
        by_stage[stage] += attempt.working
        by_use[attempt.uses] += attempt.working
        seconds = sum(stop - start for start, stop in attempt.working)
        tally.stages.setdefault(stage, Histogram()).observe(seconds, buckets)
        add_up(tally.audio, {stage: attempt.audio})
        tally.retries[stage] += attempt.again  # also 0: Prometheus sees no increase in a counter that starts at 1
        if attempt.error:
            tally.errors[join_cause(stage, attempt.error)] += 1
        if attempt.uses in ("cpu", "device"):
            add_up(totals.stage_audio, {stage: attempt.audio})
    # Batches overlap, so a stage's time is the union of their intervals.
    add_up(totals.stage_seconds, {stage: length(working) for stage, working in by_stage.items()})
    if log.machine == "gpu" and log.seconds:
        busy, either = length(by_use["device"]), length(by_use["device"] + by_use["loading"])
        device = {"busy": busy, "load": either - busy, "idle": max(0.0, log.seconds - either)}
        add_up(totals.device_seconds, device)
        totals.loads.observe(device["load"], read_metrics()["stenopool_model_load_seconds"].buckets)
