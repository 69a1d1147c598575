"""A batch in progress: collects the results of its shards and publishes its progress."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from prefect import runtime
from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact
from prefect.client.orchestration import get_client

from stenopool.orchestration.artifacts import batch_summary, cell
from stenopool.orchestration.names import PROGRESS, batch_name
from stenopool.pipeline.catalog import selects_nothing
from stenopool.pipeline.context import RunContext
from stenopool.pipeline.outcomes import ShardLog, Totals, fold
from stenopool.pipeline.report import BatchCounts, BatchReport, find_waiting
from stenopool.pipeline.shards import Plan, Shard, read_shards, split_into_shards
from stenopool.settings import get_settings


@dataclass
class Batch:
    """Combines the shards' logs as they arrive, and updates metrics, the progress bar and the run's name."""

    run: RunContext
    plan: Plan
    source: str
    started_shards: list[Shard]
    """Shards started by an earlier attempt at this run."""
    artifact: UUID
    """The progress bar in the Prefect UI."""
    counts: BatchCounts
    writes: bool
    """Whether to write counts and a report: False if the run selects nothing."""
    resumed: Totals = field(default_factory=Totals)
    planned: Totals = field(default_factory=Totals)

    @classmethod
    async def begin(cls, run: RunContext, plan: Plan, source: str) -> "Batch":
        """Start a batch, or resume that of an earlier attempt at the same run."""
        started_at = datetime.now(UTC)
        name = batch_name(runtime.flow_run.scheduled_start_time or started_at, str(runtime.flow_run.id))
        started_shards = await asyncio.to_thread(lambda: list(read_shards(run.destination, name)))
        plan.already_started = sum(len(shard.new) for shard in started_shards)
        if plan.selection.max_count:
            plan.waited = await asyncio.to_thread(find_waiting, run.destination)
        artifact = await acreate_progress_artifact(0.0, key=PROGRESS, description=f"Recordings of {cell(source)}")
        counts = BatchCounts.of(run, name, str(runtime.flow_run.id), started_at)
        writes = not await asyncio.to_thread(selects_nothing, run.source, run.destination, plan.selection)
        if writes and not started_shards:
            await asyncio.to_thread(counts.write, run.destination)
        return cls(run, plan, source, started_shards, artifact, counts, writes)

    def plan_shards(self) -> Iterator[Shard]:
        """Shards of the pending recordings, as they are listed."""
        first = max((shard.number + 1 for shard in self.started_shards), default=0)
        return split_into_shards(self.plan.items(), self.counts.batch, get_settings().batch, first)

    async def add(self, logs: list[ShardLog], *, resumed: bool = False) -> None:
        """Add the logs of a finished shard."""
        (self.resumed if resumed else self.planned).add(fold(logs, resumed=resumed))
        totals = self._totals()
        ended = _count_ended(totals)
        expected = max(ended, self.plan.counts["new"] + _count_ended(self.resumed), 1)  # listing may still continue
        await self._show(totals, 100.0 * ended / expected)
        if not resumed:  # totals would be too low until all started shards are added
            await asyncio.to_thread(self.counts.with_totals(totals).write, self.run.destination)

    async def finish(self) -> BatchReport:
        """Write the counts and the report, publish the summary."""
        counts, totals = self.counts, self._totals()
        report = BatchReport.of(self.run, self.plan, self.resumed, self.planned, counts.batch, counts.started_at)
        if self.writes:
            # Before the report, so that the counts exist when the report does.
            await asyncio.to_thread(counts.with_totals(totals, report).write, self.run.destination)
            await asyncio.to_thread(report.write, self.run.destination)
        await self._show(totals, 100.0)
        await batch_summary(report)
        return report

    def _totals(self) -> Totals:
        return Totals.total((self.resumed, self.planned))

    async def _show(self, totals: Totals, percent: float) -> None:
        await aupdate_progress_artifact(self.artifact, percent)
        place = self.source.partition("://")[2] or self.source
        shards = f"{totals.shards} shard{'s' if totals.shards != 1 else ''}"
        async with get_client() as client:
            await client.update_flow_run(runtime.flow_run.id, name=f"ingest {place} → {shards}")


def _count_ended(totals: Totals) -> int:
    return totals.ends["done"] + totals.ends["skipped"] + len(totals.failed)
