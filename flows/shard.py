"""`shard`: both halves of a shard in one run, on one machine. What `stenopool run` does with each shard.

    fetch ─► normalize ─► store ─► transcribe, diarize ─► assign speakers ─► render, upload ─► receipt

All of it goes on side by side, so the first transcript is there seconds after the first recording was fetched.
"""

import asyncio
from collections.abc import Sequence

from prefect import flow, runtime

from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.orchestration.artifacts import shard_summary
from stenopool.orchestration.blocks.locations import open_stores
from stenopool.orchestration.running import attempt, in_turn, running, side_by_side
from stenopool.orchestration.tasks import load_models, made_ready, quarantined, rendered, transcribed
from stenopool.pipeline.report import ShardResult
from stenopool.pipeline.run import Run
from stenopool.pipeline.shards import Shard, WorkItem, batches
from stenopool.settings import get_settings


def _name() -> str:
    parameters = runtime.flow_run.parameters
    return f"{parameters['batch']} shard {parameters['shard']}"


@flow(name="shard", flow_run_name=_name, persist_result=False)
async def shard(
    source: str, destination: str, batch: str, shard: int, options: TranscriptionOptions, execution: ExecutionOptions
) -> None:
    """Prepare and transcribe one shard's recordings.

    Args:
        source: Where recordings are read: a folder or s3://bucket/prefix.
        destination: Where transcripts, receipts and work files go.
        batch: The batch that the shard belongs to.
        shard: The shard's number in its batch.
        options: What to transcribe how; makes the fingerprint.
        execution: How it is done here.
    """
    with running(*await open_stores(source, destination), options, execution, batch, shard) as run:
        carried = await asyncio.to_thread(Shard.read, run.destination, batch, shard)
        await side_by_side(
            attempt(load_models, run, carried.new),
            in_turn(batches(carried.new, get_settings().batch), lambda items: _done(run, items)),
        )
        await in_turn(batches(carried.finished, get_settings().batch), lambda items: rendered(run, items))
        await quarantined(run, carried.finished)
        prepared, result = ShardResult.of_both(run, carried)
        await asyncio.to_thread(prepared.write, run.destination, carried, "prepare")
        await asyncio.to_thread(result.write, run.destination, carried, "transcribe")
        await shard_summary("shard", carried, result, run.destination)


async def _done(run: Run, items: Sequence[WorkItem]) -> None:
    await side_by_side(made_ready(run, items), transcribed(run, items))
