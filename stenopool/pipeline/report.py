"""What a shard and a batch came to: counts, hours, speed, failures by code."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field

from stenopool.errors import ErrorCode, ObjectNotFound, TransientError
from stenopool.metrics.definitions import LOAD_BUCKETS
from stenopool.metrics.histogram import Histogram
from stenopool.pipeline.plan import Plan
from stenopool.pipeline.receipts import BATCHES, find_receipts, read_or_skip
from stenopool.pipeline.run import FailedRecording, Run
from stenopool.pipeline.shards import Shard, WorkItem, written
from stenopool.pipeline.tally import Tally
from stenopool.settings import get_settings
from stenopool.storage.base import ObjectStore


class ShardResult(BaseModel):
    """What one run over a shard did; kept beside its manifest, so that the batch can be summed up from anywhere."""

    done: int = 0
    left: int = 0
    """Recordings that another run finished meanwhile."""
    rendered: int = 0
    """Finished recordings that got more formats."""
    failed: list[FailedRecording] = Field(default_factory=list)
    audio_seconds: float = 0.0
    stage_seconds: dict[str, float] = Field(default_factory=dict)
    stage_audio: dict[str, float] = Field(default_factory=dict)
    device_seconds: dict[str, float] = Field(default_factory=dict)
    durations: dict[str, float] = Field(default_factory=dict)
    """Exact seconds of audio, by fingerprint."""
    tally: Tally = Field(default_factory=Tally)

    @property
    def seconds(self) -> float:
        """Wall time of the run."""
        return sum(self.device_seconds.values())

    @classmethod
    def of(cls, run: Run, items: Sequence[WorkItem], *, finished: bool = False) -> "ShardResult":
        """The result of a run over these items; ``finished``: those that did not fail are done now.

        What an earlier attempt at the same run had brought to its end counts as if this one had.
        """
        sound = run.sound(items) if finished else []
        before = [run.finished_before[p.fingerprint] for p in items if p.fingerprint in run.finished_before]
        done_before = [receipt for receipt in before if receipt.status == "done"]
        return cls(
            done=len(sound) + len(done_before),
            left=sum(item.fingerprint in run.finished_elsewhere for item in items) - len(before),
            rendered=sum(item.formats != () for item in run.sound(items)),
            failed=[
                FailedRecording(key=p.recording.key, fingerprint=p.fingerprint, failure=run.failures[p.fingerprint])
                for p in items
                if p.fingerprint in run.failures
            ]
            + [
                FailedRecording(key=receipt.key, fingerprint=receipt.fingerprint, failure=receipt.failure)
                for receipt in before
                if receipt.failure
            ],
            audio_seconds=sum(run.durations.get(item.fingerprint, 0.0) for item in sound)
            + sum(receipt.duration or 0.0 for receipt in done_before),
            stage_seconds=run.stages.seconds(),
            stage_audio=dict(run.stage_audio),
            device_seconds=run.device.summary(),
            durations={p.fingerprint: run.durations[p.fingerprint] for p in items if p.fingerprint in run.durations},
            tally=_tally(
                run,
                (
                    stage
                    for p in items
                    for stage in run.found.get(p.fingerprint, ())
                    if (stage != "prepare") == finished
                ),
                [*(run.flags.get(p.fingerprint, ()) for p in sound), *(receipt.flags for receipt in done_before)],
            ),
        )

    @classmethod
    def of_both(cls, run: Run, shard: Shard) -> "tuple[ShardResult, ShardResult]":
        """The results of a run that did both for a shard. What it took, and what it counted, stands in the second."""
        heard = [item for item in shard.new if item.fingerprint in run.durations]
        others = [item for item in shard.items if item.formats or item.fingerprint not in run.durations]
        transcribed = cls.of(run, heard, finished=True)
        found = (stage for item in shard.items for stage in run.found.get(item.fingerprint, ()) if stage == "prepare")
        prepared = cls.of(run, others).model_copy(
            update={
                "stage_seconds": {},
                "stage_audio": {},
                "device_seconds": {},
                "durations": transcribed.durations,
                "tally": Tally(checkpoints=Counter(found)),
            }
        )
        return prepared, transcribed

    @classmethod
    def lost(cls, destination: ObjectStore, batch: str, items: Sequence[WorkItem]) -> "ShardResult":
        """What receipts say of a run that ended without a result: killed, or its machine went away."""
        result = cls()
        for item in items:
            there = find_receipts(destination, item.recording.key, item.fingerprint)
            ends = {name.status: name for name in there}
            if item.formats:
                result.rendered += set(item.formats) <= ends["done"].formats if "done" in ends else 0
                continue
            if "done" in ends:
                receipt = read_or_skip(destination, ends["done"])
                if receipt and receipt.batch == batch:
                    result.done += 1
                    result.audio_seconds += receipt.duration or 0.0
                    result.tally.flags.update(receipt.flags)
                else:
                    result.left += 1
                continue
            failure = TransientError(ErrorCode.RUN_LOST, "The run that carried it ended without a result.").failure()
            if "quarantined" in ends and not item.attempts:
                receipt = read_or_skip(destination, ends["quarantined"])
                failure = (receipt and receipt.failure) or failure
            one = FailedRecording(key=item.recording.key, fingerprint=item.fingerprint, failure=failure)
            result.failed.append(one)
        return result

    def write(self, destination: ObjectStore, shard: Shard, stage: str) -> None:
        destination.put_bytes(_result_key(shard, stage), self.model_dump_json().encode())


@dataclass
class Totals:
    """The shards' results summed up as they come, so that a batch of any size takes little memory."""

    shards: int = 0
    done: int = 0
    left: int = 0
    rendered: int = 0
    resumed_done: int = 0
    resumed_quarantined: int = 0
    audio_seconds: float = 0.0
    prepare_seconds: float = 0.0
    transcribe_seconds: float = 0.0
    stage_seconds: Counter[str] = field(default_factory=Counter)
    stage_audio: Counter[str] = field(default_factory=Counter)
    device_seconds: Counter[str] = field(default_factory=Counter)
    loads: Histogram = field(default_factory=Histogram)
    tally: Tally = field(default_factory=Tally)
    failed: list[FailedRecording] = field(default_factory=list)

    def add(self, prepared: ShardResult, transcribed: ShardResult, *, resumed: bool = False) -> None:
        """Add one shard's. ``resumed``: an earlier attempt at the same run had begun it."""
        self.shards += 1
        self.prepare_seconds += prepared.seconds
        self.transcribe_seconds += transcribed.seconds
        self.device_seconds.update(transcribed.device_seconds)
        if "load" in transcribed.device_seconds:
            self.loads.observe(transcribed.device_seconds["load"], LOAD_BUCKETS)
        for result in (prepared, transcribed):
            self.done += result.done
            self.left += result.left
            self.rendered += result.rendered
            self.audio_seconds += result.audio_seconds
            self.stage_seconds.update(result.stage_seconds)
            self.stage_audio.update(result.stage_audio)
            self.tally.add(result.tally)
            # What failed for a moment and was resumed is pending again, and is counted by the plan.
            failed = [one for one in result.failed if one.quarantined] if resumed else result.failed
            self.failed += failed
            if resumed:
                self.resumed_done += result.done
                self.resumed_quarantined += len(failed)

    @property
    def cost(self) -> float:
        """At the prices of the settings."""
        prices = get_settings().prices
        return (self.prepare_seconds * prices.cpu_hour + self.transcribe_seconds * prices.gpu_hour) / 3600


