"""What shards came to, folded from their logs: one function, from which every summary, report and metric is made."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import partial

from pydantic import Field

from stenopool.errors import RunLost
from stenopool.metrics.amounts import Amounts, Histogram, add_up
from stenopool.metrics.definitions import read_metrics
from stenopool.pipeline.outcomes import FailedRecording, Interval, Outcome, OutcomeStatus, ShardLog, Use, length
from stenopool.pipeline.receipts import BATCHES, find_receipts, read, read_model
from stenopool.pipeline.shards import Shard, WorkItem
from stenopool.settings import get_settings
from stenopool.storage.base import ObjectStore


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


# -- where logs are stored --------------------------------------------------------------------------------------------


def write_log(destination: ObjectStore, shard: Shard, flow: str, log: ShardLog) -> None:
    """Store what a run of this flow over the shard did."""
    destination.put_bytes(_log_key(shard, flow), log.model_dump_json().encode(), content_type="application/json")


def read_log(destination: ObjectStore, shard: Shard, flow: str) -> ShardLog | None:
    """What a run of this flow over the shard did; None if it has not ended, or left nothing that can be read."""
    return read_model(destination, _log_key(shard, flow), ShardLog)


def log_or_receipts(destination: ObjectStore, shard: Shard, flow: str, items: Sequence[WorkItem]) -> ShardLog:
    """What a run of this flow over these items did; what receipts say, if it was killed or its machine went away."""
    if log := read_log(destination, shard, flow):
        return log
    return ShardLog(outcomes=[_outcome_by_receipt(destination, shard.batch, item) for item in items])


def read_logs(destination: ObjectStore, shard: Shard) -> list[ShardLog]:
    """What was done for a shard, by one run of `shard` or one each of `prepare` and `transcribe`."""
    if whole := read_log(destination, shard, "shard"):
        return [whole]
    prepared, ready = read_prepared(destination, shard)
    return [prepared, log_or_receipts(destination, shard, "transcribe", ready)] if ready else [prepared]


def read_prepared(destination: ObjectStore, shard: Shard) -> tuple[ShardLog, list[WorkItem]]:
    """What `prepare` did for a shard, and the items whose audio it has stored, with their exact length."""
    prepared = log_or_receipts(destination, shard, "prepare", shard.items)
    seconds = {outcome.fingerprint: outcome.duration for outcome in prepared.outcomes if outcome.status == "prepared"}
    ready = [item for item in shard.items if item.fingerprint in seconds]
    return prepared, [item.model_copy(update={"seconds": seconds[item.fingerprint] or 0.0}) for item in ready]


def _outcome_by_receipt(destination: ObjectStore, batch: str, item: WorkItem) -> Outcome:
    told = partial(Outcome, key=item.recording.key, fingerprint=item.fingerprint)
    ends = {name.status: name for name in find_receipts(destination, item.recording.key, item.fingerprint)}
    failure = RunLost("The run that carried it ended without a result.").failure()
    if item.formats:
        if "done" in ends and set(item.formats) <= ends["done"].formats:
            return told(status="rendered")
    elif "done" in ends:
        receipt = read(destination, ends["done"])
        if receipt is None or receipt.batch != batch:
            return told(status="skipped")
        return told(status="done", duration=receipt.duration, flags=receipt.flags)
    elif "quarantined" in ends and not item.attempts:
        receipt = read(destination, ends["quarantined"])
        failure = (receipt and receipt.failure) or failure
    return told(status="deferred" if failure.code.retryable else "quarantined", failure=failure)


def _log_key(shard: Shard, flow: str) -> str:
    return f"{BATCHES}{shard.batch}/shards/{shard.name}.{flow}.outcomes.json"
