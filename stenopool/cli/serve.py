"""``stenopool serve``: the API service."""

import asyncio
import gc
from typing import Annotated

import typer

from stenopool.errors import ErrorCode, SetupError
from stenopool.runtime import logs


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
    from stenopool.cli.local_stack import run_local_stack
    from stenopool.runtime.network import Address, free_port, is_loopback
    from stenopool.settings import get_settings

    if no_auth and not is_loopback(host):
        raise SetupError(
            ErrorCode.OPTIONS_INVALID,
            f"On {host} others could reach the API, and --no-auth would let them do everything.",
            remedy="Set STENOPOOL_API__KEYS to a file of keys, or leave --host out.",
        )
    if not get_current_settings().api.url:
        server = Address("127.0.0.1", free_port())
        run_local_stack(server, "cpu,gpu", Address(host, port), page=False, no_auth=no_auth)
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
    uvicorn.run(app, host=host, port=port, server_header=False, **logs.uvicorn_options())
