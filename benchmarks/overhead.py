"""The overhead of Prefect: the flow `ingest` compared with the same stages called directly, in one process.

    uv run python benchmarks/overhead.py

60 short recordings, the default engine, real weights, diarization off (it would hide the overhead). Both run in turn,
with models loaded and the server started before; the start of the server is reported separately.
"""

import argparse
import asyncio
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import anyio
from rich.console import Console
from rich.table import Table

from benchmarks.speech_set import SPEECH, SpeechSet
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.pipeline.catalog import Selection
from stenopool.pipeline.context import RunContext, Stage
from stenopool.pipeline.runner import BatchRunner
from stenopool.pipeline.shards import Plan, batches, split_into_shards
from stenopool.pipeline.stages import SHARD_STAGES
from stenopool.runtime.scratch import Scratch
from stenopool.settings import get_settings
from stenopool.storage import open_store

OPTIONS = TranscriptionOptions(diarization="off")
EXECUTION = ExecutionOptions()


async def directly(source: Path, destination: Path) -> int:
    """Run the same stages without Prefect, batch after batch; return the number of transcripts."""
    settings = get_settings().batch
    with Scratch() as scratch:
        run = RunContext(open_store(str(source)), open_store(str(destination)), OPTIONS, EXECUTION, scratch)
        items = Plan(run.source, run.destination, OPTIONS, Selection()).items()
        for shard in split_into_shards(items, "direct", settings):
            for batch in batches(shard.items, settings):
                runner = BatchRunner(run, SHARD_STAGES, batch, {})
                async with anyio.create_task_group() as group:
                    for stage in runner.stages:
                        group.start_soon(carry_stage, runner, stage)
    return sum(outcome.status == "done" for outcome in run.log.outcomes)


async def carry_stage(runner: BatchRunner, stage: Stage) -> None:
    """One stage of one batch."""
    if await runner.has_work(stage):
        await runner.attempt(stage)
    runner.close(stage)


async def by_flow(source: Path, destination: Path) -> int:
    from stenopool.orchestration import entrypoints

    ingest = entrypoints.load("ingest")

    return (await ingest(str(source), str(destination), options=OPTIONS, execution=EXECUTION)).done


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, default=SPEECH, help="Folder of recordings with a manifest.json.")
    parser.add_argument("--recordings", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()

    from stenopool.orchestration import embedded

    begin = time.monotonic()
    embedded.begin()
    embedded.ready()
    from stenopool.orchestration import entrypoints

    entrypoints.load("ingest")

    start_up = time.monotonic() - begin
    times: dict[str, list[float]] = {"stages": [], "flow": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "source"
        source.mkdir()
        speech = SpeechSet(arguments.speech, folder)
        chosen = [*speech.of("en_short"), *speech.of("lang_short")][: arguments.recordings]
        for number, item in enumerate(chosen):
            shutil.copyfile(arguments.speech / item.file, source / f"{number:03d}{Path(item.file).suffix}")
        asyncio.run(directly(source, folder / "warm"))  # loads the model
        for n in range(arguments.rounds):
            for kind in times:
                begin = time.monotonic()
                destination = folder / f"{kind}{n}"
                carry = directly if kind == "stages" else by_flow
                done = asyncio.run(carry(source, destination))
                times[kind].append(time.monotonic() - begin)
                if done != len(chosen):
                    raise SystemExit(f"{kind}: {done} of {len(chosen)} recordings were done")
    ratios = [flow / stages for flow, stages in zip(times["flow"], times["stages"], strict=True)]
    table = Table("", *(f"round {n + 1}" for n in range(arguments.rounds)), "median", title=f"{len(chosen)} recordings")
    for kind, seconds in times.items():
        table.add_row(f"{kind}, s", *(f"{s:.1f}" for s in seconds), f"{statistics.median(seconds):.1f}")
    table.add_row("flow / stages", *(f"{r:.3f}" for r in ratios), f"{statistics.median(ratios):.3f}")
    console = Console()
    console.print(table)
    console.print(f"Start of Prefect (server and imports), not in these times: {start_up:.1f} s")


if __name__ == "__main__":
    main()
