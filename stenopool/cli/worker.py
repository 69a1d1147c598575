"""``stenopool worker``: one worker of a pool, with addresses for probes and Prometheus."""

import asyncio
from typing import Annotated

import typer

from stenopool.errors import ErrorCode, SetupError
from stenopool.runtime import signals


def worker(
    pool: Annotated[str, typer.Option(help="Work pool: cpu or gpu.")],
    name: Annotated[str | None, typer.Option(help="Its name in Prefect; else the host's and the pool's.")] = None,
    host: Annotated[str, typer.Option(help="Address of its pages.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Their port.")] = 9481,
) -> None:
    """A worker of the Prefect server that PREFECT_API_URL names: `prefect worker start` with /metrics and /health.

    Example: stenopool worker --pool gpu --port 9481
    """
    from prefect.exceptions import ObjectNotFound
    from prefect.settings import get_current_settings

    from stenopool.orchestration.workers.warm_worker import run_worker
    from stenopool.runtime.network import Address

    if not get_current_settings().api.url:
        raise SetupError(
            ErrorCode.OPTIONS_INVALID,
            "No Prefect server is named.",
            remedy="Set PREFECT_API_URL, e.g. http://127.0.0.1:4200/api; `stenopool up` starts one with workers.",
        )
    # Prefect's workers end by this one only, also on SIGTERM.
    signals.interrupt_on_sigint()
    try:
        asyncio.run(run_worker(pool, name, Address(host, port)))
    except ObjectNotFound as error:
        raise SetupError(ErrorCode.DEPLOYMENT_MISSING, f"The Prefect server has no work pool {pool}.") from error
