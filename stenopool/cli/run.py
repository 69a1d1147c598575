"""``stenopool run``, ``plan``, ``status``, ``retry``: a prefix of recordings, here and now."""

import asyncio
import gc
import json
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from typing import Annotated, Any

import typer
from rich.console import Console

from stenopool.cli.display import failures_table, show_progress, summary_table
from stenopool.cli.parameters import with_options
from stenopool.errors import ErrorCode, StenopoolError
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.pipeline import receipts
from stenopool.pipeline.catalog import Selection, list_entries
from stenopool.pipeline.plan import Plan
from stenopool.pipeline.report import BatchReport
from stenopool.runtime import logs
from stenopool.runtime.logs import printable
from stenopool.runtime.progress import logger
from stenopool.settings import get_settings
from stenopool.storage import open_store

Source = Annotated[str, typer.Argument(metavar="SOURCE", help="Recordings: a folder or s3://bucket/prefix.")]
Destination = Annotated[str, typer.Argument(metavar="DESTINATION", help="Transcripts: a folder or s3://bucket/prefix.")]
AsJson = Annotated[bool, typer.Option("--json", help="One machine-readable object on stdout.")]

# One page of a listing. A batch whose work begins later than there is a long one: its start does not matter.
_LOOKED_AT = 1000

err = Console(stderr=True)
out = Console()


@with_options(options=TranscriptionOptions, execution=ExecutionOptions, selection=Selection)
def run(
    source: Source,
    destination: Destination,
    options: TranscriptionOptions,
    execution: ExecutionOptions,
    selection: Selection,
    as_json: AsJson = False,
) -> None:
    """Transcribe every recording that has no receipt yet; run it again at any time.

    Example: stenopool run s3://calls/2026-11 s3://transcripts/2026-11 --language en
    """
    finish(ingest(source, destination, options, execution, selection), as_json=as_json)