class BatchReport(BaseModel):
    """What a batch came to; ``report.json``."""

    batch: str
    source: str
    destination: str
    options: dict[str, Any]
    started_at: datetime
    finished_at: datetime
    seconds: float
    new: int
    already_done: int
    rendered: int = 0
    in_quarantine: int
    done: int
    quarantined: int
    deferred: int
    audio_seconds: float
    realtime_factor: float
    stage_seconds: dict[str, float]
    stage_speed: dict[str, float]
    device_seconds: dict[str, float] = Field(default_factory=dict)
    cost: float = 0.0
    cost_per_audio_hour: float | None = None
    failures_by_code: dict[str, int]
    failed: list[FailedRecording]

    @classmethod
    def of(cls, run: Run, plan: Plan, totals: "Totals", batch: str, started_at: datetime) -> "BatchReport":
        """Sum up what the shards' runs wrote and what the plan counted. Idle is only what was paid for the GPU."""
        cost = totals.cost
        finished_at = datetime.now(UTC)
        seconds = (finished_at - started_at).total_seconds()
        failed = [*plan.unusable, *totals.failed]
        audio = totals.audio_seconds
        return cls(
            batch=batch,
            source=run.source.address,
            destination=run.destination.uri,
            options=run.options.model_dump(mode="json"),
            started_at=started_at,
            finished_at=finished_at,
            seconds=seconds,
            # What an earlier attempt at this run began was finished before the listing, which saw it as done.
            new=plan.counts["new"] - totals.left + totals.resumed_done + totals.resumed_quarantined,
            already_done=plan.counts["done"] + plan.counts["render"] + totals.left - totals.resumed_done,
            rendered=totals.rendered,
            in_quarantine=plan.counts["quarantined"] - len(plan.unusable) - totals.resumed_quarantined,
            done=totals.done,
            quarantined=sum(one.quarantined for one in failed),
            deferred=sum(not one.quarantined for one in failed),
            audio_seconds=audio,
            realtime_factor=audio / seconds if seconds else 0.0,
            stage_seconds=dict(totals.stage_seconds),
            stage_speed={
                stage: totals.stage_audio[stage] / wall
                for stage, wall in totals.stage_seconds.items()
                if wall and totals.stage_audio[stage]
            },
            device_seconds=dict(totals.device_seconds),
            cost=round(cost, 4),
            cost_per_audio_hour=round(cost / audio * 3600, 4) if audio else None,
            failures_by_code=dict(Counter(str(one.failure.code) for one in failed)),
            failed=failed,
        )

    @property
    def complete(self) -> bool:
        """Whether nothing is pending: all is done or in quarantine."""
        return self.deferred == 0

    def write(self, destination: ObjectStore) -> None:
        """Write ``report.json``, ``failed.jsonl`` and, when nothing is pending, ``_SUCCESS``."""
        folder = f"{BATCHES}{self.batch}/"
        lines = "".join(failed.model_dump_json() + "\n" for failed in self.failed)
        destination.put_bytes(folder + "failed.jsonl", lines.encode(), content_type="application/jsonl")
        report = self.model_dump_json(indent=1).encode()
        destination.put_bytes(folder + "report.json", report, content_type="application/json")
        if self.complete:
            destination.put_bytes(folder + "_SUCCESS", b"")


