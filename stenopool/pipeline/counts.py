"""What one batch counts, as an object beside its report: written when it begins, after each shard, and at its end.

All figures are sums of what the shards' runs wrote, so they say the same however often a run was killed and repeated.
A batch has one object, which is replaced, never added to: whoever reads it twice counts nothing twice.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Literal, Self

from pydantic import BaseModel

from stenopool.errors import StenopoolError
from stenopool.pipeline.context import RunContext
from stenopool.pipeline.outcomes import FailedRecording
from stenopool.pipeline.receipts import METRICS
from stenopool.pipeline.report import BatchReport
from stenopool.pipeline.sums import Sums, join_cause
from stenopool.pipeline.totals import Totals, sum_up
from stenopool.runtime.progress import logger
from stenopool.storage.base import ObjectStore

Status = Literal["running", "complete", "incomplete", "lost"]


class BatchCounts(BaseModel):
    """``flow_run``: the id of the run of `ingest`. ``speed``: audio seconds per second, by stage and for the batch."""

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
        """A batch that has done nothing yet."""
        # A model may be a folder of the machine; its path is nobody's business.
        engine, model = run.options.engine, PurePath(run.options.model).name
        return cls(
            batch=batch,
            flow_run=flow_run,
            engine=engine,
            model=model,
            started_at=started_at,
            updated_at=started_at,
            # Told from the beginning: Prometheus sees no increase in what begins with its first amount.
            sums=Sums(audio_seconds={f"{engine} {model}": 0.0}),
        )

    def with_totals(self, totals: Totals) -> Self:
        """So far. What the batch leaves to the next run is known when it is over, and counted then."""
        return self._with(totals, [one for one in totals.failed if one.quarantined], "running")

    def with_report(self, totals: Totals, report: BatchReport) -> Self:
        """At its end: the report's own figures."""
        counts = self._with(totals, report.failed, "complete" if report.complete else "incomplete")
        if report.audio_seconds:
            counts.speed = {"batch": report.realtime_factor, **report.stage_speed}
        return counts

    def from_receipts(self, destination: ObjectStore) -> Self:
        """For a batch whose run ended without a report: what its shards' results and receipts say."""
        totals = sum_up(destination, self.batch)
        return self._with(totals, totals.failed, "lost")

    def write(self, destination: ObjectStore) -> None:
        """Figures stop no work: if it fails, the next write says all, or the exporter finds out from the results."""
        data = self.model_dump_json().encode()
        try:
            destination.put_bytes(f"{METRICS}{self.batch}.json", data, content_type="application/json")
        except StenopoolError as error:
            logger.warning("The figures of batch %s were not written: %s", self.batch, error.message)

    def _with(self, totals: Totals, failed: Iterable[FailedRecording], status: Status) -> Self:
        failed = list(failed)
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
