"""`prepare`: one run per shard on the CPU pool. A bad file is found here and never wakes a GPU.

fetch ─► probe, decode, normalize ─► store 16 kHz FLAC in the work area

Formats that finished recordings lack are rendered here too.
"""

import asyncio

from prefect import flow, runtime

from blocks.locations import opened
from flows.artifacts import shard_summary
from flows.running import attempt, running, stage_task
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.settings import get_settings
from stenopool.shards import Shard, batches
from stenopool.stages import prepare as stages
from stenopool.stages.publish import quarantine, render_missing
from stenopool.stages.report import ShardResult

fetch = stage_task("fetch", stages.fetch)
normalize = stage_task("normalize", stages.normalize)
store = stage_task("store", stages.store)
render = stage_task("render", render_missing)
quarantine_failed = stage_task("quarantine", quarantine)


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
    with running(
        await opened(source, must_exist=True), await opened(destination), options, execution, batch, shard
    ) as run:
        carried = await asyncio.to_thread(Shard.read, run.destination, batch, shard)
        new = [piece for piece in carried.pieces if not piece.formats]
        for pieces in batches(new, get_settings().batch):
            await attempt(fetch, run, pieces)
            await attempt(normalize, run, pieces)
            await attempt(store, run, pieces)
        # One more format of a finished recording is no speech work: it never needs a GPU.
        for pieces in batches([piece for piece in carried.pieces if piece.formats], get_settings().batch):
            to_be_heard = [piece for piece in pieces if "html" in piece.formats]
            await attempt(fetch, run, to_be_heard)
            await attempt(normalize, run, to_be_heard)
            await attempt(render, run, pieces)
        if failed := run.failed(carried.pieces):
            await quarantine_failed(failed, f"{len(failed)} recordings")
        result = ShardResult.of(run, carried.pieces)
        await asyncio.to_thread(result.write, run.destination, carried, "prepare")
        await shard_summary("prepare", carried, result)
