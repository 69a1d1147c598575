"""A worker of a pool in this process, with pages that say how it is: /metrics, /health/live, /health/ready."""

import asyncio
import os
import socket
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import uvicorn
from prefect.client.orchestration import get_client
from prefect.plugins import load_prefect_collections
from prefect.settings import get_current_settings
from prefect.utilities.dispatch import lookup_type
from prefect.utilities.processutils import setup_signal_handlers_worker
from prefect.workers.base import BaseWorker
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from stenopool.metrics import definitions as names
from stenopool.metrics.families import build_info, family, up
from stenopool.runtime.health import Health, Readiness
from stenopool.runtime.logs import get_logger, uvicorn_options

logger = get_logger()


class Pages(Collector):
    """What a worker tells. ``checks``: what it needs besides its own polling; each raises if it fails."""

    def __init__(self, worker: "BaseWorker[Any, Any, Any]", pool: str, checks: Mapping[str, Callable[[], Any]]) -> None:
        self._worker = worker
        self._pool = pool
        self._query_seconds = get_current_settings().worker.query_seconds
        self._health = Health(status="ok")
        self._runs = 0
        run = worker.run

        async def counted(*arguments: Any, **named: Any) -> Any:
            self._runs += 1
            try:
                return await run(*arguments, **named)
            finally:
                self._runs -= 1

        worker.run = counted  # type: ignore[method-assign]
        self._readiness = Readiness({"polling": self._polls, **{name: _in_thread(one) for name, one in checks.items()}})

    def app(self) -> Starlette:
        registry = CollectorRegistry()
        registry.register(self)

        async def metrics(_: Request) -> Response:
            self._health = await self._readiness.look()
            return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

        async def live(_: Request) -> Response:
            # One that hangs has to be started again: this is what a liveness probe asks for.
            alive = self._worker.is_worker_still_polling(query_interval_seconds=self._query_seconds)
            return _answer(Health(status="ok" if alive else "failed"))

        async def ready(_: Request) -> Response:
            return _answer(await self._readiness.look())

        routes = (("/metrics", metrics), ("/health/live", live), ("/health/ready", ready))
        return Starlette(routes=[Route(path, page) for path, page in routes])

    def collect(self) -> Iterable[Family]:
        polled: datetime = self._worker._last_polled_time
        yield build_info()
        yield up((name, state == "ok") for name, state in self._health.dependencies.items())
        yield family(names.WORKER_RUNS, {(self._pool,): self._runs})
        yield family(names.WORKER_LAST_POLL, {(self._pool,): polled.timestamp()})

    async def _polls(self) -> None:
        if not self._worker.is_worker_still_polling(query_interval_seconds=self._query_seconds):
            raise RuntimeError("it does not ask for work any more")


async def serve(pool: str, name: str | None, host: str, port: int) -> None:
    """Work for the pool until SIGTERM or SIGINT. Its type is the pool's: process or kubernetes."""
    load_prefect_collections()
    async with get_client() as client:
        kind = (await client.read_work_pool(pool)).type
    kind_of_worker: Any = lookup_type(BaseWorker, kind)
    worker = kind_of_worker(work_pool_name=pool, name=name or f"{socket.gethostname()}-{pool}")
    setup_signal_handlers_worker(os.getpid(), f"the {kind} worker", logger.info)
    pages = Pages(
        worker, pool, {"prefect": _prefect} | ({"weights": _weights} if (kind, pool) == ("process", "gpu") else {})
    )
    with _served(pages.app(), host, port):
        await worker.start(printer=lambda line: logger.info("%s", line))


@contextmanager
def _served(app: Starlette, host: str, port: int) -> Iterator[None]:
    """In a thread, as Prefect's own health page: a worker that blocks its loop is one that has to be told of."""
    with socket.create_server((host, port)) as listening:
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="warning", lifespan="off", loop="asyncio", **uvicorn_options())
        )
        thread = threading.Thread(target=asyncio.run, args=(server.serve([listening]),), daemon=True, name="pages")
        thread.start()
        try:
            yield
        finally:
            server.should_exit = True
            thread.join(5)


def _in_thread(check: Callable[[], Any]) -> Callable[[], Awaitable[Any]]:
    return lambda: asyncio.to_thread(check)


def _prefect() -> None:
    with get_client(sync_client=True) as client:
        if error := client.api_healthcheck():
            raise error


def _weights() -> None:
    from stenopool.options import ExecutionOptions, TranscriptionOptions
    from stenopool.speech import engines

    engines.check(TranscriptionOptions(), ExecutionOptions())


def _answer(health: Health) -> Response:
    return JSONResponse(health.model_dump(), 200 if health.status == "ok" else 503)
