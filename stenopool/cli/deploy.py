"""``stenopool deploy``: blocks, pools, deployments, schedules and automations onto a Prefect server."""

import asyncio
from pathlib import Path
from typing import Annotated, Literal

import typer

from stenopool.cli.console import err, print_line


def deploy(
    target: Annotated[
        Literal["local", "kubernetes"],
        typer.Option(help="Where runs land: processes of workers on machines, or Kubernetes jobs."),
    ],
    file: Annotated[
        list[Path] | None, typer.Option(help="Deployments and schedules of your own, in the form of prefect.yaml.")
    ] = None,
    gpus: Annotated[
        int | None, typer.Option(min=1, help="Runs on the pool gpu at a time; at first 1, then what was set before.")
    ] = None,
    prepares: Annotated[
        int | None, typer.Option(min=1, help="Runs of prepare at a time in each queue; at first no bound.")
    ] = None,
    notify: Annotated[
        str | None, typer.Option(help="Saved notification block that is told of failed runs, e.g. slack-webhook/ops.")
    ] = None,
    prune: Annotated[
        bool, typer.Option(help="Remove deployments of ours that no file names any more, and old pools that are empty.")
    ] = False,
    adopt: Annotated[
        bool, typer.Option(help="Take over work pools and automations that have our names and are not ours.")
    ] = False,
) -> None:
    """Bring everything that Prefect needs to know onto the server of PREFECT_API_URL, and say what changed.

    Run it again at any time. Example: stenopool deploy --target kubernetes --file schedules.yaml --gpus 4
    """
    from stenopool.orchestration.deploy.apply import apply, find_old_pools
    from stenopool.orchestration.deploy.server import require_server

    require_server()
    changes = asyncio.run(
        apply(target, file or (), gpus=gpus, prepares=prepares, notify=notify, prune=prune, adopt=adopt)
    )
    for line in changes:
        print_line(line)
    print_line(f"{len(changes)} changes." if changes else "Nothing to change.", err)
    for pool, runs in asyncio.run(find_old_pools()).items():
        print_line(
            f"{runs} runs are left in the work pool {pool}, which earlier versions made. Keep a worker on it until "
            "there are none; then `stenopool deploy --prune` removes it. See docs/operations/upgrade.md.",
            err,
        )
