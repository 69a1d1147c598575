"""The commands that transcribe, ``run``, ``retry`` and ``demo``: each runs the flow `ingest` in this process."""

import asyncio
import gc
import json
from collections.abc import Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from shutil import copyfile
from typing import Annotated, Any

import typer

from stenopool import extras
from stenopool.cli.display import err, out, print_line, show_progress, tabulate_failures, tabulate_report
from stenopool.cli.parameters import DestinationArgument, JsonFlag, SourceArgument, with_options
from stenopool.errors import ErrorCode, SetupError, StenopoolError
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.orchestration.blocks.locations import open_existing, open_location
from stenopool.pipeline.catalog import CatalogEntry, Selection, list_entries
from stenopool.pipeline.preflight import check_stores
from stenopool.pipeline.quarantine import drop_deleted, list_quarantined, plan_attempts
from stenopool.pipeline.receipts import output_key
from stenopool.pipeline.report import BatchReport
from stenopool.runtime.logs import logger, writes_json
from stenopool.settings import get_settings
from stenopool.speech.renderers.terminal import print_transcript
from stenopool.speech.transcript import Transcript

_DEMO_KEY = "call.wav"
# One page of a listing. If the first new recording is further down, the batch is long and its start does not matter.
_LISTED = 1000
_NOTHING = {"new": 0, "done": 0, "failed": list[str]()}


@with_options(options=TranscriptionOptions, execution=ExecutionOptions, selection=Selection)
def run(
    source: SourceArgument,
    destination: DestinationArgument,
    options: TranscriptionOptions,
    execution: ExecutionOptions,
    selection: Selection,
    as_json: JsonFlag = False,
) -> None:
    """Transcribe every recording that has no receipt yet. You can repeat it at any time.

    Example: stenopool run s3://calls/2026-11 s3://transcripts/2026-11 --language en
    """
    _print_reports(_ingest(source, destination, options, execution, selection), as_json=as_json)


