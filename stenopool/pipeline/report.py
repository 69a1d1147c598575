"""Results of a batch: a report for people and figures for metrics. Also reads a destination's reports."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import PurePath
from typing import Any, Literal, Self

from pydantic import BaseModel, Field

from stenopool.errors import StenopoolError
from stenopool.metrics.amounts import Amounts, Histogram
from stenopool.pipeline.context import RunContext
from stenopool.pipeline.outcomes import FailedRecording, Tally, Totals, fold, join_cause
from stenopool.pipeline.receipts import BATCHES, METRICS, read_model
from stenopool.pipeline.shards import Plan, read_logs, read_shards
from stenopool.runtime.logs import logger
from stenopool.storage.base import ObjectStore

Status = Literal["running", "complete", "incomplete", "lost"]
_FIRST_LOOK, _LAST_LOOK = timedelta(minutes=10), timedelta(days=6940)


class BatchReport(BaseModel):
    """The result of a batch; ``report.json``."""

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
    def of(
        cls, run: RunContext, plan: Plan, resumed: Totals, planned: Totals, batch: str, started_at: datetime
    ) -> "BatchReport":
        """Combine the listing's counts and the shards' logs.

        ``resumed``: shards started by an earlier attempt at this run. They ended before the listing, which found their
        recordings done or quarantined.
        """
        totals = Totals.total((resumed, planned))
        finished_at = datetime.now(UTC)
        seconds = (finished_at - started_at).total_seconds()
        failed = [*plan.unusable, *totals.failed]
        audio, cost = totals.audio_seconds, totals.cost
        return cls(
            batch=batch,
            source=run.source.address,
            destination=run.destination.uri,
            options=run.options.model_dump(mode="json"),
            started_at=started_at,
            finished_at=finished_at,
            seconds=seconds,
            new=plan.counts["new"] - totals.ends["skipped"] + resumed.ends["done"] + resumed.ends["quarantined"],
            already_done=plan.counts["done"] + plan.counts["render"] + totals.ends["skipped"] - resumed.ends["done"],
            rendered=totals.ends["rendered"],
            in_quarantine=plan.counts["quarantined"]
            - sum(one.quarantined for one in plan.unusable)
            - resumed.ends["quarantined"],
            done=totals.ends["done"],
            quarantined=sum(one.quarantined for one in failed),
            deferred=sum(not one.quarantined for one in failed),
            audio_seconds=audio,
            realtime_factor=audio / seconds if seconds else 0.0,
            stage_seconds=dict(totals.stage_seconds),
            stage_speed={
                stage: audio / totals.stage_seconds[stage]
                for stage, audio in totals.stage_audio.items()
                if audio and totals.stage_seconds[stage]
            },
            device_seconds=dict(totals.device_seconds),
            cost=round(cost, 4),
            cost_per_audio_hour=round(cost / audio * 3600, 4) if audio else None,
            failures_by_code=dict(Counter(str(one.failure.code) for one in failed)),
            failed=failed,
        )

    @property
    def complete(self) -> bool:
        """Whether all recordings are done or quarantined, with none pending."""
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


def list_reports(destination: ObjectStore) -> Iterator[str]:
    """The keys of all batches' ``report.json``, newest batch first; batches without one are omitted.

    A batch's id starts with its start time, so a listing can begin at any time in the past. Each listing goes back ten
    times as far as the previous one, so little is listed twice and few batches are older than needed.
    """
    now, look, end = datetime.now(UTC), _FIRST_LOOK, "\U0010ffff"
    while end:
        # Ids that are not times, from other programs, are included in the last listing.
        begin = f"{BATCHES}{now - look:%Y%m%dT%H%M%SZ}" if look < _LAST_LOOK else ""
        listed = destination.list(BATCHES, start_after=begin)
        yield from sorted((i.key for i in listed if i.key.endswith("/report.json") and i.key <= end), reverse=True)
        end, look = begin, look * 10


def read_reports(destination: ObjectStore) -> Iterator[BatchReport]:
    """The reports of all batches, newest first, one at a time. Unreadable reports are skipped with a warning."""
    reports = (read_model(destination, key, BatchReport) for key in list_reports(destination))
    return filter(None, reports)


def find_waiting(destination: ObjectStore) -> frozenset[str]:
    """Fingerprints that the last batch deferred to the next run."""
    report = next(read_reports(destination), None)
    return frozenset(one.fingerprint for one in report.failed if not one.quarantined) if report else frozenset()


class Sums(Amounts):
    """All counts. Two labels are combined into one key with a space, because JSON keys are strings."""

    recordings: Counter[str] = Field(default_factory=Counter)
    """By status and error code."""
    audio_seconds: dict[str, float] = Field(default_factory=dict)
    """By engine and model."""
    failures: Counter[str] = Field(default_factory=Counter)
    """By stage and error code."""
    batches: Counter[str] = Field(default_factory=Counter)
    """Finished batches, by status."""
    gpu_seconds: dict[str, float] = Field(default_factory=dict)
    """Busy, load, idle."""
    cpu_seconds: float = 0.0
    cost: float = 0.0
    loads: Histogram = Field(default_factory=Histogram)
    tally: Tally = Field(default_factory=Tally)


class BatchCounts(BaseModel):
    """Counts for the exporter, written when the batch starts, after each shard, and at its end.

    All figures are sums of the logs of the shards' runs, so they stay the same however often a run is killed and
    repeated. The object is replaced, never incremented, so reading it twice counts nothing twice.

    ``flow_run``: id of the run of `ingest`.
    ``speed``: audio seconds per second, by stage and for the batch.
    """

    batch: str
    flow_run: str
    engine: str
    model: str
    started_at: datetime
    updated_at: datetime
    status: Status = "running"
    sums: Sums = Sums()
    speed: dict[str, float] = {}

    @classmethod
    def of(cls, run: RunContext, batch: str, flow_run: str, started_at: datetime) -> "BatchCounts":
        """Counts of a batch that has just started."""
        # A model may be a local folder, whose path must not be published.
        engine, model = run.options.engine, PurePath(run.options.model).name
        return cls(
            batch=batch,
            flow_run=flow_run,
            engine=engine,
            model=model,
            started_at=started_at,
            updated_at=started_at,
            # Present from the start: Prometheus sees no increase in a counter that starts with its first amount.
            sums=Sums(audio_seconds={f"{engine} {model}": 0.0}),
        )

    def with_totals(self, totals: Totals, report: BatchReport | None = None) -> Self:
        """Updated counts: so far, or those of the final report. Deferred recordings are counted only at the end."""
        if report is None:
            return self._with(totals, [one for one in totals.failed if one.quarantined], "running")
        counts = self._with(totals, report.failed, "complete" if report.complete else "incomplete")
        if report.audio_seconds:
            counts.speed = {"batch": report.realtime_factor, **report.stage_speed}
        return counts

    def from_receipts(self, destination: ObjectStore) -> Self:
        """Counts of a batch whose run ended without a report, from its shards' logs and receipts."""
        totals = Totals.total(fold(read_logs(destination, shard)) for shard in read_shards(destination, self.batch))
        return self._with(totals, totals.failed, "lost")

    def write(self, destination: ObjectStore) -> None:
        """Write the counts. A failure is only logged: the next write is complete, or the exporter uses the shards'
        logs.
        """
        data = self.model_dump_json().encode()
        try:
            destination.put_bytes(f"{METRICS}{self.batch}.json", data, content_type="application/json")
        except StenopoolError as error:
            logger.warning("The metrics of batch %s were not written: %s", self.batch, error.message)

    def _with(self, totals: Totals, failed: list[FailedRecording], status: Status) -> Self:
        ends = Counter(f"{'quarantined' if one.quarantined else 'deferred'} {one.failure.code}" for one in failed)
        ends.update(done=totals.ends["done"], rendered=totals.ends["rendered"])
        sums = Sums(
            recordings=ends,
            audio_seconds={f"{self.engine} {self.model}": totals.audio_seconds},
            failures=Counter(join_cause(one.failure.stage, one.failure.code) for one in failed),
            batches=Counter() if status == "running" else Counter({status: 1}),
            gpu_seconds=dict(totals.device_seconds),
            cpu_seconds=totals.machine_seconds.get("cpu", 0.0),
            cost=totals.cost,
            loads=totals.loads,
            tally=totals.tally,
        )
        return self.model_copy(update={"sums": sums, "status": status, "updated_at": datetime.now(UTC)})
