"""``stenopool doctor``: everything a run needs, tried before money is spent."""

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from stenopool.cli.arguments import JsonFlag
from stenopool.cli.parameters import with_options
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.runtime.logs import printable

if TYPE_CHECKING:
    from stenopool.cli.checks import Finding

_out = Console()
_STYLES = {"ok": "green", "warn": "yellow", "fail": "red"}


@with_options(options=TranscriptionOptions, execution=ExecutionOptions)
def doctor(
    options: TranscriptionOptions,
    execution: ExecutionOptions,
    source: Annotated[
        str | None, typer.Argument(metavar="[SOURCE]", help="Recordings that are going to be read.")
    ] = None,
    destination: Annotated[
        str | None, typer.Argument(metavar="[DESTINATION]", help="Where transcripts are going to be written.")
    ] = None,
    namespace: Annotated[
        str | None, typer.Option(help="Kubernetes namespace of the jobs: does a worker with these credentials suffice?")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Try what a run with these options needs: packages, weights, GPU, ffmpeg, storage rights, Prefect.

    Example: stenopool doctor s3://calls s3://transcripts --model large-v3 --device cuda
    """
    # Here, because the checks import what they check.
    from stenopool.cli.checks import Finding, examine, list_checks

    findings: list[Finding] = []
    without: set[str] = set()  # checks that failed, and those that were not tried for it
    for check in list_checks(options, execution, source, destination, namespace):
        if check.needs in without:
            finding = Finding(check.name, "warn", f"not tried: {check.needs} comes first")
        else:
            finding = examine(check)
        if finding.status == "fail" or check.needs in without:
            without.add(check.name)
        findings.append(finding)
        if not as_json:
            _show(finding)
    if as_json:
        print(json.dumps({"checks": [finding._asdict() for finding in findings]}))
    if any(finding.status == "fail" for finding in findings):
        raise typer.Exit(1)


def _show(finding: "Finding") -> None:
    """A line as soon as it is known, and one for what to do; a terminal folds long ones, a log keeps them whole."""
    mark = Text(f"{finding.status:<5}", style=_STYLES[finding.status])
    _out.print(mark + f"{finding.check:<12} {printable(finding.found)}", soft_wrap=True)
    if finding.remedy:
        _out.print(Text(f"{'':<17} {printable(finding.remedy)}"), soft_wrap=True)
