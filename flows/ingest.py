"""`ingest`: the parent run. Lists what is pending, cuts it into shards, has them done, and reports.

source listing ⋈ receipts ─► pending ─► shards ─► prepare, transcribe ─► report, _SUCCESS
"""

import asyncio
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime

from prefect import flow, runtime, tags

from flows.artifacts import batch_summary
from flows.dispatch import Dispatch, inline
from flows.running import running
from stenopool.catalog import Selection
from stenopool.errors import ErrorCode
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.settings import get_settings
from stenopool.shards import Shard, shards
from stenopool.stages.plan import Plan
from stenopool.stages.report import BatchReport, ShardResult, read_result
from stenopool.stages.run import Run
from stenopool.stages.speech import check
from stenopool.stages.stopping import stop_if_asked


def _name() -> str:
    parameters = runtime.flow_run.parameters
    return f"ingest {parameters['source']} → {parameters['destination']}"


@flow(name="ingest", flow_run_name=_name, persist_result=False)
async def ingest(
    source: str,
    destination: str,
    options: TranscriptionOptions = TranscriptionOptions(),  # noqa: B008 (frozen)
    execution: ExecutionOptions = ExecutionOptions(),  # noqa: B008
    selection: Selection = Selection(),  # noqa: B008
    retry: list[ErrorCode] | None = None,
) -> BatchReport:
    """Transcribe every recording below a prefix that has no receipt yet.

    Args:
        source: Where recordings are read: a folder or s3://bucket/prefix.
        destination: Where transcripts, receipts and work files go: a folder or s3://bucket/prefix.
        options: What to transcribe how; makes the fingerprint.
        execution: How it is done here: device, formats, limits.
        selection: Which recordings of the source are taken.
        retry: Take up quarantined recordings with these error codes again; an empty list takes all, nothing none.
    """
    started_at = datetime.now(UTC)
    await asyncio.to_thread(check, options, execution)
    with (
        running(source, destination, options, execution) as run,
        tags(f"engine:{options.engine}", f"model:{options.model}"),
    ):
        again = None if retry is None else frozenset(retry)
        plan = Plan(run.source, run.destination, options, selection, execution.formats, again, clears=True)
        batch = f"{started_at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
        prepared, transcribed = await _have_done(run, shards(plan.pieces(), batch, get_settings().batch), inline)
        report = BatchReport.of(run, plan, prepared, transcribed, batch, started_at)
        await asyncio.to_thread(report.write, run.destination)
        await batch_summary(report)
    return report


async def _have_done(
    run: Run, planned: Iterator[Shard], dispatch: Dispatch
) -> tuple[list[ShardResult], list[ShardResult]]:
    """Have each shard done as soon as it is full, while the listing waits behind it. Results by flow."""
    prepared: list[ShardResult] = []
    transcribed: list[ShardResult] = []
    while shard := await asyncio.to_thread(next, planned, None):
        stop_if_asked()
        await asyncio.to_thread(shard.write, run.destination)
        await dispatch(
            source=run.source.uri,
            destination=run.destination.uri,
            batch=shard.batch,
            shard=shard.number,
            options=run.options,
            execution=run.execution,
        )
        prepared.append(await asyncio.to_thread(read_result, run.destination, shard, "prepare"))
        transcribed.append(await asyncio.to_thread(read_result, run.destination, shard, "transcribe"))
    return prepared, transcribed
