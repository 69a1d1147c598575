"""`ingest`: the parent run. Lists what is pending, cuts it into shards, has them done, and reports.

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

start_process()  # in a worker, this file is where the process becomes ours


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
        source: Where recordings are read: s3://bucket/prefix, a folder, or a saved block such as
            block://s3-bucket/NAME/prefix.
        destination: Where transcripts, receipts and work files go; written like the source.
        profile: Name of a saved Transcription Profile. Options below that are not left as they are go before it.
        options: What to transcribe how. Changing one of these makes all recordings pending again.
        execution: How it is done here: device, formats, limits. Changing these makes nothing pending again.
        selection: Which recordings of the source are taken.
        retry: Take up quarantined recordings with these error codes again; an empty list takes all, nothing none.
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
        # What an earlier attempt at this run began is finished before the listing tells what is left.
        async for logs in carry_shards(batch.begun, dispatcher, run.destination, parameters):
            await batch.add(logs, resumed=True)
        async for logs in carry_shards(batch.plan_shards(), dispatcher, run.destination, parameters):
            await batch.add(logs)
        return await batch.finish()
