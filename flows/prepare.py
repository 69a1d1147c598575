"""`prepare`: one run per shard on the CPU pool. A bad file is found here and never wakes a GPU.

fetch ─► probe, decode, normalize ─► store 16 kHz FLAC in the work area

Each recording goes on as soon as it can: the stages of a batch run side by side.
Formats that finished recordings lack are rendered here too.
"""

import asyncio
from collections.abc import Sequence

from prefect import flow, runtime

from blocks.locations import opened
from flows.artifacts import shard_summary
from flows.running import as_they_are, attempt, in_turn, running, side_by_side, stage_task
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.settings import get_settings
from stenopool.shards import Piece, Shard, batches
from stenopool.stages import prepare as stages
from stenopool.stages.publish import quarantine, render_missing
from stenopool.stages.report import ShardResult
from stenopool.stages.run import Run

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
        await in_turn(batches(carried.new, get_settings().batch), lambda pieces: made_ready(run, pieces))
        await in_turn(batches(carried.finished, get_settings().batch), lambda pieces: rendered(run, pieces))
        await quarantined(run, carried.pieces)
        result = ShardResult.of(run, carried.pieces)
        await asyncio.to_thread(result.write, run.destination, carried, "prepare")
        await shard_summary("prepare", carried, result)


async def made_ready(run: Run, pieces: Sequence[Piece]) -> None:
    """A batch's audio, fetched, normalized and stored."""
    await side_by_side(attempt(fetch, run, pieces), attempt(normalize, run, pieces), attempt(store, run, pieces))


async def rendered(run: Run, pieces: Sequence[Piece]) -> None:
    """Formats that finished recordings lack. One more format is no speech work: it never needs a GPU."""
    to_be_heard = [piece for piece in pieces if "html" in piece.formats]
    await side_by_side(attempt(fetch, run, to_be_heard), attempt(normalize, run, to_be_heard))
    await attempt(render, run, pieces)


async def quarantined(run: Run, pieces: Sequence[Piece]) -> None:
    """Those that something is wrong with, put aside."""
    if failed := run.failed(pieces):
        await quarantine_failed(as_they_are(failed), f"{len(failed)} recordings")
