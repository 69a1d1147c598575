"""``stenopool clean``: what interrupted runs left at a destination."""

from datetime import timedelta
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError
from rich.filesize import decimal

from stenopool.cli.arguments import DestinationArgument, JsonFlag
from stenopool.cli.console import print_line
from stenopool.orchestration.blocks.locations import open_location
from stenopool.pipeline.housekeeping import RemovedObjects, remove_leftovers

_NEVER = "never"


def _parse_age(age: str, option: str) -> float:
    """Seconds in ``30m``, ``12h``, ``7d``: ISO 8601 without its P and T."""
    try:
        text = f"{'PT' if age.endswith(('s', 'm', 'h')) else 'P'}{age.upper()}"
        return TypeAdapter(timedelta).validate_python(text).total_seconds()
    except ValidationError:
        message = f"{age!r} is not an age: write it like 30m, 12h or 7d."
        raise typer.BadParameter(message, param_hint=option) from None


def clean(
    destination: DestinationArgument,
    work_older_than: Annotated[
        str,
        typer.Option(
            metavar="AGE",
            help="Checkpoints and unfinished writes older than this: 30m, 12h, 7d. Must be longer than any run.",
        ),
    ] = "7d",
    batches_older_than: Annotated[
        str, typer.Option(metavar="AGE|never", help="Batches (manifests, reports) older than this; the last one stays.")
    ] = _NEVER,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed, and remove nothing.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Remove by age what interrupted runs left behind; never receipts or transcripts.

    Example: stenopool clean s3://transcripts/2026-11 --work-older-than 7d --batches-older-than 90d
    """
    work = _parse_age(work_older_than, "--work-older-than")
    batches = None if batches_older_than == _NEVER else _parse_age(batches_older_than, "--batches-older-than")
    store = open_location(destination, must_exist=True)
    cleaned = remove_leftovers(store, work_older_than=work, batches_older_than=batches, dry_run=dry_run)
    if as_json:
        print(cleaned.model_dump_json())
        return
    verb = "would remove" if dry_run else "removed"
    print_line(f"{verb} the checkpoints of {_describe(cleaned.work, 'recordings')}")
    if batches is not None:
        print_line(f"{verb} {_describe(cleaned.batches, 'batches')}")
    if cleaned.partial is not None:
        print_line(f"{verb} {cleaned.partial} unfinished writes")


def _describe(removed: RemovedObjects, what: str) -> str:
    return f"{removed.folders} {what}: {removed.objects} objects, {decimal(removed.bytes)}"
