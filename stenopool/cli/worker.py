"""``stenopool worker``: one worker of a pool, with addresses for probes and Prometheus."""

import asyncio
from typing import Annotated

import typer

from stenopool.errors import ErrorCode, SetupError
from stenopool.runtime import signals


def worker(
    pool: Annotated[str, typer.Option(help="Work pool: cpu or gpu, or the whole name of another.")],
    name: Annotated[str | None, typer.Option(help="Its name in Prefect (default: the host's and the pool's).")] = None,
    host: Annotated[str, typer.Option(help="Host that /metrics and /health are served on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port that they are served on.")] = 9481,
) -> None:
    """A worker of the Prefect server that PREFECT_API_URL names: `prefect worker start` with /metrics and /health.

    Example: stenopool worker --pool gpu --port 9481
    """
    from prefect.exceptions import ObjectNotFound

    from stenopool.orchestration.deploy.server import require_server
    from stenopool.orchestration.workers.warm_worker import run_worker
    from stenopool.runtime.network import Address

    require_server()
    # Prefect's workers end by this one only, also on SIGTERM.
    signals.interrupt_on_sigint()
    try:
        asyncio.run(run_worker(pool, name, Address(host, port)))
    except ObjectNotFound as error:
        raise SetupError(ErrorCode.DEPLOYMENT_MISSING, f"The Prefect server has no work pool {pool}.") from error
