"""`ingest`: the parent run. Lists what is pending, cuts it into shards, has them done, and reports.

source listing ⋈ receipts ─► pending ─► shards ─► prepare, transcribe ─► report, _SUCCESS
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime

from prefect import flow, runtime, tags

from stenopool.errors import ErrorCode
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.orchestration.artifacts import Progress, batch_summary, short
from stenopool.orchestration.blocks.locations import open_stores
from stenopool.orchestration.blocks.profiles import apply_profile
from stenopool.orchestration.dispatch import Dispatch, dispatch
from stenopool.orchestration.running import running
from stenopool.pipeline.catalog import Selection
from stenopool.pipeline.counts import BatchCounts
from stenopool.pipeline.plan import Plan
from stenopool.pipeline.report import BatchReport, ShardResult, Totals, results
from stenopool.pipeline.run import Run
from stenopool.pipeline.shards import Shard, shards, written
from stenopool.runtime.signals import stop_if_asked
from stenopool.settings import get_settings


def _name() -> str:
    return f"ingest {short(runtime.flow_run.parameters['source'])}"


@flow(name="ingest", flow_run_name=_name, persist_result=False)
async def ingest(
    source: str,
    destination: str,
    profile: str | None = None,
    options: TranscriptionOptions = TranscriptionOptions(),  # noqa: B008 (frozen)
    execution: ExecutionOptions = ExecutionOptions(),  # noqa: B008
    selection: Selection = Selection(),  # noqa: B008
    retry: list[ErrorCode] | None = None,
) -> BatchReport:
    """Transcribe every recording below a prefix that has no receipt yet.

    Args:
        source: Where recordings are read: s3://bucket/prefix, a folder, or a saved block such as
            block://s3-bucket/NAME/prefix.
        destination: Where transcripts, receipts and work files go; written like the source.
        profile: Name of a saved Transcription Profile. Options below that are not left as they are go before it.
        options: What to transcribe how. Changing one of these makes all recordings pending again.
        execution: How it is done here: device, formats, limits. Changing these makes nothing pending again.
        selection: Which recordings of the source are taken.
        retry: Take up quarantined recordings with these error codes again; an empty list takes all, nothing none.
    """
    started_at = datetime.now(UTC)
    options, execution = await apply_profile(profile, options, execution)
    by = dispatch()
    await by.check(options, execution)
    with (
        running(*await open_stores(source, destination), options, execution) as run,
        tags(f"engine:{options.engine}", f"model:{options.model}"),
    ):
        again = None if retry is None else frozenset(retry)
        plan = Plan(run.source, run.destination, options, selection, execution.formats, again, clears=True)
        batch = _batch()
        begun = await asyncio.to_thread(lambda: list(written(run.destination, batch)))
        plan.begun = sum(len(shard.new) for shard in begun)
        planned = shards(plan.items(), batch, get_settings().batch, first=len(begun))
        where = {"source": source, "destination": destination, "options": options, "execution": execution}
        totals, progress = Totals(), await Progress.start(source, plan)
        counts = BatchCounts.of(run, batch, str(runtime.flow_run.id), started_at)
        if not begun:
            await asyncio.to_thread(counts.write, run.destination)
        # What an earlier attempt at this run began is brought to its end before the listing tells what is left.
        for resumed, these in ((True, begun), (False, planned)):
            async for prepared, transcribed in _done(run, these, by, where):
                totals.add(prepared, transcribed, resumed=resumed)
                await progress.update(totals)
                if not resumed:  # until all that was begun is summed up again, it would say less than before
                    await asyncio.to_thread(counts.updated(totals).write, run.destination)
        report = BatchReport.of(run, plan, totals, batch, started_at)
        # Before the report: whoever sees that finds the counts.
        await asyncio.to_thread(counts.finished(totals, report).write, run.destination)
        await asyncio.to_thread(report.write, run.destination)
        await progress.finish(totals)
        await batch_summary(report)
    return report


def _batch() -> str:
    """The batch's id. It is the flow run's, so that a run that is repeated finds its shards."""
    started = runtime.flow_run.scheduled_start_time or datetime.now(UTC)
    return f"{started:%Y%m%dT%H%M%SZ}-{str(runtime.flow_run.id)[-8:]}"


async def _done(
    run: Run, planned: Iterable[Shard], by: Dispatch, where: dict[str, object]
) -> AsyncIterator[tuple[ShardResult, ShardResult]]:
    """Have each shard done as soon as it is full; the listing waits behind those in flight. Results as they come."""
    shards, in_flight = iter(planned), set[asyncio.Task[tuple[ShardResult, ShardResult]]]()
    try:
        while True:
            stop_if_asked()
            if len(in_flight) < by.at_once and (shard := await asyncio.to_thread(next, shards, None)):
                in_flight.add(asyncio.create_task(_one(run, shard, by, where)))
            elif in_flight:
                over, in_flight = await asyncio.wait(in_flight, return_when=asyncio.FIRST_COMPLETED)
                for task in over:
                    yield task.result()
            else:
                return
    finally:
        for task in in_flight:
            task.cancel()


async def _one(run: Run, shard: Shard, by: Dispatch, where: dict[str, object]) -> tuple[ShardResult, ShardResult]:
    await asyncio.to_thread(shard.write, run.destination)
    await by.carry(shard, run.destination, where)
    return await asyncio.to_thread(results, run.destination, shard)