@with_options(options=TranscriptionOptions, selection=Selection)
def plan(
    source: Source,
    destination: Destination,
    options: TranscriptionOptions,
    selection: Selection,
    cost_per_hour: Annotated[
        float | None, typer.Option(help="Your price for an hour of audio, for an estimate of the cost.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a run would do, and touch nothing: new, done, quarantined, hours.

    Example: stenopool plan ./recordings ./transcripts
    """
    planned = Plan(open_store(source, must_exist=True), open_store(destination), options, selection)
    for _ in planned.items():
        pass
    hours = {state: planned.seconds[state] / 3600 for state in ("new", "done", "quarantined")}
    if as_json:
        found: dict[str, Any] = {state: planned.counts[state] for state in hours}
        found["estimated_hours"] = hours
        found["estimated_cost"] = None if cost_per_hour is None else hours["new"] * cost_per_hour
        print(json.dumps(found))
        return
    for state, length in hours.items():
        out.print(f"{state:<12} {planned.counts[state]:>8}   about {length:.2f} hours", highlight=False)
    if cost_per_hour is not None:
        out.print(f"estimated cost of the new ones: {hours['new'] * cost_per_hour:.2f}", highlight=False)


def status(
    destination: Destination,
    limit: Annotated[int, typer.Option(help="Most failures shown.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Say how things stand at a destination: done, quarantined and why, last batches.

    Example: stenopool status ./transcripts
    """
    store = open_store(destination, must_exist=True)
    counts = {"done": 0, "quarantined": 0}
    quarantined: list[receipts.Receipt] = []
    for name in receipts.list_receipts(store):
        counts[name.status] += 1
        if name.status == "quarantined" and len(quarantined) < limit:
            quarantined.append(receipts.read(store, name.key, name.fingerprint, "quarantined"))
    reports = _last_batches(store)
    if as_json:
        found = {
            **counts,
            "failures": [receipt.model_dump(mode="json") for receipt in quarantined],
            "batches": [report.model_dump(mode="json", exclude={"failed"}) for report in reports],
        }
        print(json.dumps(found))
        return
    out.print(f"{counts['done']} done, {counts['quarantined']} quarantined", highlight=False)
    for receipt in quarantined:
        if receipt.failure:
            failure = receipt.failure
            line = f"  {failure.code}  {printable(receipt.key)}  {failure.message} {failure.remedy}"
            out.print(line, markup=False, highlight=False, soft_wrap=True)
    for report in reports:
        line = f"batch {report.batch}: {report.done} done, {len(report.failed)} failed, {report.realtime_factor:.1f}×"
        out.print(line, markup=False, highlight=False, soft_wrap=True)


@with_options(options=TranscriptionOptions, execution=ExecutionOptions)
def retry(
    destination: Destination,
    options: TranscriptionOptions,
    execution: ExecutionOptions,
    code: Annotated[list[ErrorCode] | None, typer.Option(help="Only recordings that failed with this code.")] = None,
    source: Annotated[str | None, typer.Option(help="The source; else that of the last batch.")] = None,
    as_json: AsJson = False,
) -> None:
    """Take quarantined recordings up again, with the options they were tried with.

    Example: stenopool retry ./transcripts --code DECODE_TIMEOUT
    """
    store = open_store(destination, must_exist=True)
    last = _last_batches(store)
    if not last and source is None:
        raise typer.BadParameter(f"{destination} has no batch yet: name the --source.")
    if last and options == TranscriptionOptions():
        options = TranscriptionOptions.model_validate(last[0].options)
    wanted = frozenset(code or ())
    keys = sorted(
        {
            name.key
            for name in receipts.list_receipts(store)
            if name.status == "quarantined" and (not wanted or _code(store, name) in wanted)
        }
    )
    if not keys:
        err.print("Nothing is in quarantine" + (f" for {', '.join(wanted)}." if wanted else "."))
        if as_json:
            print(json.dumps({"new": 0, "done": 0, "failed": []}))
        return
    report = ingest(
        source or last[0].source, destination, options, execution, Selection(only=tuple(keys)), retry=list(wanted)
    )
    finish(report, as_json=as_json)


def ingest(
    source: str,
    destination: str,
    options: TranscriptionOptions,
    execution: ExecutionOptions,
    selection: Selection,
    retry: list[ErrorCode] | None = None,
) -> BatchReport:
    """The flow `ingest` in this process, with its progress on stderr."""
    # Found out before Prefect starts, which takes longer than all else here.
    from stenopool.pipeline.stages.speech import check
    from stenopool.runtime.stopping import exit_on_sigterm

    check(options, execution)
    open_store(source, must_exist=True)
    exit_on_sigterm()
    from stenopool.orchestration import embedded

    embedded.begin()
    with ThreadPoolExecutor(1) as meanwhile:
        meanwhile.submit(_load_ahead, source, destination, options, execution, selection)
        from prefect.exceptions import TerminationSignal

        from stenopool.orchestration.entrypoints import load

        flow: Callable[..., Coroutine[Any, Any, BatchReport]] = load("ingest")
        embedded.ready()
    try:
        with show_progress(err, diarize=options.diarization != "off"):
            return asyncio.run(
                flow(source, destination, options=options, execution=execution, selection=selection, retry=retry)
            )
    except (TerminationSignal, KeyboardInterrupt) as stop:
        err.print("Stopped. What is done is kept; run the same command again to go on.", highlight=False)
        raise typer.Exit(130 if isinstance(stop, KeyboardInterrupt) else 143) from None


def _load_ahead(
    source: str,
    destination: str,
    options: TranscriptionOptions,
    execution: ExecutionOptions,
    selection: Selection,
) -> None:
    """Load the models while Prefect's server starts, where the first recordings listed say that there is work here."""
    from stenopool.pipeline.stages.speech import diarizer_for, engine_for

    if get_settings().dispatch.by != "inline":
        return
    # What goes wrong here goes wrong again in the flow, which says so.
    with suppress(StenopoolError):
        listed = list_entries(open_store(source), open_store(destination), options, selection)
        if all(entry.state != "new" for entry in islice(listed, _LOOKED_AT)):
            return
        engine_for(options.engine, options.model, execution).load()
        if options.diarization not in ("off", "channels"):
            diarizer_for(options.diarization, execution).load()


def finish(report: BatchReport, *, as_json: bool) -> None:
    """Print the report; exit 1 if recordings failed."""
    # The interpreter would go through all that is loaded once more before it ends: 1 s with torch.
    gc.freeze()
    if as_json:
        print(report.model_dump_json())
    elif logs.writes_json():
        logger.info("%s: %d done, %d failed", report.destination, report.done, len(report.failed))
    else:
        err.print(summary_table(report))
        if report.failed:
            err.print(failures_table(report))
        where = f"Transcripts are in {printable(report.destination)}"
        err.print(where, markup=False, highlight=False, soft_wrap=True)
    if report.failed:
        raise typer.Exit(1)


def _last_batches(store: Any, most: int = 5) -> list[BatchReport]:
    reports = [info.key for info in store.list(receipts.BATCHES) if info.key.endswith("/report.json")]
    return [BatchReport.model_validate_json(store.get_bytes(key)) for key in sorted(reports, reverse=True)[:most]]


def _code(store: Any, name: receipts.ReceiptName) -> ErrorCode | None:
    failure = receipts.read(store, name.key, name.fingerprint, "quarantined").failure
    return failure.code if failure else None
