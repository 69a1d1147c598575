"""The commands that start services (``up``, ``serve``, ``exporter``, ``worker``), and ``deploy``."""

import asyncio
import gc
import os
import sys
from pathlib import Path
from signal import SIGINT
from typing import Annotated, Literal

import typer

from stenopool.cli.display import err, print_addresses, print_line
from stenopool.cli.local_stack import STOP_HINT, listen, run_local_stack, without_password
from stenopool.errors import ErrorCode, LocationInvalid, OptionsInvalid, SetupError
from stenopool.orchestration.names import pool_kind
from stenopool.runtime import signals
from stenopool.runtime.logs import writes_json
from stenopool.runtime.network import Address, is_loopback
from stenopool.runtime.processes import safe_environment
from stenopool.settings import get_settings

_REMAINING = (
    "{runs} runs remain in the work pool {pool} of an earlier version. Keep a worker on it until it is empty, then run "
    "`stenopool deploy --prune` to remove it. See docs/operations/upgrade.md."
)
LimitOption = Annotated[
    int | None,
    typer.Option(min=1, help="Concurrent runs of a worker of the pool gpu (default: only the limit of the pool)."),
]
HostOption = Annotated[str, typer.Option(help="Host of /metrics and /health.")]
PortOption = Annotated[int, typer.Option(min=1, max=65535, help="Port of /metrics and /health.")]


