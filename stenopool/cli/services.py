"""The commands that keep an installation running: ``up``, ``serve``, ``exporter``, ``worker``; and ``deploy``."""

import asyncio
import gc
import os
from pathlib import Path
from signal import SIGINT
from typing import Annotated, Literal

import typer

from stenopool.cli.display import err, print_line
from stenopool.cli.local_stack import run_local_stack
from stenopool.errors import ErrorCode, LocationInvalid, OptionsInvalid, SetupError
from stenopool.orchestration.names import pool_kind
from stenopool.runtime import signals
from stenopool.runtime.network import Address, is_loopback
from stenopool.runtime.processes import safe_environment
from stenopool.settings import get_settings

LimitOption = Annotated[
    int | None,
    typer.Option(min=1, help="Runs at a time in a worker of the pool gpu (default: only the limit of the pool)."),
]
HostOption = Annotated[str, typer.Option(help="Host that /metrics and /health are served on.")]
PortOption = Annotated[int, typer.Option(min=1, max=65535, help="Port that they are served on.")]


def up(
    host: Annotated[str, typer.Option(help="Address of the API, of Prefect's page and interface.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of Prefect's page and interface.")] = 4200,
    api_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the API and its page.")] = 8200,
    api: Annotated[
        bool | None,
        typer.Option(help="Start the API (default: only where the server is started).", show_default=False),
    ] = None,
    pools: Annotated[str, typer.Option(help="Work pools that this machine serves.")] = "cpu,gpu",
    deploy: Annotated[bool, typer.Option(help="Apply the deployments first; needed once per installation.")] = True,
    limit: LimitOption = None,
    pages: Annotated[
        str | None,
        typer.Option(
            help="Address of the first worker's /metrics and /health, e.g. 127.0.0.1:9481; others use the next ports."
        ),
    ] = None,
) -> None:
    """Everything on one machine: Prefect server, deployments, schedules, a worker per pool, the API. Ctrl-C stops it.

    With PREFECT_API_URL set, that server is used and none is started. The API keeps recordings and transcripts in
    ~/stenopool unless STENOPOOL_API__SOURCE and STENOPOOL_API__DESTINATION say where; without STENOPOOL_API__KEYS it
    serves this machine alone.

    Example: stenopool up --port 4300
    """
    from prefect.settings import get_current_settings

    if api is None:
        api = not get_current_settings().api.url
    run_local_stack(
        Address(host, port),
        pools,
        Address(host, api_port) if api else None,
        page=True,
        no_auth=get_settings().api.keys is None and is_loopback(host),
        deploy=deploy,
        limit=limit,
        pages=pages,
    )


def serve(
    host: Annotated[str, typer.Option(help="Address of the API.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the API.")] = 8200,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Disable authentication (loopback addresses only).")
    ] = False,
) -> None:
    """Serve the API: upload recordings, watch the queue, read transcripts. STENOPOOL_API__* configure it.

    It uses the Prefect server that PREFECT_API_URL names, which needs our deployments and a worker. Where none is
    named, it starts one of its own, with workers on this machine: nothing else is needed then.

    Example: stenopool serve --port 8200
    """
    import uvicorn
    from prefect.settings import get_current_settings

    from stenopool.api.app import create_app
    from stenopool.api.service import open_service
    from stenopool.runtime.http_server import allow_many_files, server_options

    if no_auth and not is_loopback(host):
        raise OptionsInvalid(
            f"On {host} others could reach the API, and --no-auth would let them do everything.",
            remedy="Set STENOPOOL_API__KEYS to a file of keys, or leave --host out.",
        )
    if not get_current_settings().api.url:
        run_local_stack(Address("127.0.0.1", 0), "cpu,gpu", Address(host, port), page=False, no_auth=no_auth)
        return

    async def must_open() -> None:
        # uvicorn would bury the one line that matters in a traceback.
        async with open_service(get_settings().api, get_settings().callbacks, authenticated=not no_auth):
            pass

    asyncio.run(must_open())
    app = create_app(authenticated=not no_auth)
    # What was imported stays for good. Looking through it takes 90 ms, in which nobody is answered.
    gc.collect()
    gc.freeze()
    allow_many_files()
    settings = get_settings().api
    options = server_options(settings.connections, settings.header_timeout, settings.forwarded_allow_ips)
    uvicorn.run(app, host=host, port=port, **options)


