"""``stenopool plan``: a dry run."""

import json
from typing import Annotated, Any

import typer

from stenopool.cli.arguments import DestinationArgument, JsonFlag, SourceArgument
from stenopool.cli.console import print_line
from stenopool.cli.parameters import with_options
from stenopool.options import TranscriptionOptions
from stenopool.orchestration.blocks.locations import open_location
from stenopool.pipeline.catalog import Selection
from stenopool.pipeline.shards import Plan


@with_options(options=TranscriptionOptions, selection=Selection)
def plan(
    source: SourceArgument,
    destination: DestinationArgument,
    options: TranscriptionOptions,
    selection: Selection,
    cost_per_hour: Annotated[
        float | None, typer.Option(help="Your price for an hour of audio, for an estimate of the cost.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Dry run: show what would be transcribed (new, done, quarantined, hours) and change nothing.

    Example: stenopool plan ./recordings ./transcripts
    """
    planned = Plan(open_location(source, must_exist=True), open_location(destination), options, selection)
    for _ in planned.items():
        pass
    hours = {state: planned.seconds[state] / 3600 for state in ("new", "done", "quarantined")}
    if as_json:
        found: dict[str, Any] = {state: planned.counts[state] for state in hours}
        found["estimated_hours"] = hours
        found["estimated_cost"] = None if cost_per_hour is None else hours["new"] * cost_per_hour
        print(json.dumps(found))
        return
    for state, length in hours.items():
        print_line(f"{state:<12} {planned.counts[state]:>8}   about {length:.2f} hours")
    if cost_per_hour is not None:
        print_line(f"estimated cost of the new ones: {hours['new'] * cost_per_hour:.2f}")
