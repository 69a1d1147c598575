"""`ingest`: the parent run. Lists pending recordings, splits them into shards, runs the shards, and writes a report.

source listing ⋈ receipts ─► pending ─► shards ─► prepare, transcribe ─► report, _SUCCESS
"""

import asyncio

from prefect import flow, tags

from stenopool.errors import ErrorCode
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.orchestration.batches import Batch
from stenopool.orchestration.blocks.locations import open_stores
from stenopool.orchestration.blocks.profiles import apply_profile
from stenopool.orchestration.dispatch import carry_shards, choose_dispatcher
from stenopool.orchestration.runs import open_run
from stenopool.pipeline.catalog import Selection
from stenopool.pipeline.preflight import check_stores
from stenopool.pipeline.report import BatchReport
from stenopool.pipeline.shards import Plan
from stenopool.runtime.startup import start_process

start_process()  # in a worker, this file is Stenopool's entry point


@flow(name="ingest", flow_run_name="ingest {source}", persist_result=False)
async def ingest(
    source: str,
    destination: str,
    profile: str | None = None,
    options: TranscriptionOptions = TranscriptionOptions(),  # noqa: B008 (frozen)
    execution: ExecutionOptions = ExecutionOptions(),  # noqa: B008
    selection: Selection = Selection(),  # noqa: B008
    retry: list[ErrorCode] | None = None,
) -> BatchReport:
    """Transcribe every recording below a prefix that has no receipt yet.

    Args:
        source: Location of the recordings: s3://bucket/prefix, a folder, or a saved block such as
            block://s3-bucket/NAME/prefix.
        destination: Location for transcripts, receipts and work files, in the same format as the source.
        profile: Name of a saved Transcription Profile. Options below that are changed take precedence.
        options: Transcription options. Changing any of these makes all recordings pending again.
        execution: Execution options: device, formats, limits. Changing these makes no recording pending again.
        selection: Which recordings of the source to transcribe.
        retry: Retry quarantined recordings with these error codes; an empty list retries all, no value retries none.
    """
    options, execution = await apply_profile(profile, options, execution)
    dispatcher = choose_dispatcher()
    await dispatcher.check(options, execution)
    parameters = {"source": source, "destination": destination, "options": options, "execution": execution}
    stores = await open_stores(source, destination)
    with open_run(*stores, options, execution) as run, tags(f"engine:{options.engine}", f"model:{options.model}"):
        await asyncio.to_thread(check_stores, run.source, run.destination, selection)
        again = None if retry is None else frozenset(retry)
        plan = Plan(run.source, run.destination, options, selection, execution.formats, again, clears=True)
        batch = await Batch.begin(run, plan, source)
        # Shards started by an earlier attempt at this run are finished before the remaining recordings are listed.
        async for logs in carry_shards(batch.started_shards, dispatcher, run.destination, parameters):
            await batch.add(logs, resumed=True)
        async for logs in carry_shards(batch.plan_shards(), dispatcher, run.destination, parameters):
            await batch.add(logs)
        return await batch.finish()