def exporter(
    destinations: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DESTINATION]...", help="Where transcripts go (default: STENOPOOL_API__DESTINATION)."),
    ] = None,
    host: HostOption = "127.0.0.1",
    port: PortOption = 9480,
    interval: Annotated[float, typer.Option(min=1, help="Seconds between two checks of the destinations.")] = 15.0,
) -> None:
    """Serve metrics for Prometheus: batches, queues, workers. One per installation; it may be restarted at any time.

    Queues and workers are those of the Prefect server that PREFECT_API_URL names.

    Example: stenopool exporter s3://transcripts --port 9480
    """
    import uvicorn

    from stenopool.exporter.app import create_app
    from stenopool.orchestration.blocks.locations import absolute_location, open_location
    from stenopool.runtime.http_server import server_options

    given = destinations or [one for one in [get_settings().api.destination] if one]
    if not given:
        raise LocationInvalid(
            "No destination is named.",
            remedy="Name those to which transcripts go, e.g. stenopool exporter s3://transcripts.",
        )
    # Workers' folders may not be there yet; a name that is no location is found out here.
    app = create_app([open_location(absolute_location(location)) for location in given], interval)
    uvicorn.run(app, host=host, port=port, log_level="warning", **server_options())


def worker(
    pool: Annotated[str, typer.Option(help="Work pool: cpu or gpu, or the whole name of another.")],
    name: Annotated[str | None, typer.Option(help="Its name in Prefect (default: the host's and the pool's).")] = None,
    limit: LimitOption = None,
    host: HostOption = "127.0.0.1",
    port: PortOption = 9481,
) -> None:
    """A worker of the Prefect server that PREFECT_API_URL names: `prefect worker start` with /metrics and /health.

    Example: stenopool worker --pool gpu --port 9481
    """
    from prefect.exceptions import ObjectNotFound

    from stenopool.orchestration.deploy.server import require_server
    from stenopool.orchestration.workers.warm_worker import run_worker

    if limit and pool_kind(pool) == "cpu":
        raise OptionsInvalid(
            "With a limit, runs of `ingest` would take the slots that the runs they wait for need.",
            remedy="Leave --limit out; queues of the pool cpu bound the runs of `ingest`.",
        )
    require_server()
    os.environ.update(safe_environment())  # Prefect starts runs with `python -m`
    # Prefect's workers end by this one only, also on SIGTERM.
    signals.interrupt_on(SIGINT)
    try:
        asyncio.run(run_worker(pool, name, Address(host, port), limit))
    except ObjectNotFound as error:
        raise SetupError(ErrorCode.DEPLOYMENT_MISSING, f"The Prefect server has no work pool {pool}.") from error


def deploy(
    target: Annotated[
        Literal["local", "kubernetes"],
        typer.Option(help="Where runs land: processes of workers on machines, or Kubernetes jobs."),
    ],
    file: Annotated[
        list[Path] | None, typer.Option(help="Deployments and schedules of your own, in the form of prefect.yaml.")
    ] = None,
    pools: Annotated[
        Path | None,
        typer.Option(
            help="Changes of the Kubernetes pools' job templates: variables, env, job_manifest. Pass it each time."
        ),
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
    from stenopool.orchestration.deploy.pools import read_changes
    from stenopool.orchestration.deploy.server import require_server

    if pools and target != "kubernetes":
        raise OptionsInvalid("--pools changes the templates of Kubernetes jobs.", remedy="Leave it out.")
    jobs = read_changes(pools) if pools else None
    require_server()
    changes = asyncio.run(
        apply(target, file or (), changes=jobs, gpus=gpus, prepares=prepares, notify=notify, prune=prune, adopt=adopt)
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
