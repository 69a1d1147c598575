"""``stenopool status``: what a destination holds."""

import json
from itertools import islice
from typing import Annotated

import typer

from stenopool.cli.arguments import DestinationArgument, JsonFlag
from stenopool.cli.console import print_line
from stenopool.orchestration.blocks.locations import open_location
from stenopool.pipeline import receipts
from stenopool.pipeline.report import read_reports
from stenopool.runtime.logs import printable

_REPORTS = 5


def status(
    destination: DestinationArgument,
    limit: Annotated[int, typer.Option(help="Maximum number of failures to show.")] = 50,
    as_json: JsonFlag = False,
) -> None:
    """Show what a destination holds: done, quarantined and why, the last batches.

    Example: stenopool status ./transcripts
    """
    store = open_location(destination, must_exist=True)
    counts = {"done": 0, "quarantined": 0}
    quarantined: list[receipts.Receipt] = []
    for name in receipts.list_receipts(store):
        counts[name.status] += 1
        if name.status == "quarantined" and len(quarantined) < limit and (receipt := receipts.read(store, name)):
            quarantined.append(receipt)
    reports = list(islice(read_reports(store), _REPORTS))
    if as_json:
        found = {
            **counts,
            "failures": [receipt.model_dump(mode="json") for receipt in quarantined],
            "batches": [report.model_dump(mode="json", exclude={"failed"}) for report in reports],
        }
        print(json.dumps(found))
        return
    print_line(f"{counts['done']} done, {counts['quarantined']} quarantined")
    for receipt in quarantined:
        if receipt.failure:
            failure = receipt.failure
            print_line(f"  {failure.code}  {printable(receipt.key)}  {failure.message} {failure.remedy}")
    for report in reports:
        counted = f"{report.done} done, {len(report.failed)} failed, {report.realtime_factor:.1f}×"
        print_line(f"batch {report.batch}: {counted}")