def up(
    host: Annotated[str, typer.Option(help="Host of the API and of Prefect.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of Prefect's page and API.")] = 4200,
    api_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the API and the web page.")] = 8200,
    api: Annotated[
        bool | None,
        typer.Option(help="Start the API (default: only if PREFECT_API_URL is not set).", show_default=False),
    ] = None,
    pools: Annotated[str, typer.Option(help="Work pools to start workers for.")] = "cpu,gpu",
    deploy: Annotated[bool, typer.Option(help="Apply the deployments first; needed once per installation.")] = True,
    limit: LimitOption = None,
    pages: Annotated[
        str | None,
        typer.Option(
            help="Address of the first worker's /metrics and /health, e.g. 127.0.0.1:9481; others use the next ports."
        ),
    ] = None,
) -> None:
    """Start everything on one machine: Prefect server, deployments, schedules, a worker per pool, API and web page.

    If PREFECT_API_URL is set, that server is used and none is started. Recordings and transcripts are in ~/stenopool,
    unless STENOPOOL_API__SOURCE and STENOPOOL_API__DESTINATION are set. Without STENOPOOL_API__KEYS, the API serves
    this machine only. Log files are in ~/.prefect/stenopool-logs. Ctrl-C stops everything.

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
    host: Annotated[str, typer.Option(help="Host of the API.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the API.")] = 8200,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Disable authentication (loopback addresses only).")
    ] = False,
) -> None:
    """Start the API and the web page: upload recordings, watch the queue, read transcripts.

    STENOPOOL_API__* variables configure it. If PREFECT_API_URL is set, it uses that Prefect server, which needs
    Stenopool's deployments (`stenopool deploy`) and a worker. Otherwise, it starts a server and workers here.

    Example: stenopool serve --port 8200
    """
    import uvicorn
    from prefect.settings import get_current_settings

    from stenopool.api.app import create_app
    from stenopool.api.service import open_service
    from stenopool.runtime.http_server import allow_many_files, server_options

    if no_auth and not is_loopback(host):
        raise OptionsInvalid(
            f"With --no-auth on {host}, others could reach the API and do everything.",
            remedy="Set STENOPOOL_API__KEYS to a key file, or omit --host.",
        )
    if not get_current_settings().api.url:
        run_local_stack(Address("127.0.0.1", 0), "cpu,gpu", Address(host, port), page=False, no_auth=no_auth)
        return

    async def must_open() -> None:
        # Checked first: uvicorn would print a traceback instead of one line.
        async with open_service(get_settings().api, get_settings().callbacks, authenticated=not no_auth):
            pass

    asyncio.run(must_open())
    app = create_app(authenticated=not no_auth)
    # Imported modules are never freed. Traversing them takes 90 ms, during which no request is served.
    gc.collect()
    gc.freeze()
    allow_many_files()
    settings = get_settings().api
    options = server_options(settings.connections, settings.header_timeout, settings.forwarded_allow_ips)
    if sys.stdout.isatty() and not writes_json():
        address = Address(host, port)
        listen(address).close()  # a port that is taken is reported before the block
        rows = {
            "Web page": address.url,
            "API": f"{address.url}/v1",
            "Prefect API": without_password(get_current_settings().api.url or ""),
            "Recordings": settings.source or "",
            "Transcripts": settings.destination or "",
        }
        print_addresses("The API is running", rows, STOP_HINT)
        options |= {"log_level": "warning"}  # instead of uvicorn's banner and access log
    uvicorn.run(app, host=host, port=port, **options)


def exporter(
    destinations: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[DESTINATION]...", help="Destinations to monitor (default: STENOPOOL_API__DESTINATION)."
        ),
    ] = None,
    host: HostOption = "127.0.0.1",
    port: PortOption = 9480,
    interval: Annotated[float, typer.Option(min=1, help="Seconds between two refreshes.")] = 15.0,
) -> None:
    """Serve metrics for Prometheus: batches, queues, workers. Run one per installation.

    Queues and workers come from the Prefect server at PREFECT_API_URL. You can restart the exporter at any time.

    Example: stenopool exporter s3://transcripts --port 9480
    """
    import uvicorn

    from stenopool.exporter.app import create_app
    from stenopool.orchestration.blocks.locations import absolute_location, open_location
    from stenopool.runtime.http_server import server_options

    given = destinations or [one for one in [get_settings().api.destination] if one]
    if not given:
        raise LocationInvalid(
            "No destination is given.",
            remedy="Give the destinations of your transcripts, e.g. stenopool exporter s3://transcripts.",
        )
    # A folder may not exist yet, but an invalid location is refused here.
    app = create_app([open_location(absolute_location(location)) for location in given], interval)
    uvicorn.run(app, host=host, port=port, log_level="warning", **server_options())


def worker(
    pool: Annotated[str, typer.Option(help="Work pool: cpu, gpu, or the full name of another.")],
    name: Annotated[str | None, typer.Option(help="Name in Prefect (default: from host and pool).")] = None,
    limit: LimitOption = None,
    host: HostOption = "127.0.0.1",
    port: PortOption = 9481,
) -> None:
    """Start a worker for the Prefect server at PREFECT_API_URL: `prefect worker start` with /metrics and /health.

    Example: stenopool worker --pool gpu --port 9481
    """
    from prefect.exceptions import ObjectNotFound

    from stenopool.orchestration.deploy.server import require_server
    from stenopool.orchestration.workers.warm_worker import run_worker

    if limit and pool_kind(pool) == "cpu":
        raise OptionsInvalid(
            "With a limit, runs of `ingest` would take the slots that the runs they wait for need.",
            remedy="Omit --limit; the queues of the pool cpu limit the runs of `ingest`.",
        )
    require_server()
    os.environ.update(safe_environment())  # Prefect starts runs with `python -m`
    # Prefect's workers stop on SIGINT only, so SIGTERM has to become one.
    signals.interrupt_on(SIGINT)
    try:
        asyncio.run(run_worker(pool, name, Address(host, port), limit))
    except ObjectNotFound as error:
        raise SetupError(ErrorCode.DEPLOYMENT_MISSING, f"The Prefect server has no work pool {pool}.") from error


def deploy(
    target: Annotated[
        Literal["local", "kubernetes"],
        typer.Option(help="Where runs execute: in processes of workers, or in Kubernetes jobs."),
    ],
    file: Annotated[
        list[Path] | None, typer.Option(help="Your deployments and schedules, in the format of prefect.yaml.")
    ] = None,
    pools: Annotated[
        Path | None,
        typer.Option(
            help="Changes to the Kubernetes pools' job templates: variables, env, job_manifest. Pass it each time."
        ),
    ] = None,
    gpus: Annotated[
        int | None,
        typer.Option(min=1, help="Maximum number of concurrent runs in the pool gpu (default: unchanged, at first 1)."),
    ] = None,
    prepares: Annotated[
        int | None,
        typer.Option(
            min=1, help="Maximum number of concurrent prepare runs per queue (default: unchanged, at first unlimited)."
        ),
    ] = None,
    notify: Annotated[
        str | None, typer.Option(help="Saved notification block to notify of failed runs, e.g. slack-webhook/ops.")
    ] = None,
    prune: Annotated[
        bool,
        typer.Option(help="Remove Stenopool's deployments that no file lists any more, and old pools that are empty."),
    ] = False,
    adopt: Annotated[
        bool,
        typer.Option(help="Take over others' work pools and automations that have Stenopool's names."),
    ] = False,
) -> None:
    """Create or update pools, deployments, schedules and automations on the Prefect server at PREFECT_API_URL.

    Prints what it changed. You can repeat it at any time.

    Example: stenopool deploy --target kubernetes --file schedules.yaml --gpus 4
    """
    from stenopool.orchestration.deploy.apply import apply, find_old_pools
    from stenopool.orchestration.deploy.pools import read_changes
    from stenopool.orchestration.deploy.server import require_server

    if pools and target != "kubernetes":
        raise OptionsInvalid("--pools changes the templates of Kubernetes jobs only.", remedy="Omit --pools.")
    jobs = read_changes(pools) if pools else None
    require_server()
    changes = asyncio.run(
        apply(target, file or (), changes=jobs, gpus=gpus, prepares=prepares, notify=notify, prune=prune, adopt=adopt)
    )
    for line in changes:
        print_line(line)
    print_line(f"{len(changes)} changes." if changes else "Nothing to change.", err)
    for pool, runs in asyncio.run(find_old_pools()).items():
        print_line(_REMAINING.format(runs=runs, pool=pool), err)