def read_result(destination: ObjectStore, shard: Shard, stage: str) -> ShardResult:
    """What a run over the shard wrote. Raises `SetupError` OBJECT_NOT_FOUND if it has not come to its end."""
    return ShardResult.model_validate_json(destination.get_bytes(_result_key(shard, stage)))


def result_or_lost(destination: ObjectStore, shard: Shard, stage: str, items: Sequence[WorkItem]) -> ShardResult:
    """What a run over these items of the shard wrote, or what can be told of it from the receipts."""
    try:
        return read_result(destination, shard, stage)
    except ObjectNotFound:
        return ShardResult.lost(destination, shard.batch, items)


def totals_of(destination: ObjectStore, batch: str) -> Totals:
    """What a batch that has no report came to, as far as its shards were begun: from their results and receipts."""
    totals = Totals()
    for shard in written(destination, batch):
        totals.add(*results(destination, shard))
    return totals


def results(destination: ObjectStore, shard: Shard) -> tuple[ShardResult, ShardResult]:
    """What preparing and transcribing a shard came to."""
    prepared = result_or_lost(destination, shard, "prepare", shard.items)
    if ready := to_be_heard(shard, prepared):
        return prepared, result_or_lost(destination, shard, "transcribe", ready)
    try:
        # A run that did both has nothing to show for its time, but it took it.
        return prepared, read_result(destination, shard, "transcribe")
    except ObjectNotFound:
        return prepared, ShardResult()


def to_be_heard(shard: Shard, prepared: ShardResult) -> list[WorkItem]:
    """The items of a shard that `transcribe` is for: prepared, and more than one more format of a finished one."""
    return [item for item in shard.items if item.fingerprint in prepared.durations and not item.formats]


def _tally(run: Run, found: Iterable[str], flags: Iterable[tuple[str, ...]]) -> Tally:
    """What the run counted, with what is known only at its end."""
    tally = Tally()
    tally.add(run.tally)
    tally.checkpoints.update(found)
    tally.flags.update(flag for of_one in flags for flag in of_one)
    return tally


def _result_key(shard: Shard, stage: str) -> str:
    return f"{BATCHES}{shard.batch}/shards/{shard.name}.{stage}.json"
