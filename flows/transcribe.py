"""`transcribe`: one run per shard on the GPU pool.

    fetch audio ─► transcribe ─► align ─► assign speakers ─► render, upload ─► receipt
              └──► diarize ────────────────┘

All of it goes on side by side: each recording is taken up by a stage when the one before has done it, and uploaded as
soon as its transcript exists.
"""

import asyncio

from prefect import flow, runtime

from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.orchestration.artifacts import shard_summary
from stenopool.orchestration.blocks.locations import open_stores
from stenopool.orchestration.running import attempt, in_turn, running, side_by_side
from stenopool.orchestration.tasks import find_prepared, load_models, transcribed
from stenopool.pipeline.report import ShardResult
from stenopool.pipeline.shards import Shard, batches
from stenopool.pipeline.stages import speech
from stenopool.settings import get_settings


def _name() -> str:
    parameters = runtime.flow_run.parameters
    return f"transcribe {parameters['batch']} shard {parameters['shard']}"


@flow(name="transcribe", flow_run_name=_name, persist_result=False)
async def transcribe(
    source: str, destination: str, batch: str, shard: int, options: TranscriptionOptions, execution: ExecutionOptions
) -> None:
    """Turn one shard's prepared audio into speaker-labelled transcripts.

    Args:
        source: Where recordings are read: a folder or s3://bucket/prefix.
        destination: Where transcripts, receipts and work files go.
        batch: The batch that the shard belongs to.
        shard: The shard's number in its batch.
        options: What to transcribe how; makes the fingerprint.
        execution: How it is done here.
    """
    await asyncio.to_thread(speech.check, options, execution)
    with running(*await open_stores(source, destination), options, execution, batch, shard) as run:
        carried = await asyncio.to_thread(Shard.read, run.destination, batch, shard)
        expected, ready = await asyncio.to_thread(find_prepared, run, carried)
        await side_by_side(
            attempt(load_models, run, ready),
            in_turn(batches(ready, get_settings().batch), lambda items: transcribed(run, items)),
        )
        result = ShardResult.of(run, expected, finished=True)
        await asyncio.to_thread(result.write, run.destination, carried, "transcribe")
        await shard_summary("transcribe", carried, result, run.destination)
