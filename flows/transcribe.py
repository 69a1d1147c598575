"""`transcribe`: one run per shard on the GPU pool.

    fetch audio ─► transcribe ─► align ─► assign speakers ─► render, upload ─► receipt
              └──► diarize ────────────────┘

All of it goes on side by side: each recording is taken up by a stage when the one before has done it, and uploaded as
soon as its transcript exists.
"""

import asyncio
from collections.abc import Sequence

from prefect import flow, runtime

from blocks.locations import opened
from flows.artifacts import shard_summary
from flows.prepare import quarantined
from flows.running import attempt, in_turn, running, side_by_side, stage_task
from stenopool.errors import ErrorCode, TransientError
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.settings import get_settings
from stenopool.shards import Piece, Shard, batches
from stenopool.stages import publish, speech
from stenopool.stages.report import ShardResult, read_result
from stenopool.stages.run import Run

fetch_audio = stage_task("fetch audio", speech.fetch_audio)
load_models = stage_task("load models", speech.load)
transcribe_speech = stage_task("transcribe", speech.transcribe)
align = stage_task("align", speech.align)
diarize = stage_task("diarize", speech.diarize)
assign_speakers = stage_task("assign speakers", publish.assign)
upload = stage_task("upload", publish.upload)
receipt = stage_task("receipt", publish.receipt)


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
    with running(
        await opened(source, must_exist=True), await opened(destination), options, execution, batch, shard
    ) as run:
        carried = await asyncio.to_thread(Shard.read, run.destination, batch, shard)
        expected, ready = await asyncio.to_thread(_prepared, run, carried)
        await side_by_side(
            attempt(load_models, run, ready),
            in_turn(batches(ready, get_settings().batch), lambda pieces: transcribed(run, pieces)),
        )
        result = ShardResult.of(run, expected, finished=True)
        await asyncio.to_thread(result.write, run.destination, carried, "transcribe")
        await shard_summary("transcribe", carried, result, run.destination)


async def transcribed(run: Run, pieces: Sequence[Piece]) -> None:
    """A batch from prepared audio to receipts."""
    await side_by_side(
        attempt(fetch_audio, run, pieces),
        attempt(transcribe_speech, run, pieces),
        *([attempt(align, run, pieces)] if "align" in speech.speech_stages(run) else []),
        *([attempt(diarize, run, pieces)] if "diarize" in speech.speech_stages(run) else []),
        attempt(assign_speakers, run, pieces),
        attempt(upload, run, pieces),
        attempt(receipt, run, pieces),
    )
    await quarantined(run, pieces)


def _prepared(run: Run, shard: Shard) -> tuple[list[Piece], list[Piece]]:
    """The pieces that are this run's, their length now exact, and of those the ones whose audio is in the work area."""
    durations = read_result(run.destination, shard, "prepare").durations
    expected = [
        piece.model_copy(update={"seconds": durations[piece.fingerprint]})
        for piece in shard.pieces
        if piece.fingerprint in durations and not piece.formats
    ]
    for piece in expected:
        # An attempt before this one, or another run, has brought it to its end.
        if not run.work(piece).has("prepare") and not run.leave(piece):
            run.fail(piece, TransientError(ErrorCode.RUN_LOST, "Its prepared audio is gone.").failure("fetch audio"))
    return expected, run.sound(expected)
