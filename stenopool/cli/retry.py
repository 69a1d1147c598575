"""``stenopool retry``: quarantined recordings once more."""

import json
from collections.abc import Collection, Iterator
from typing import Annotated

import typer
from rich.console import Console

from stenopool.cli.arguments import DestinationArgument, JsonFlag
from stenopool.cli.ingest import ingest, print_report
from stenopool.cli.parameters import with_options
from stenopool.errors import ErrorCode
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.orchestration.blocks.locations import open_location
from stenopool.pipeline.catalog import Selection
from stenopool.pipeline.history import read_reports
from stenopool.pipeline.receipts import Receipt, list_receipts, read_or_skip
from stenopool.storage import ObjectStore

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
    store = open_location(destination, must_exist=True)
    last = next(read_reports(store), None)
    if last is None and source is None:
        raise typer.BadParameter(f"{destination} has no batch yet: name the --source.")
    if last and options == TranscriptionOptions():
        options = TranscriptionOptions.model_validate(last.options)
    wanted = frozenset(code or ())
    keys = sorted({receipt.key for receipt in _quarantined(store, wanted)})
    if not keys:
        err.print("Nothing is in quarantine" + (f" for {', '.join(wanted)}." if wanted else "."))
        if as_json:
            print(json.dumps({"new": 0, "done": 0, "failed": []}))
        return
    source = source or (last.source if last else "")
    report = ingest(
        source, destination, options, execution, Selection(only=tuple(keys), include=("*",)), retry=list(wanted)
    )
    print_report(report, as_json=as_json)


def _quarantined(store: ObjectStore, codes: Collection[ErrorCode]) -> Iterator[Receipt]:
    for name in list_receipts(store):
        receipt = read_or_skip(store, name) if name.status == "quarantined" else None
        if receipt and receipt.failure and (not codes or receipt.failure.code in codes):
            yield receipt
