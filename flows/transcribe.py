"""`transcribe`: one run per shard on the GPU pool.

    fetch audio ─► transcribe ─► align ─► assign speakers ─► render, upload ─► receipt
              └──► diarize ────────────────┘

A batch's transcripts are uploaded while the next batch is on the device.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

from prefect import flow, runtime

from blocks.locations import opened
from flows.artifacts import shard_summary
from flows.prepare import quarantine_failed
from flows.running import attempt, running, stage_task
from stenopool.errors import ErrorCode, TransientError
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.settings import get_settings
from stenopool.shards import Piece, Shard, batches
from stenopool.stages import publish, speech
from stenopool.stages.report import ShardResult, read_result
from stenopool.stages.run import Run
from stenopool.stages.stopping import Stopped

fetch_audio = stage_task("fetch audio", speech.fetch_audio)
load_models = stage_task("load models", speech.load)
leave_finished = stage_task("leave finished", speech.leave_finished)
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
        stopped: Stopped | None = None
        async with asyncio.TaskGroup() as publishing:
            try:
                async for pieces in _at_hand(run, ready):
                    try:
                        await _recognize(run, pieces)
                    finally:
                        publishing.create_task(_publish(run, pieces))
            except* Stopped as group:
                stopped = Stopped(*group.exceptions[0].args)
        if stopped:
            raise stopped
        result = ShardResult.of(run, expected, finished=True)
        await asyncio.to_thread(result.write, run.destination, carried, "transcribe")
        await shard_summary("transcribe", carried, result, run.destination)


async def _at_hand(run: Run, ready: Sequence[Piece]) -> AsyncIterator[Sequence[Piece]]:
    """Batches whose audio is fetched. The next one's comes while one is on the device; the models, with the first."""
    models = asyncio.create_task(attempt(load_models, run, ready))
    work = [*batches(ready, get_settings().batch), ()]
    coming = asyncio.create_task(attempt(fetch_audio, run, work[0]))
    for pieces, following in pairwise(work):
        await asyncio.gather(models, coming)
        coming = asyncio.create_task(attempt(fetch_audio, run, following))
        yield pieces


async def _recognize(run: Run, pieces: Sequence[Piece]) -> None:
    """Words and speakers do not need each other: both are found at the same time."""
    await attempt(leave_finished, run, pieces)
    async with asyncio.TaskGroup() as side_by_side:
        side_by_side.create_task(_words(run, pieces))
        if run.options.diarization != "off":
            side_by_side.create_task(attempt(diarize, run, pieces))


async def _words(run: Run, pieces: Sequence[Piece]) -> None:
    await attempt(transcribe_speech, run, pieces)
    if run.options.word_timestamps == "alignment":
        await attempt(align, run, pieces)


async def _publish(run: Run, pieces: Sequence[Piece]) -> None:
    complete = await asyncio.to_thread(speech.spoken, run, pieces)
    await attempt(assign_speakers, run, complete)
    await attempt(upload, run, complete)
    await attempt(receipt, run, complete)
    if failed := run.failed(pieces):
        await quarantine_failed(failed, f"{len(failed)} recordings")


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
