"""``stenopool retry``: quarantined recordings once more."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console

from stenopool.cli.arguments import DestinationArgument, JsonFlag
from stenopool.cli.ingest import ingest, print_report
from stenopool.cli.parameters import with_options
from stenopool.cli.status import last_reports
from stenopool.errors import ErrorCode
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.pipeline import receipts
from stenopool.pipeline.catalog import Selection
from stenopool.storage import open_store

err = Console(stderr=True)


@with_options(options=TranscriptionOptions, execution=ExecutionOptions)
def retry(
    destination: DestinationArgument,
    options: TranscriptionOptions,
    execution: ExecutionOptions,
    code: Annotated[list[ErrorCode] | None, typer.Option(help="Only recordings that failed with this code.")] = None,
    source: Annotated[str | None, typer.Option(help="The source; else that of the last batch.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Take quarantined recordings up again, with the options they were tried with.

    Example: stenopool retry ./transcripts --code DECODE_TIMEOUT
    """
    store = open_store(destination, must_exist=True)
    last = last_reports(store)
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
    print_report(report, as_json=as_json)


def _code(store: Any, name: receipts.ReceiptName) -> ErrorCode | None:
    failure = receipts.read(store, name.key, name.fingerprint, "quarantined").failure
    return failure.code if failure else None
