"""What happened in one run over a shard: an append-only log of outcomes and attempts, stored once, when the run ends.

Everything that is counted (shard summaries, the batch report, metrics) is folded from these logs, by one function.
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


def join_cause(stage: str | None, code: str) -> str:
    """Where and why, as one text: "fetch STORAGE_UNAVAILABLE"."""
    return f"{stage or ''} {code}"


def split_cause(cause: str) -> tuple[str, str]:
    """Stage and code. A stage's name may have a space, a code has none."""
    stage, _, code = cause.rpartition(" ")
    return stage, code


class Tally(Amounts):
    """What a run counts about itself while it works, by stage."""

    stages: dict[str, Histogram] = Field(default_factory=dict)
    """Seconds of each attempt."""
    audio: dict[str, float] = Field(default_factory=dict)
    """Seconds of audio that went through."""
    retries: Counter[str] = Field(default_factory=Counter)
    """Attempts after the first."""
    errors: Counter[str] = Field(default_factory=Counter)
    """Transient errors, by stage and code."""
    checkpoints: Counter[str] = Field(default_factory=Counter)
    """Recordings for which an earlier run had done the stage."""
    flags: Counter[str] = Field(default_factory=Counter)
    """Transcripts, by flag."""


class Totals(Amounts):
    """Sums over logs. Its size does not grow with the number of recordings, but for those that failed."""

    shards: int = 0
    ends: Counter[OutcomeStatus] = Field(default_factory=Counter)
    failed: list[FailedRecording] = Field(default_factory=list)
    audio_seconds: float = 0.0
    """Audio of the recordings that are done."""
    machine_seconds: dict[str, float] = Field(default_factory=dict)
    """Wall time of the runs, by `Machine`."""
    device_seconds: dict[str, float] = Field(default_factory=dict)
    """Of runs on a GPU machine: busy, load, idle."""
    stage_seconds: dict[str, float] = Field(default_factory=dict)
    """Wall time in which each stage worked, however many work items it had in progress."""
    stage_audio: dict[str, float] = Field(default_factory=dict)
    """Audio that went through the stages that compute on it."""
    loads: Histogram = Field(default_factory=Histogram)
    tally: Tally = Field(default_factory=Tally)

    @property
    def cost(self) -> float:
        """At the prices of the settings."""
        prices, seconds = get_settings().prices, self.machine_seconds
        return (seconds.get("cpu", 0.0) * prices.cpu_hour + seconds.get("gpu", 0.0) * prices.gpu_hour) / 3600


def fold(logs: Iterable[ShardLog], *, resumed: bool = False) -> Totals:
    """What one shard's logs say.

    ``resumed``: an earlier attempt at the same run of `ingest` began the shard. What failed for a moment there is
    pending again, so the listing that follows finds and counts it.
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
        tally.retries[stage] += attempt.again  # also 0: Prometheus sees no increase in a counter that begins at 1
        if attempt.error:
            tally.errors[join_cause(stage, attempt.error)] += 1
        if attempt.uses in ("cpu", "device"):
            add_up(totals.stage_audio, {stage: attempt.audio})
    # Batches overlap: a stage's time is the union of theirs.
    add_up(totals.stage_seconds, {stage: length(working) for stage, working in by_stage.items()})
    if log.machine == "gpu" and log.seconds:
        busy, either = length(by_use["device"]), length(by_use["device"] + by_use["loading"])
        device = {"busy": busy, "load": either - busy, "idle": max(0.0, log.seconds - either)}
        add_up(totals.device_seconds, device)
        totals.loads.observe(device["load"], read_metrics()["stenopool_model_load_seconds"].buckets)
