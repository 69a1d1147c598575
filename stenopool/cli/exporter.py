"""``stenopool exporter``: what Prometheus scrapes."""

from typing import Annotated

import typer

from stenopool.errors import ErrorCode, SetupError
from stenopool.runtime import logs


def exporter(
    destinations: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DESTINATION]...", help="Where transcripts go (default: STENOPOOL_API__DESTINATION)."),
    ] = None,
    host: Annotated[str, typer.Option(help="Host that /metrics and /health are served on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port that they are served on.")] = 9480,
    interval: Annotated[float, typer.Option(min=1, help="Seconds between two checks of the destinations.")] = 15.0,
) -> None:
    """Serve metrics for Prometheus: batches, queues, workers. One per installation; it may be restarted at any time.

    Queues and workers are those of the Prefect server that PREFECT_API_URL names.

    Example: stenopool exporter s3://transcripts --port 9480
    """
    import uvicorn

    from stenopool.exporter.app import create_app
    from stenopool.orchestration.blocks.locations import absolute_location, open_location
    from stenopool.settings import get_settings

    given = destinations or [one for one in [get_settings().api.destination] if one]
    if not given:
        raise SetupError(
            ErrorCode.LOCATION_INVALID,
            "No destination is named.",
            remedy="Name those to which transcripts go, e.g. stenopool exporter s3://transcripts.",
        )
    # Workers' folders may not be there yet; a name that is no location is found out here.
    stores = [open_location(absolute_location(location)) for location in given]
    uvicorn.run(
        create_app(stores, interval),
        host=host,
        port=port,
        server_header=False,
        log_level="warning",
        **logs.uvicorn_options(),
    )
