"""The command line. It imports nothing heavy, so `stenopool --help` is fast."""

import sys

import typer

from stenopool import __version__
from stenopool.cli import models
from stenopool.cli.destinations import clean, plan, show, status
from stenopool.cli.display import err, print_line
from stenopool.cli.doctor import doctor
from stenopool.cli.services import deploy, exporter, serve, up, worker
from stenopool.cli.transcribing import demo, retry, run
from stenopool.errors import ErrorCode, SetupError, StenopoolError
from stenopool.runtime import signals
from stenopool.runtime.logs import logger, writes_json
from stenopool.runtime.startup import start_process

app = typer.Typer(
    name="stenopool",
    help="Self-hosted speech-to-text for whole buckets: transcripts with speaker labels and word timestamps.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for command in (run, plan, status, retry, clean, up, serve, exporter, worker, deploy, show, demo, doctor):
    app.command()(command)
app.add_typer(models.app, name="models")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def bench() -> None:
    """Show how to compare Stenopool with whisperX and faster-whisper on this machine.

    Example: stenopool bench
    """
    raise SetupError(
        ErrorCode.EXTRA_MISSING,
        "The comparison with other systems is not part of the installed package.",
        remedy="In a checkout of the repository: uv sync --extra bench && uv run python -m benchmarks.compare FOLDER",
    )


def _print_version(asked: bool) -> None:
    if asked:
        print(f"stenopool {__version__}")
        raise typer.Exit


@app.callback()
def _start(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),  # noqa: ARG001
) -> None:
    start_process()


def main() -> None:
    """Entry point. Exit codes: 0 success, 1 some recordings failed, 2 usage error. Errors are a line and a remedy."""
    signals.exit_on_sigterm()
    try:
        app()
    except StenopoolError as error:
        if writes_json():
            logger.error("%s", error)
        else:
            print_line(f"{error.code}: {error.message}", err, "red")
            print_line(error.remedy, err)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
