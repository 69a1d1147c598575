"""``stenopool retry``: quarantined recordings once more."""

import json
from typing import Annotated

import typer

from stenopool.cli.arguments import DestinationArgument, JsonFlag
from stenopool.cli.console import err, print_line
from stenopool.cli.ingest import ingest, print_reports
from stenopool.cli.parameters import with_options
from stenopool.errors import ErrorCode, SetupError
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.orchestration.blocks.locations import open_location
from stenopool.pipeline.catalog import Selection
from stenopool.pipeline.quarantine import list_quarantined, plan_attempts
from stenopool.pipeline.report import BatchReport


@with_options(options=TranscriptionOptions, execution=ExecutionOptions)
def retry(
    destination: DestinationArgument,
    options: TranscriptionOptions,
    execution: ExecutionOptions,
    code: Annotated[list[ErrorCode] | None, typer.Option(help="Only recordings that failed with this code.")] = None,
    source: Annotated[str | None, typer.Option(help="The source (default: that of the recordings' batch).")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Retry quarantined recordings, each with the options it was quarantined with unless others are given.

    Example: stenopool retry ./transcripts --code DECODE_TIMEOUT
    """
    store = open_location(destination, must_exist=True)
    quarantined = list_quarantined(store, code or ())
    if not quarantined:
        print_line("Nothing is in quarantine" + (f" for {', '.join(code)}." if code else "."), err)
        if as_json:
            print(json.dumps({"new": 0, "done": 0, "failed": []}))
        return
    chosen = None if options == TranscriptionOptions() else options
    attempts = plan_attempts(store, quarantined, source, chosen, open_location)
    if not attempts:
        raise typer.BadParameter(f"{destination} has no batch yet: name the --source.")
    reports, refused = list[BatchReport](), list[SetupError]()
    for place, tried, keys in attempts:
        selection = Selection(only=keys, include=("*",))
        try:
            reports.append(ingest(place, destination, tried, execution, selection, retry=code or []))
        except SetupError as error:  # a model or a source that is gone is no reason not to retry the others
            refused.append(error)
            print_line(f"{len(keys)} recordings are not retried. {error}", err, "red")
    if not reports:
        raise refused[0]
    print_reports(*reports, as_json=as_json)
    if refused:
        raise typer.Exit(1)
