"""`shard`: both halves of a shard in one run on one machine. `stenopool run` runs this for each shard.

    fetch ─► normalize ─► store ─► transcribe, diarize ─► assign speakers ─► render, upload ─► receipt

The stages run concurrently, so the first transcript exists seconds after the first recording was fetched.
"""

import asyncio

from prefect import flow

from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.orchestration.blocks.locations import open_stores
from stenopool.orchestration.runs import end_shard, open_run
from stenopool.orchestration.tasks import carry
from stenopool.pipeline.outcomes import ShardLog
from stenopool.pipeline.shards import Shard
from stenopool.pipeline.stages import RENDER_STAGES, SHARD_STAGES


@flow(name="shard", flow_run_name="{batch} shard {shard}", persist_result=False)
async def shard(
    source: str, destination: str, batch: str, shard: int, options: TranscriptionOptions, execution: ExecutionOptions
) -> ShardLog:
    """Prepare and transcribe one shard's recordings; returns the result of each.

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
        await carry(run, SHARD_STAGES, work.new)
        await carry(run, RENDER_STAGES, work.finished)
        return await end_shard(run, work, "shard", machine="gpu")
