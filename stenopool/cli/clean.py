"""``stenopool clean``: what interrupted runs left at a destination."""

import re
from typing import Annotated

import typer
from rich.console import Console
from rich.filesize import decimal

from stenopool.cli.arguments import DestinationArgument, JsonFlag
from stenopool.orchestration.blocks.locations import open_location
from stenopool.pipeline.housekeeping import RemovedObjects, remove_leftovers

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_AGE = re.compile(rf"(\d+(?:\.\d+)?)([{''.join(_SECONDS)}])")
_NEVER = "never"


def seconds(age: str, option: str) -> float:
    """Seconds from ``30m``, ``12h``, ``7d``."""
    found = _AGE.fullmatch(age)
    if found is None:
        raise typer.BadParameter(f"{age!r} is no age: write it like 30m, 12h or 7d.", param_hint=option)
    return float(found[1]) * _SECONDS[found[2]]


def clean(
    destination: DestinationArgument,
    work_older_than: Annotated[
        str,
        typer.Option(
            metavar="AGE",
            help="Checkpoints and unfinished writes older than this: 30m, 12h, 7d. Let it be longer than any run.",
        ),
    ] = "7d",
    batches_older_than: Annotated[
        str, typer.Option(metavar="AGE|never", help="Batches (manifests, reports) older than this; the last one stays.")
    ] = _NEVER,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Remove what interrupted runs left behind, by age; never receipts or transcripts.

    Example: stenopool clean s3://transcripts/2026-11 --work-older-than 7d --batches-older-than 90d
    """
    work = seconds(work_older_than, "--work-older-than")
    batches = None if batches_older_than == _NEVER else seconds(batches_older_than, "--batches-older-than")
    store = open_location(destination, must_exist=True)
    cleaned = remove_leftovers(store, work_older_than=work, batches_older_than=batches, dry_run=dry_run)
    if as_json:
        print(cleaned.model_dump_json())
        return
    verb = "would remove" if dry_run else "removed"
    lines = [f"{verb} the checkpoints of {_counted(cleaned.work, 'recordings')}"]
    if batches is not None:
        lines.append(f"{verb} {_counted(cleaned.batches, 'batches')}")
    if cleaned.partial is not None:
        lines.append(f"{verb} {cleaned.partial} unfinished writes")
    for line in lines:
        Console().print(line, highlight=False, soft_wrap=True)


def _counted(removed: RemovedObjects, what: str) -> str:
    return f"{removed.folders} {what}: {removed.objects} objects, {decimal(removed.bytes)}"
