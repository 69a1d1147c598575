"""A pool's worker in this process, with /metrics, /health/live and /health/ready."""

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any

import uvicorn
from fastapi import FastAPI
from prefect.client.orchestration import get_client
from prefect.settings import get_current_settings
from prefect.utilities.processutils import setup_signal_handlers_worker
from prefect.workers.base import BaseWorker
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from stenopool.errors import ModelMissing
from stenopool.metrics.families import build_info, family, up
from stenopool.orchestration.names import pool_kind, pool_name
from stenopool.runtime.health import Readiness, bare_app, health_router
from stenopool.runtime.http_server import server_options
from stenopool.runtime.logs import logger
from stenopool.runtime.network import Address


class WorkerStatus(Collector):
    """A worker's metrics and health. ``checks``: its dependencies other than polling; each raises if it fails."""

    def __init__(self, worker: "BaseWorker[Any, Any, Any]", pool: str, checks: Mapping[str, Callable[[], Any]]) -> None:
        self._worker = worker
        self._pool = pool
        self._query_seconds = get_current_settings().worker.query_seconds
        self._runs = 0
        run = worker.run

        async def run_and_count(*arguments: Any, **named: Any) -> Any:
            self._runs += 1
            try:
                return await run(*arguments, **named)
            finally:
                self._runs -= 1

        worker.run = run_and_count  # type: ignore[method-assign]
        threads = {name: partial(asyncio.to_thread, check) for name, check in checks.items()}
        self._readiness = Readiness({"polling": self._check_polling, **threads})

    def app(self) -> FastAPI:
        """The application that serves them."""
        registry = CollectorRegistry()
        registry.register(self)
        return bare_app(health_router(registry, lambda _: self._readiness.look(), self._is_polling))

    def collect(self) -> Iterable[Family]:
        polled: datetime = self._worker._last_polled_time
        yield build_info()
        yield up((name, state == "ok") for name, state in self._readiness.health.dependencies.items())
        yield family("stenopool_worker_runs_in_progress", {self._pool: self._runs})
        yield family("stenopool_worker_last_poll_timestamp_seconds", {self._pool: polled.timestamp()})

    def _is_polling(self) -> bool:
        return self._worker.is_worker_still_polling(query_interval_seconds=self._query_seconds)

    async def _check_polling(self) -> None:
        if not self._is_polling():
            raise RuntimeError("the worker has stopped polling")


async def run_worker(pool: str, name: str | None, address: Address, limit: int | None = None) -> None:
    """Run a worker for the pool until SIGTERM or SIGINT, with health and metrics at this address.

    ``pool``: cpu, gpu, or the full name of a pool on the server. The worker has the pool's type: process or kubernetes.
    ``limit``: maximum number of concurrent runs. Raises Prefect's `ObjectNotFound` for an unknown pool.
    """
    known = pool_kind(pool)
    work_pool = pool_name(known) if known == pool else pool
    async with get_client() as client:
        kind = (await client.read_work_pool(work_pool)).type
    kind_of_worker: Any = BaseWorker.get_worker_class_from_type(kind)
    pool = known or pool
    worker = kind_of_worker(work_pool_name=work_pool, name=name or f"{socket.gethostname()}-{pool}", limit=limit)
    setup_signal_handlers_worker(os.getpid(), f"the {kind} worker", logger.info)
    checks = {"prefect": _check_prefect} | ({"weights": _check_weights} if (kind, pool) == ("process", "gpu") else {})
    with _serve(WorkerStatus(worker, pool, checks).app(), address):
        await worker.start(printer=lambda line: logger.info("%s", line))


@contextmanager
def _serve(app: FastAPI, address: Address) -> Iterator[None]:
    """Serve in a thread, like Prefect's own health page, so that a worker with a blocked event loop is reported."""
    with address.listen() as listening:
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="warning", lifespan="off", loop="asyncio", **server_options())
        )
        thread = threading.Thread(target=asyncio.run, args=(server.serve([listening]),), daemon=True, name="health")
        thread.start()
        try:
            yield
        finally:
            server.should_exit = True
            thread.join(5)


def _check_prefect() -> None:
    with get_client(sync_client=True) as client:
        if error := client.api_healthcheck():
            raise error


def _check_weights() -> None:
    from stenopool import models

    if not models.has_speech_weights():
        raise ModelMissing("No Whisper model is on this machine, and downloading is disabled (HF_HUB_OFFLINE).")