@with_options(options=TranscriptionOptions, execution=ExecutionOptions)
def retry(
    destination: DestinationArgument,
    options: TranscriptionOptions,
    execution: ExecutionOptions,
    code: Annotated[list[ErrorCode] | None, typer.Option(help="Retry only recordings with this error code.")] = None,
    source: Annotated[str | None, typer.Option(help="Source of the recordings (default: that of their batch).")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Retry quarantined recordings, with their original options unless you give others.

    Recordings that no longer exist in their source are removed from quarantine.

    Example: stenopool retry ./transcripts --code DECODE_TIMEOUT
    """
    store = open_existing(destination)
    quarantined = list_quarantined(store, code or ())
    if not quarantined:
        print_line("No recordings are quarantined" + (f" with {', '.join(code)}." if code else "."), err)
        if as_json:
            print(json.dumps(_NOTHING))
        return
    chosen = None if options == TranscriptionOptions() else options
    attempts = plan_attempts(store, quarantined, source, chosen, open_location)
    if not attempts:
        raise typer.BadParameter(f"{destination} has no batch yet: add --source.")
    attempts, gone = drop_deleted(store, attempts, open_location)
    for key in gone:
        print_line(f"{key} no longer exists in its source: removed from quarantine.", err)
    if not attempts:
        if as_json:
            print(json.dumps(_NOTHING))
        return
    reports, refused = list[BatchReport](), list[SetupError]()
    for place, tried, keys in attempts:
        selection = Selection(only=keys, include=("*",))
        try:
            reports.append(_ingest(place, destination, tried, execution, selection, retry=code or []))
        except SetupError as error:  # a missing model or source must not prevent the other retries
            refused.append(error)
            print_line(f"{len(keys)} recordings were not retried. {error}", err, "red")
    if not reports:
        raise refused[0]
    _print_reports(*reports, as_json=as_json)
    if refused:
        raise typer.Exit(1)


def demo(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Folder for the files of the demo.")] = Path(
        "stenopool-demo"
    ),
) -> None:
    """Transcribe a telephone call between two people, which comes with an installed package.

    Example: stenopool demo ./stenopool-demo
    """
    recordings, transcripts = folder / "recordings", folder / "transcripts"
    recordings.mkdir(parents=True, exist_ok=True)
    if not (recordings / _DEMO_KEY).exists():
        copyfile(_find_sample(), recordings / _DEMO_KEY)
    selection = Selection(only=(_DEMO_KEY,))
    report = _ingest(str(recordings), str(transcripts), TranscriptionOptions(), ExecutionOptions(), selection)
    transcript = transcripts / output_key(_DEMO_KEY, "json")
    if transcript.exists():
        print_transcript(Transcript.model_validate_json(transcript.read_bytes()), out)
        print_line("")
        print_line(f"Open {transcript.with_suffix('.html').resolve()} in a browser.")
        print_line("All files: " + ", ".join(sorted(path.name for path in transcript.parent.iterdir())))
    _print_reports(report, as_json=False)


def _find_sample() -> Path:
    """The sample of pyannote.audio, 30 seconds of a call. Located without an import, which would be slow."""
    spec = find_spec("pyannote")
    for root in spec.submodule_search_locations or () if spec else ():
        sample = Path(root) / "audio" / "sample" / "sample.wav"
        if sample.exists():
            return sample
    raise extras.missing_extra("The demo's telephone call", "pyannote-audio", "diarization")


def _ingest(
    source: str,
    destination: str,
    options: TranscriptionOptions,
    execution: ExecutionOptions,
    selection: Selection,
    retry: list[ErrorCode] | None = None,
) -> BatchReport:
    """Run the flow and show its progress on stderr.

    Raises `SetupError` if a check fails before Prefect starts. Exits with 130 or 143 when it is stopped.
    """
    # Checked first: starting Prefect takes longer than anything else here.
    from stenopool.speech.loaded import check_models

    check_models(options, execution)
    from stenopool.orchestration import embedded

    embedded.set_environment()  # Prefect loads blocks
    stores = open_location(source, must_exist=True), open_location(destination)
    check_stores(*stores, selection)
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
        print_line("Stopped. Finished transcripts are kept. To continue, run the same command again.", err)
        raise typer.Exit(130 if isinstance(stop, KeyboardInterrupt) else 143) from None


def _preload_models(
    entries: Iterable[CatalogEntry], options: TranscriptionOptions, execution: ExecutionOptions
) -> None:
    """While Prefect starts, load the models, if one of the first recordings listed is new.

    Ignores errors: they occur again in the flow, which reports them.
    """
    from stenopool.speech.loaded import loaded_models

    with suppress(StenopoolError):
        if any(entry.state == "new" for entry in islice(entries, _LISTED)):
            loaded_models().engine(options, execution)
            if options.diarization != "off":
                loaded_models().diarizer(options.diarization, execution)


def _print_reports(*reports: BatchReport, as_json: bool) -> None:
    """Print the reports, as one object with ``as_json``. Exits with 1 if recordings failed."""
    # Otherwise, the interpreter traverses all objects once more before it exits: 1 s with torch.
    gc.freeze()
    if as_json:
        print(reports[0].model_dump_json() if len(reports) == 1 else _merge(reports))
    for report in () if as_json else reports:
        if writes_json():
            logger.info("%s: %d done, %d failed", report.destination, report.done, len(report.failed))
            continue
        err.print(tabulate_report(report))
        if report.failed:
            err.print(tabulate_failures(report))
        print_line(f"Transcripts are in {report.destination}", err)
    if any(report.failed for report in reports):
        raise typer.Exit(1)


def _merge(reports: Sequence[BatchReport]) -> str:
    batches = [report.model_dump(mode="json") for report in reports]
    found: dict[str, Any] = {name: sum(batch[name] for batch in batches) for name in ("new", "done")}
    return json.dumps(found | {"failed": [one for batch in batches for one in batch["failed"]], "batches": batches})
