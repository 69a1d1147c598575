"""`transcribe`: one run per shard on the GPU pool.

    fetch audio ─► transcribe ─► align ─► assign speakers ─► render, upload ─► receipt
              └──► diarize ────────────────┘

The stages run concurrently: each recording moves on as soon as possible, and is uploaded as soon as its transcript
exists.
"""

import asyncio

from prefect import flow

from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.orchestration.blocks.locations import open_stores
from stenopool.orchestration.runs import end_shard, open_run
from stenopool.orchestration.tasks import carry
from stenopool.pipeline.shards import Shard, read_prepared
from stenopool.pipeline.stages import TRANSCRIBE_STAGES
from stenopool.runtime.startup import start_process
from stenopool.speech.loaded import check_models

start_process()  # in a worker, this file is Stenopool's entry point


@flow(name="transcribe", flow_run_name="transcribe {batch} shard {shard}", persist_result=False)
async def transcribe(
    source: str, destination: str, batch: str, shard: int, options: TranscriptionOptions, execution: ExecutionOptions
) -> None:
    """Transcribe one shard's prepared audio, with speaker labels.

    Args:
        source: Location of the recordings: a folder or s3://bucket/prefix.
        destination: Location for transcripts, receipts and work files.
        batch: The batch that the shard belongs to.
        shard: The shard's number in its batch.
        options: Transcription options; part of the fingerprint.
        execution: Execution options.
    """
    await asyncio.to_thread(check_models, options, execution)
    with open_run(*await open_stores(source, destination), options, execution, batch, shard) as run:
        work = await asyncio.to_thread(Shard.read, run.destination, batch, shard)
        _, ready = await asyncio.to_thread(read_prepared, run.destination, work)
        await carry(run, TRANSCRIBE_STAGES, ready)
        await end_shard(run, work, "transcribe", machine="gpu")
