"""`prepare`: one run per shard on the CPU pool. A bad file is found here and never wakes a GPU.

fetch ─► probe, decode, normalize ─► store 16 kHz FLAC in the work area

Each recording goes on as soon as it can: the stages of a batch run side by side.
Formats that finished recordings lack are rendered here too.
"""

import asyncio

from prefect import flow, runtime

from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.orchestration.artifacts import shard_summary
from stenopool.orchestration.blocks.locations import open_stores
from stenopool.orchestration.running import in_turn, running
from stenopool.orchestration.tasks import made_ready, quarantined, rendered
from stenopool.pipeline.report import ShardResult
from stenopool.pipeline.shards import Shard, batches
from stenopool.settings import get_settings


def _name() -> str:
    parameters = runtime.flow_run.parameters
    return f"prepare {parameters['batch']} shard {parameters['shard']}"


@flow(name="prepare", flow_run_name=_name, persist_result=False)
async def prepare(
    source: str, destination: str, batch: str, shard: int, options: TranscriptionOptions, execution: ExecutionOptions
) -> None:
    """Make one shard's recordings ready for the GPU, and quarantine those that cannot be transcribed.

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
        await in_turn(batches(carried.new, get_settings().batch), lambda items: made_ready(run, items))
        await in_turn(batches(carried.finished, get_settings().batch), lambda items: rendered(run, items))
        await quarantined(run, carried.items)
        result = ShardResult.of(run, carried.items)
        await asyncio.to_thread(result.write, run.destination, carried, "prepare")
        await shard_summary("prepare", carried, result)
