"""The command line. Nothing heavy is imported here: `stenopool --help` answers at once."""

import sys

import typer

from stenopool import __version__
from stenopool.cli import models
from stenopool.cli.bench import bench
from stenopool.cli.clean import clean
from stenopool.cli.console import err, print_line
from stenopool.cli.demo import demo
from stenopool.cli.deploy import deploy
from stenopool.cli.doctor import doctor
from stenopool.cli.exporter import exporter
from stenopool.cli.plan import plan
from stenopool.cli.retry import retry
from stenopool.cli.run import run
from stenopool.cli.serve import serve
from stenopool.cli.show import show
from stenopool.cli.status import status
from stenopool.cli.up import up
from stenopool.cli.worker import worker
from stenopool.errors import StenopoolError
from stenopool.runtime import logs, signals
from stenopool.runtime.progress import logger
from stenopool.runtime.startup import start_process

app = typer.Typer(
    name="stenopool",
    help="In-house speech-to-text for whole buckets: speaker-labelled, word-timed transcripts.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for command in (run, plan, status, retry, clean, up, serve, exporter, worker, deploy, show, demo, doctor):
    app.command()(command)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(bench)
app.add_typer(models.app, name="models")


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
    """Entry point. Exit 0: all done, 1: some recordings failed, 2: wrong use; errors are a line and a remedy."""
    signals.exit_on_sigterm()
    try:
        app()
    except StenopoolError as error:
        if logs.writes_json():
            logger.error("%s", error)
        else:
            print_line(f"{error.code}: {error.message}", err, "red")
            print_line(error.remedy, err)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
