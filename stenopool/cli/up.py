"""``stenopool up``: everything on this machine, until it is stopped."""

from typing import Annotated

import typer


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

    from stenopool.cli.local_stack import run_local_stack
    from stenopool.runtime.network import Address, is_loopback
    from stenopool.settings import get_settings

    if api is None:
        api = not get_current_settings().api.url
    run_local_stack(
        Address(host, port),
        pools,
        Address(host, api_port) if api else None,
        page=True,
        no_auth=get_settings().api.keys is None and is_loopback(host),
        deploy=deploy,
        pages=pages,
    )
