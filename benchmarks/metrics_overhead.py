"""The overhead of metrics: the flow `ingest` with and without them, in alternating rounds.

    uv run python -m benchmarks.metrics_overhead

With: every hook (tallies, counts of the batch, fields of the log), an exporter that refreshes every 15 s and, if
Debian's is installed, a Prometheus that scrapes it. Without: the hooks do nothing, and neither program runs. Wall time
on a shared machine is too noisy for one per cent, so two shares are also measured directly: the time inside the hooks,
and the CPU time of the exporter.
"""

import argparse
import asyncio
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

from rich.console import Console
from rich.table import Table

from benchmarks.speech_set import SPEECH, SpeechSet
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.pipeline.report import BatchReport
from tests.support.exporter import Exporter
from tests.support.prometheus import Prometheus

OPTIONS = TranscriptionOptions(diarization="off")
EXECUTION = ExecutionOptions()
_TICK = os.sysconf("SC_CLK_TCK")


class Hooks:
    """The hooks in the flow: switched off, or timed. ``seconds``: total over all threads."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def off(self) -> Iterator[None]:
        from stenopool.pipeline.report import BatchCounts
        from stenopool.pipeline.stages import publish

        with ExitStack() as stack:
            stack.enter_context(patch.object(BatchCounts, "write", lambda *_: None))
            stack.enter_context(patch.object(BatchCounts, "_with", lambda counts, *_: counts))
            stack.enter_context(patch.object(publish, "all_flags", lambda _: ()))
            stack.enter_context(patch("stenopool.pipeline.runner.log_context", lambda **_: nullcontext()))
            stack.enter_context(patch("stenopool.runtime.logs.log_context", lambda **_: nullcontext()))
            yield

    @contextmanager
    def timed(self) -> Iterator[None]:
        from stenopool.orchestration import batches
        from stenopool.pipeline.outcomes import Totals
        from stenopool.pipeline.report import BatchCounts
        from stenopool.pipeline.stages import publish

        with ExitStack() as stack:
            for owner, name in (
                (BatchCounts, "write"),
                (BatchCounts, "_with"),
                (Totals, "add"),
            ):
                stack.enter_context(patch.object(owner, name, self._timing(getattr(owner, name))))
            stack.enter_context(patch.object(publish, "all_flags", self._timing(publish.all_flags)))
            stack.enter_context(patch.object(batches, "fold", self._timing(batches.fold)))
            yield

    def _timing(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            begin = time.perf_counter()
            try:
                return real(*arguments, **named)
            finally:
                self.seconds += time.perf_counter() - begin

        return timed


@contextmanager
def watching(folder: Path, destination: Path) -> Iterator[int]:
    """Start an exporter, and a Prometheus that scrapes it at the usual interval; return the exporter's process."""
    with ExitStack() as stack:
        exporter = Exporter(folder, str(destination), interval=15)
        stack.callback(exporter.kill)
        exporter.start()
        if shutil.which("prometheus"):
            prometheus = Prometheus(folder, {"stenopool-exporter": exporter.target}, every="15s")
            stack.callback(prometheus.kill)
            prometheus.start()
        if exporter.process is None:
            raise RuntimeError("the exporter has no process")
        yield exporter.process.pid


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def timed(source: Path, destination: Path, recordings: int) -> float:
    """Seconds of a batch."""
    begin = time.monotonic()
    done = batch(source, destination).done
    seconds = time.monotonic() - begin
    if done != recordings:
        raise SystemExit(f"{done} of {recordings} recordings were done")
    return seconds


def batch(source: Path, destination: Path) -> BatchReport:
    from stenopool.orchestration import entrypoints

    ingest = entrypoints.load("ingest")

    report: BatchReport = asyncio.run(ingest(str(source), str(destination), options=OPTIONS, execution=EXECUTION))
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, default=SPEECH, help="Folder of recordings with a manifest.json.")
    parser.add_argument("--recordings", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    from stenopool.orchestration import embedded

    embedded.begin()
    embedded.ready()
    times: dict[str, list[float]] = {"without": [], "with": []}
    hooks, exporter_cpu = Hooks(), 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, watched = folder / "source", folder / "destinations" / "warm"
        source.mkdir()
        chosen = SpeechSet(arguments.speech, folder).of("en_short")[: arguments.recordings]
        for number, item in enumerate(chosen):
            shutil.copyfile(arguments.speech / item.file, source / f"{number:03d}{Path(item.file).suffix}")
        batch(source, watched)  # loads the model
        for n in range(arguments.rounds):
            # Alternating, so that other load on the machine affects both.
            for kind in ("without", "with") if n % 2 else ("with", "without"):
                destination = folder / "destinations" / f"{kind}{n}"
                if kind == "with":
                    with watching(folder, destination) as exporter, hooks.timed():
                        before = cpu_seconds(exporter)
                        times[kind].append(timed(source, destination, len(chosen)))
                        exporter_cpu += cpu_seconds(exporter) - before
                else:
                    with hooks.off():
                        times[kind].append(timed(source, destination, len(chosen)))
    ratios = [one / other for one, other in zip(times["with"], times["without"], strict=True)]
    table = Table("", *(f"round {n + 1}" for n in range(arguments.rounds)), "median", title=f"{len(chosen)} recordings")
    for kind, seconds in times.items():
        table.add_row(f"{kind} metrics, s", *(f"{s:.1f}" for s in seconds), f"{statistics.median(seconds):.1f}")
    table.add_row("with / without", *(f"{r:.3f}" for r in ratios), f"{statistics.median(ratios):.3f}")
    console, total = Console(), sum(times["with"])
    console.print(table)
    console.print(f"In the hooks: {hooks.seconds * 1000:.0f} ms of {total:.1f} s, {100 * hooks.seconds / total:.2f} %")
    share = 100 * exporter_cpu / (total * (os.cpu_count() or 1))
    console.print(f"CPU of the exporter: {exporter_cpu:.2f} s, {share:.2f} % of the machine meanwhile")


if __name__ == "__main__":
    main()
