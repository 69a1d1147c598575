"""The commands that read a destination or clean it: ``plan``, ``status``, ``show``, ``clean``."""

import json
from collections import Counter
from datetime import timedelta
from itertools import groupby, islice
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError
from rich.filesize import decimal

from stenopool.cli.display import out, print_line
from stenopool.cli.parameters import DestinationArgument, JsonFlag, SourceArgument, with_options
from stenopool.models.suitability import check_options
from stenopool.options import Format, SubtitleOptions, TranscriptionOptions
from stenopool.orchestration.blocks.locations import open_existing, open_location
from stenopool.pipeline import receipts, speaker_names
from stenopool.pipeline.catalog import Selection
from stenopool.pipeline.housekeeping import RemovedObjects, remove_leftovers
from stenopool.pipeline.preflight import check_source
from stenopool.pipeline.report import read_reports
from stenopool.pipeline.shards import Plan
from stenopool.speech.renderers import render
from stenopool.speech.renderers.terminal import print_transcript
from stenopool.speech.transcript import Transcript

_SHOWN_REPORTS = 5
_SHOWN_FAILURES = 50
_NEVER = "never"


@with_options(options=TranscriptionOptions, selection=Selection)
def plan(
    source: SourceArgument,
    destination: DestinationArgument,
    options: TranscriptionOptions,
    selection: Selection,
    cost_per_hour: Annotated[
        float | None, typer.Option(help="Price per hour of audio. Adds an estimate of the cost.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Dry run: show what would be transcribed (new, done, quarantined, hours) and change nothing.

    Example: stenopool plan ./recordings ./transcripts
    """
    check_options(options)
    stores = open_location(source, must_exist=True), open_location(destination)
    if not selection.only:
        check_source(*stores, selection)
    planned = Plan(*stores, options, selection)
    for _ in planned.items():
        pass
    hours = {state: planned.seconds[state] / 3600 for state in ("new", "done", "quarantined", "waiting")}
    codes = Counter(one.failure.code for one in planned.unusable)
    if as_json:
        found: dict[str, Any] = {state: planned.counts[state] for state in hours}
        found["estimated_hours"] = hours
        found["to_restore"] = dict(planned.archived)
        found["failures_by_code"] = codes
        found["estimated_cost"] = None if cost_per_hour is None else hours["new"] * cost_per_hour
        found["failed"] = [failed.model_dump(mode="json") for failed in planned.unusable]
        print(json.dumps(found))
        return
    for state, length in hours.items():
        if planned.counts[state] or state != "waiting":
            print_line(f"{state:<12} {planned.counts[state]:>8}   about {length:.2f} hours")
    if planned.archived:
        print_line(f"to restore first: {', '.join(f'{n} in {kind}' for kind, n in sorted(planned.archived.items()))}")
    for code, count in sorted(codes.items()):
        print_line(f"{code:<20} {count:>8}   {code.remedy}")
    for failed in planned.unusable[:_SHOWN_FAILURES] if selection.only else ():
        print_line(f"  {failed.failure.code}  {failed.key}  {failed.failure.message}")
    if cost_per_hour is not None:
        print_line(f"estimated cost of the new recordings: {hours['new'] * cost_per_hour:.2f}")


def status(
    destination: DestinationArgument,
    limit: Annotated[int, typer.Option(help="Maximum number of failures to show.")] = 50,
    as_json: JsonFlag = False,
) -> None:
    """Show what is done, what is quarantined and why, and the last five batches of a destination.

    Example: stenopool status ./transcripts
    """
    store = open_existing(destination)
    counts = {"done": 0, "quarantined": 0}
    quarantined: list[receipts.Receipt] = []
    for _, group in groupby(receipts.list_receipts(store), attrgetter("key")):
        names = list(group)
        refused = [name for name in names if name.status == "quarantined"]
        counts["done"] += len(names) - len(refused)
        counts["quarantined"] += bool(refused)  # once per recording, for all its versions and options
        if refused and len(quarantined) < limit:
            read = (receipt for name in refused if (receipt := receipts.read(store, name)))
            quarantined += sorted(read, key=attrgetter("created_at"))[-1:]
    reports = list(islice(read_reports(store), _SHOWN_REPORTS))
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
            print_line(f"  {failure.code}  {receipt.key}  {failure.message} {failure.remedy}")
    for report in reports:
        codes = ", ".join(f"{code} {count}" for code, count in sorted(report.failures_by_code.items()))
        failed = f"{len(report.failed)} failed" + (f" ({codes})" if codes else "")
        counted = f"{report.done} done, {failed}, {report.realtime_factor:.1f}× real time"
        print_line(f"batch {report.batch}: {counted}")


@with_options(subtitles=SubtitleOptions)
def show(
    transcript: Annotated[
        str, typer.Argument(help="A transcript.json or its folder: a path, s3:// or block:// address.")
    ],
    subtitles: SubtitleOptions,
    format: Annotated[Format | None, typer.Option(help="Print this format instead.")] = None,
) -> None:
    """Print a transcript: with coloured speakers, or in another format or subtitle style.

    Example: stenopool show transcripts/call.wav --format srt --max-line-width 32
    """
    folder, _, name = transcript.rstrip("/").rpartition("/")
    if not name.endswith(".json"):
        folder, name = transcript, "transcript.json"
    store = open_location(folder or str(Path.cwd()), must_exist=True)
    found = Transcript.model_validate_json(store.get_bytes(name))
    named = speaker_names.apply_names(found, speaker_names.read(store, "", found))
    if format:
        print(render(named, format, subtitles), end="")
    else:
        print_transcript(named, out)


def clean(
    destination: DestinationArgument,
    work_older_than: Annotated[
        str,
        typer.Option(
            metavar="AGE",
            help="Delete checkpoints and partial files older than this: 30m, 12h, 7d. Use more than your longest run.",
        ),
    ] = "7d",
    batches_older_than: Annotated[
        str,
        typer.Option(
            metavar="AGE|never", help="Delete batches (manifests, reports) older than this; the last one is kept."
        ),
    ] = _NEVER,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be deleted, and delete nothing.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Delete old files that interrupted runs left behind. Receipts and transcripts are never deleted.

    Example: stenopool clean s3://transcripts/2026-11 --work-older-than 7d --batches-older-than 90d
    """
    work = _parse_age(work_older_than, "--work-older-than")
    batches = None if batches_older_than == _NEVER else _parse_age(batches_older_than, "--batches-older-than")
    store = open_existing(destination)
    cleaned = remove_leftovers(store, work_older_than=work, batches_older_than=batches, dry_run=dry_run)
    if as_json:
        print(cleaned.model_dump_json())
        return
    verb = "would delete" if dry_run else "deleted"
    print_line(f"{verb} the checkpoints of {_describe(cleaned.work, 'recordings')}")
    if batches is not None:
        print_line(f"{verb} {_describe(cleaned.batches, 'batches')}")
    if cleaned.partial is not None:
        print_line(f"{verb} {cleaned.partial} partial files")


def _parse_age(age: str, option: str) -> float:
    """Convert an age such as ``30m``, ``12h`` or ``7d``, which is ISO 8601 without P and T, to seconds."""
    try:
        text = f"{'PT' if age.endswith(('s', 'm', 'h')) else 'P'}{age.upper()}"
        return TypeAdapter(timedelta).validate_python(text).total_seconds()
    except ValidationError:
        message = f"Invalid age {age!r}. Examples: 30m, 12h, 7d."
        raise typer.BadParameter(message, param_hint=option) from None


def _describe(removed: RemovedObjects, what: str) -> str:
    return f"{removed.folders} {what}: {removed.objects} objects, {decimal(removed.bytes)}"
