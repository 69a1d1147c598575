"""``stenopool status``: what a destination holds."""

import json
from itertools import islice
from typing import Annotated, Any

import typer
from rich.console import Console

from stenopool.cli.arguments import DestinationArgument, JsonFlag
from stenopool.pipeline import receipts
from stenopool.pipeline.history import list_reports
from stenopool.pipeline.report import BatchReport
from stenopool.runtime.logs import printable
from stenopool.storage import open_store

out = Console()


def status(
    destination: DestinationArgument,
    limit: Annotated[int, typer.Option(help="Most failures shown.")] = 50,
    as_json: JsonFlag = False,
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
    reports = last_reports(store)
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


def last_reports(store: Any, most: int = 5) -> list[BatchReport]:
    return [BatchReport.model_validate_json(store.get_bytes(key)) for key in islice(list_reports(store), most)]
