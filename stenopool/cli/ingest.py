"""The flow `ingest` in this process, for the commands that transcribe: ``run``, ``retry`` and ``demo``."""

import asyncio
import gc
import json
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from typing import Any

import typer

from stenopool.cli.console import err, print_line
from stenopool.cli.display import show_progress, tabulate_failures, tabulate_report
from stenopool.errors import ErrorCode, StenopoolError
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.orchestration.blocks.locations import open_location
from stenopool.pipeline.catalog import CatalogEntry, Selection, list_entries
from stenopool.pipeline.report import BatchReport
from stenopool.runtime import logs
from stenopool.runtime.logs import printable
from stenopool.runtime.progress import logger
from stenopool.settings import get_settings

# One page of a listing. A batch whose new recordings begin later than that is a long one: its start does not matter.
_LISTED = 1000


def ingest(
    source: str,
    destination: str,
    options: TranscriptionOptions,
    execution: ExecutionOptions,
    selection: Selection,
    retry: list[ErrorCode] | None = None,
) -> BatchReport:
    """Run the flow and show its progress on stderr.

    Raises `SetupError` for what can be found out before Prefect starts, and exits with 130 or 143 when it is stopped.
    """
    # Checked first: Prefect takes longer to start than everything else here.
    from stenopool.speech.loaded import check_models

    check_models(options, execution)
    from stenopool.orchestration import embedded

    embedded.set_environment()  # a block is loaded with Prefect
    stores = open_location(source, must_exist=True), open_location(destination)
    embedded.begin()
    with ThreadPoolExecutor(1) as meanwhile:
        if get_settings().dispatch.by == "inline":
            meanwhile.submit(_preload_models, list_entries(*stores, options, selection), options, execution)
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
        print_line("Stopped. What is done is kept; run the same command again to continue.", err)
        raise typer.Exit(130 if isinstance(stop, KeyboardInterrupt) else 143) from None


def _preload_models(
    entries: Iterable[CatalogEntry], options: TranscriptionOptions, execution: ExecutionOptions
) -> None:
    """Load the models of this process, while Prefect starts, if the first recordings listed include a new one.

    Raises nothing: an error here occurs again in the flow, which reports it.
    """
    from stenopool.speech.loaded import loaded_models

    with suppress(StenopoolError):
        if any(entry.state == "new" for entry in islice(entries, _LISTED)):
            loaded_models().engine(options, execution)
            if options.diarization != "off":
                loaded_models().diarizer(options.diarization, execution)


def print_reports(*reports: BatchReport, as_json: bool) -> None:
    """Print what these batches did, as one object if it is JSON; exit with 1 if recordings failed."""
    # The interpreter would go through everything that is loaded once more before it ends: 1 s with torch.
    gc.freeze()
    if as_json:
        print(reports[0].model_dump_json() if len(reports) == 1 else _merge(reports))
    for report in () if as_json else reports:
        if logs.writes_json():
            logger.info("%s: %d done, %d failed", report.destination, report.done, len(report.failed))
            continue
        err.print(tabulate_report(report))
        if report.failed:
            err.print(tabulate_failures(report))
        print_line(f"Transcripts are in {printable(report.destination)}", err)
    if any(report.failed for report in reports):
        raise typer.Exit(1)


def _merge(reports: Sequence[BatchReport]) -> str:
    batches = [report.model_dump(mode="json") for report in reports]
    found: dict[str, Any] = {name: sum(batch[name] for batch in batches) for name in ("new", "done")}
    return json.dumps(found | {"failed": [one for batch in batches for one in batch["failed"]], "batches": batches})
