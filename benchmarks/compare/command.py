"""The command line of `python -m benchmarks.compare`."""

import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer
from rich.console import Console
from rich.table import Table

from stenopool.errors import ErrorCode, SetupError, StenopoolError
from stenopool.options import ExecutionOptions
from stenopool.runtime import signals

err = Console(stderr=True)
out = Console()

_USUAL = "ours,engine,whisperx,faster-whisper,faster-whisper-batched"


def bench(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="[FOLDER]",
            envvar="STENOPOOL_SPEECH",
            help="Folder of recordings. With a manifest.json (file, kind, text, language), WER is measured.",
        ),
    ],
    systems: Annotated[
        str, typer.Option(help="Systems to compare, comma-separated: the default ones, and whisper, which is slow.")
    ] = _USUAL,
    diarize: Annotated[
        bool, typer.Option("--diarize", help="With speakers, too: Stenopool, and whisperX followed by its diarizer.")
    ] = False,
    kinds: Annotated[str, typer.Option(help="Kinds of the manifest, comma-separated, measured separately.")] = "",
    count: Annotated[int | None, typer.Option(min=1, help="Recordings per kind, repeated or truncated.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Number of rounds.")] = 3,
    growth: Annotated[
        str, typer.Option(help="Only run Stenopool on these numbers of recordings, e.g. 20,200,2000.")
    ] = "",
    model: Annotated[str, typer.Option(help="Whisper model of all systems.")] = "base",
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Device of the models.")] = "auto",
    batch_size: Annotated[
        int, typer.Option(min=0, help="Windows decoded together, for all systems; 0: each system's default.")
    ] = 0,
    report: Annotated[Path | None, typer.Option(help="Write a Markdown report and its pictures to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures as one JSON object.")] = False,
) -> None:
    """Compare speed, word error rate and memory with whisperX, faster-whisper and openai-whisper, on this machine.

    Example: python -m benchmarks.compare ./recordings --kinds en_short,long --rounds 3 --report benchmark.md
    """
    from benchmarks.compare.plots import draw
    from benchmarks.compare.recordings import Corpus
    from benchmarks.compare.report import comparison, growth_rows, markdown, remarks
    from benchmarks.compare.rounds import Bench, check
    from benchmarks.compare.systems import DIARIZED, SystemName

    chosen = ["ours"] if growth else [*_split(systems), *(DIARIZED if diarize else ())]
    if unknown := [name for name in chosen if name not in get_args(SystemName)]:
        raise SetupError(
            ErrorCode.OPTIONS_INVALID,
            f"--systems: {', '.join(unknown)} is not known.",
            remedy=f"Choose among {', '.join(get_args(SystemName))}.",
        )
    named: list[SystemName] = [name for name in get_args(SystemName) if name in chosen]
    execution = ExecutionOptions(device=device, batch_size=batch_size)
    check(named, model, execution)
    # Ends the measured process with this one, and deletes the working folder.
    signals.exit_on_sigterm()
    with tempfile.TemporaryDirectory(prefix="stenopool-bench-") as work:
        err.print("Decoding the recordings once, for the systems that are given audio and not files.")
        measuring = Bench(
            Corpus(folder, Path(work), _split(kinds), count),
            model=model,
            execution=execution,
            rounds=rounds,
            command=shlex.join(["python", "-m", "benchmarks.compare", *sys.argv[1:]]),
            say=lambda line: err.print(line, highlight=False),
        )
        if growth:
            measuring.grow([int(number) for number in _split(growth)])
        else:
            measuring.compare(named)
    figures = measuring.figures
    if report:
        report.write_text(markdown(figures, draw(figures, report)), encoding="utf-8")
        err.print(f"The report is {report}", markup=False, highlight=False, soft_wrap=True)
    if as_json:
        print(figures.model_dump_json())
    else:
        for kind in figures.contents:
            _print(comparison(figures, kind), kind)
            for line in remarks(figures, kind):
                out.print(line, highlight=False)
        if figures.growth:
            _print(growth_rows(figures), "Cost by number of recordings")
        for line in figures.problems:
            out.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
    if figures.problems:
        raise typer.Exit(1)


def main() -> None:
    """Entry point. Exit 0: measured, 1: some system failed, 2: usage error."""
    try:
        typer.run(bench)
    except StenopoolError as error:
        err.print(f"{error.code}: {error.message}", style="red", markup=False, soft_wrap=True)
        err.print(error.remedy, markup=False, soft_wrap=True)
        sys.exit(2)


def _print(rows: Sequence[tuple[str, ...]], title: str) -> None:
    head, *body = rows
    if not body:
        return
    table = Table(head[0], title=title, title_justify="left")
    for name in head[1:]:
        table.add_column(name, justify="right")
    for row in body:
        table.add_row(*(cell.replace("**", "") for cell in row))
    out.print(table)


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
