"""`prepare`: one run per shard on the CPU pool. Invalid files are found here and never use a GPU.

    fetch ─► probe, decode, normalize ─► store 16 kHz FLAC in the work area

The stages run concurrently: each recording moves on as soon as possible. Missing formats of finished recordings are
rendered here too.
"""

import asyncio

from prefect import flow

from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.orchestration.blocks.locations import open_stores
from stenopool.orchestration.runs import end_shard, open_run
from stenopool.orchestration.tasks import carry
from stenopool.pipeline.shards import Shard
from stenopool.pipeline.stages import PREPARE_STAGES, RENDER_STAGES
from stenopool.runtime.startup import start_process

start_process()  # in a worker, this file is Stenopool's entry point


@flow(name="prepare", flow_run_name="prepare {batch} shard {shard}", persist_result=False)
async def prepare(
    source: str, destination: str, batch: str, shard: int, options: TranscriptionOptions, execution: ExecutionOptions
) -> None:
    """Prepare one shard's recordings for the GPU, and quarantine those that cannot be transcribed.

    Args:
        source: Location of the recordings: a folder or s3://bucket/prefix.
        destination: Location for transcripts, receipts and work files.
        batch: The batch that the shard belongs to.
        shard: The shard's number in its batch.
        options: Transcription options; part of the fingerprint.
        execution: Execution options.
    """
    with open_run(*await open_stores(source, destination), options, execution, batch, shard) as run:
        work = await asyncio.to_thread(Shard.read, run.destination, batch, shard)
        await carry(run, PREPARE_STAGES, work.new)
        await carry(run, RENDER_STAGES, work.finished)
        await end_shard(run, work, "prepare", machine="cpu")
