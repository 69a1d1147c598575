"""Console output: results go to ``out``, everything else to ``err``; progress while a batch runs.

Progress is bars on a terminal, and one line per recording in a pipe or a CI log.
"""

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.style import Style
from rich.table import Table
from rich.text import Text

from stenopool.pipeline.report import BatchReport
from stenopool.runtime.logs import Event, logger, printable, subscribe, writes_json
from stenopool.speech.clock_text import format_duration

out = Console()
err = Console(stderr=True)

_STEPS = {"prepared": "prepare", "transcribed": "transcribe", "diarized": "diarize", "done": "done"}


def print_line(text: str, console: Console = out, style: str | None = None) -> None:
    """Print one line without wrapping, as logs need it. Markup and control characters in it have no effect."""
    console.print(printable(text), style=style, markup=False, highlight=False, soft_wrap=True)


def print_addresses(title: str, rows: Mapping[str, str], end: str) -> None:
    """Print a block on ``out``, without rows that have no value. On a terminal, addresses and paths are links."""
    text = Text.assemble((title, "bold"), "\n\n")
    for name, value in ((name, value) for name, value in rows.items() if value):
        link = value if value.startswith("http") else Path(value).as_uri() if value.startswith("/") else None
        text.append(f"  {name:<13}").append(printable(value), Style(link=link)).append("\n")
    out.print(text.append(f"\n{end}"), soft_wrap=True, highlight=False)


@contextmanager
def show_progress(console: Console, *, diarize: bool) -> Iterator[None]:
    """Show progress on the console while the block runs, unless the log is JSON, which has the same events."""
    if writes_json():
        yield
        return
    if not console.is_terminal:
        with _show_warnings(console), subscribe(lambda event: _print_event(console, event)):
            yield
        return
    columns = (TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars, _show_warnings(bars.console):
        steps = {kind: name for kind, name in _STEPS.items() if diarize or kind != "diarized"}
        tasks = {kind: bars.add_task(name, total=0) for kind, name in steps.items()}
        planned = 0
        lock = threading.Lock()

        def listen(event: Event) -> None:
            nonlocal planned
            with lock:
                if event.kind in tasks:
                    bars.advance(tasks[event.kind])
                    return
                # A failed recording does not reach the remaining steps.
                planned += {"planned": 1, "failed": -1}.get(event.kind, 0)
                for task in tasks.values():
                    bars.update(task, total=planned)
                if event.failure:
                    _print_event(bars.console, event)

        with subscribe(listen):
            yield


@contextmanager
def _show_warnings(console: Console) -> Iterator[None]:
    """Print the log's warnings above the progress bars, and hide its other lines, which repeat the progress.

    Prefect's handler would write every line through the bars. Handlers of Stenopool's logger still get all lines.
    """
    handler, passed_on = _Warnings(console), logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = passed_on
        logger.removeHandler(handler)


class _Warnings(logging.Handler):
    """Prints warnings on the console, except those of failed recordings, whose events are printed."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        if not getattr(record, "emitted", False):
            for line in f"{record.levelname.lower()}  {self.format(record)}".splitlines():
                print_line(line, self._console, "yellow")


def _print_event(console: Console, event: Event) -> None:
    if event.failure:
        text = f"failed  {event.key}  {event.failure.code}: {event.failure.message}"
        print_line(text, console, "red")
    elif event.kind == "done":
        print_line(f"done    {event.key}  {format_duration(event.seconds)}", console)


def tabulate_report(report: BatchReport) -> Table:
    """A table of the batch: counts, hours, speed."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("transcribed", f"{report.done}", f"{format_duration(report.audio_seconds)} of audio")
    table.add_row("already done", f"{report.already_done}", "")
    if report.rendered:
        table.add_row("rendered", f"{report.rendered}", "existing transcripts, in more formats")
    if report.quarantined or report.in_quarantine:
        table.add_row("quarantined", f"{report.quarantined}", f"{report.in_quarantine} in earlier runs")
    if report.deferred:
        table.add_row("waiting", f"{report.deferred}", "for the next run")
    if report.done:
        speeds = ", ".join(f"{stage} {speed:.1f}×" for stage, speed in report.stage_speed.items())
        table.add_row(
            "duration", format_duration(report.seconds), f"{report.realtime_factor:.1f}× real time ({speeds})"
        )
        kinds = ("busy", "load", "idle")
        device = ", ".join(f"{kind} {format_duration(report.device_seconds.get(kind, 0.0))}" for kind in kinds)
        table.add_row("device", "", device)
    if report.cost:
        table.add_row("cost", f"{report.cost:.2f}", f"{report.cost_per_audio_hour or 0.0:.4f} per hour of audio")
    return table


def tabulate_failures(report: BatchReport) -> Table:
    """A table of the failed recordings by code."""
    table = Table("code", "recordings", "example", "fix", title="Failed recordings", title_justify="left")
    for code, count in sorted(report.failures_by_code.items()):
        example = next(one for one in report.failed if one.failure.code == code)
        # Text, not str: a key such as "[bold].wav" is not markup.
        table.add_row(code, str(count), Text(printable(example.key)), example.failure.remedy)
    return table
