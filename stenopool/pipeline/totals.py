"""What shards came to, folded from their logs: one function, from which every summary, report and metric is made."""

from collections import Counter
from collections.abc import Iterable, Sequence

from pydantic import Field

from stenopool.errors import RunLost
from stenopool.metrics.amounts import Amounts, Histogram, add_up
from stenopool.metrics.definitions import LOAD_BUCKETS
from stenopool.pipeline.outcomes import FailedRecording, Outcome, OutcomeStatus, ShardLog, length
from stenopool.pipeline.reading import read_model
from stenopool.pipeline.receipts import BATCHES, find_receipts, read_or_skip
from stenopool.pipeline.shards import Shard, WorkItem, read_shards
from stenopool.pipeline.sums import Tally
from stenopool.settings import get_settings
from stenopool.storage.base import ObjectStore


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
            if not (resumed and outcome.status == "deferred"):
                _add_outcome(totals, outcome)
        _add_attempts(totals, log)
    return totals


def _add_outcome(totals: Totals, outcome: Outcome) -> None:
    totals.ends[outcome.status] += 1
    totals.tally.checkpoints.update(outcome.reused)
    if outcome.failure:
        totals.failed.append(FailedRecording(key=outcome.key, fingerprint=outcome.fingerprint, failure=outcome.failure))
    if outcome.status == "done":
        totals.audio_seconds += outcome.duration or 0.0
        totals.tally.flags.update(outcome.flags)


def _add_attempts(totals: Totals, log: ShardLog) -> None:
    for attempt in log.attempts:
        totals.tally.add_attempt(attempt)
        if attempt.uses in ("cpu", "device"):
            add_up(totals.stage_audio, {attempt.stage: attempt.audio})
    for stage in {attempt.stage for attempt in log.attempts}:
        # Batches overlap: the stage's time is the union of theirs.
        working = [interval for attempt in log.attempts if attempt.stage == stage for interval in attempt.working]
        add_up(totals.stage_seconds, {stage: length(working)})
    if log.machine == "gpu" and log.seconds:
        busy, either = (
            length([interval for attempt in log.attempts if attempt.uses in uses for interval in attempt.working])
            for uses in (("device",), ("device", "loading"))
        )
        device = {"busy": busy, "load": either - busy, "idle": max(0.0, log.seconds - either)}
        add_up(totals.device_seconds, device)
        totals.loads.observe(device["load"], LOAD_BUCKETS)


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
    prepared = log_or_receipts(destination, shard, "prepare", shard.items)
    if not (ready := items_to_transcribe(shard, prepared)):
        return [prepared]
    return [prepared, log_or_receipts(destination, shard, "transcribe", ready)]


def items_to_transcribe(shard: Shard, prepared: ShardLog) -> list[WorkItem]:
    """The items whose audio `prepare` has stored, with their exact length."""
    seconds = {outcome.fingerprint: outcome.duration for outcome in prepared.outcomes if outcome.status == "prepared"}
    return [
        item.model_copy(update={"seconds": seconds[item.fingerprint] or 0.0})
        for item in shard.items
        if item.fingerprint in seconds
    ]


def sum_up(destination: ObjectStore, batch: str) -> Totals:
    """What a batch without a report came to, as far as its shards were begun."""
    return Totals.total(fold(read_logs(destination, shard)) for shard in read_shards(destination, batch))


def _outcome_by_receipt(destination: ObjectStore, batch: str, item: WorkItem) -> Outcome:
    key, fingerprint = item.recording.key, item.fingerprint
    ends = {name.status: name for name in find_receipts(destination, key, fingerprint)}
    failure = RunLost("The run that carried it ended without a result.").failure()
    if item.formats:
        rendered = "done" in ends and set(item.formats) <= ends["done"].formats
        if rendered:
            return Outcome(key=key, fingerprint=fingerprint, status="rendered")
    elif "done" in ends:
        receipt = read_or_skip(destination, ends["done"])
        if receipt is None or receipt.batch != batch:
            return Outcome(key=key, fingerprint=fingerprint, status="skipped")
        return Outcome(key=key, fingerprint=fingerprint, status="done", duration=receipt.duration, flags=receipt.flags)
    elif "quarantined" in ends and not item.attempts:
        receipt = read_or_skip(destination, ends["quarantined"])
        failure = (receipt and receipt.failure) or failure
    status: OutcomeStatus = "deferred" if failure.retryable else "quarantined"
    return Outcome(key=key, fingerprint=fingerprint, status=status, failure=failure)


def _log_key(shard: Shard, flow: str) -> str:
    return f"{BATCHES}{shard.batch}/shards/{shard.name}.{flow}.outcomes.json"
