"""The exporter's application: /metrics, /health/live, /health/ready. Its data is refreshed every few seconds."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse
from prefect.client.orchestration import PrefectClient, get_client
from prefect.settings import get_current_settings
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from stenopool.errors import ErrorCode
from stenopool.exporter import prefect_facts
from stenopool.exporter.ledger import Ledger
from stenopool.exporter.prefect_facts import Facts
from stenopool.metrics.families import build_info, family, histogram_family, up
from stenopool.pipeline.outcomes import split_cause
from stenopool.pipeline.report import Sums
from stenopool.runtime.health import Health, bare_app, health_router
from stenopool.runtime.logs import logger
from stenopool.settings import get_settings
from stenopool.storage import ObjectStore

# Prometheus sees no increase in a series that starts at 1, so series used in alerts start at 0.
_ENDS = [("done", ""), ("rendered", "")] + [
    ("deferred" if code.retryable else "quarantined", code.value) for code in ErrorCode
]


def create_app(destinations: Sequence[ObjectStore], interval: float) -> FastAPI:
    """Create the exporter for these destinations and the Prefect server in PREFECT_API_URL, if set.

    ``interval``: seconds between collections.
    """
    registry = CollectorRegistry()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            # Without an address, Prefect's client would start its own server.
            known = get_current_settings().api.url
            exporter = Exporter(destinations, await stack.enter_async_context(get_client()) if known else None)
            registry.register(exporter)
            app.state.exporter = exporter
            watching = asyncio.create_task(exporter.watch(interval))
            yield
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    async def look(request: Request) -> Health:
        exporter: Exporter = request.app.state.exporter
        return exporter.health

    app = bare_app(health_router(registry, look), lifespan=lifespan)

    @app.get("/", response_class=PlainTextResponse)
    async def front() -> str:
        return "Stenopool's exporter: /metrics, /health/live, /health/ready\n"

    return app


@dataclass
class Poll:
    """Collections from one dependency: time of the last successful one, duration of the last, number of failures."""

    at: float = 0.0
    seconds: float = 0.0
    errors: int = 0
    ok: bool = False

    @contextmanager
    def record(self, what: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        except Exception as error:  # for any error, the next collection may succeed
            self.ok = False
            self.errors += 1
            logger.warning("Cannot read %s: %s: %s", what, type(error).__name__, str(error).partition("\n")[0])
        else:
            self.ok, self.at = True, time.time()
        finally:
            self.seconds = time.monotonic() - start


class Exporter(Collector):
    """Collects the metrics. ``prefect``: None if no server is configured; then there are no metrics of queues."""

    def __init__(self, destinations: Sequence[ObjectStore], prefect: PrefectClient | None) -> None:
        self._prefect = prefect
        self._polls = {"destination": Poll()} | ({"prefect": Poll()} if prefect else {})
        self._facts: Facts | None = None
        self._ledgers = [Ledger(store, self._is_over) for store in destinations]
        self._has_read = False
        self._loop = asyncio.get_running_loop()

    async def watch(self, interval: float) -> None:
        """Collect repeatedly, forever."""
        while True:
            await self.refresh()
            await asyncio.sleep(interval)

    async def refresh(self) -> None:
        """Collect once from all dependencies."""
        await asyncio.gather(self._read_destinations(), self._read_prefect())

    @property
    def health(self) -> Health:
        """Whether the last collections succeeded."""
        return Health.of({name: "ok" if poll.ok else "failed" for name, poll in self._polls.items()})

    async def _read_destinations(self) -> None:
        with self._polls["destination"].record("the destination"):
            for ledger in self._ledgers:
                await asyncio.to_thread(ledger.refresh)
            self._has_read = True

    async def _read_prefect(self) -> None:
        if self._prefect:
            with self._polls["prefect"].record("Prefect"):
                self._facts = await prefect_facts.read_facts(self._prefect)

    def _is_over(self, flow_run: str) -> bool | None:
        """Whether a run has ended. Called from the ledgers' threads. While Prefect is unavailable, no run counts as
        ended.
        """
        if self._prefect is None:
            return None
        question = prefect_facts.is_over(self._prefect, UUID(flow_run))
        try:
            return asyncio.run_coroutine_threadsafe(question, self._loop).result(timeout=60)
        except Exception as error:  # the collection from Prefect reports it; this one is about the destination
            logger.warning("Cannot determine whether run %s has ended: %s", flow_run, type(error).__name__)
            return False

    def collect(self) -> Iterable[Family]:
        yield build_info()
        yield up((name, poll.ok) for name, poll in self._polls.items())
        yield self._of_polls("stenopool_collection_errors_total", lambda poll: poll.errors)
        yield self._of_polls("stenopool_collection_timestamp_seconds", lambda poll: poll.at)
        yield self._of_polls("stenopool_collection_seconds", lambda poll: poll.seconds)
        yield from _settings()
        if self._has_read:  # counters that restart at 0 would be counted twice
            yield from _counters(Sums.total(ledger.sums for ledger in self._ledgers))
            yield from self._of_batches()
        if self._facts:
            yield from _queues(self._facts)

    def _of_polls(self, name: str, value: Callable[[Poll], float]) -> Family:
        return family(name, {dependency: value(poll) for dependency, poll in self._polls.items()})

    def _of_batches(self) -> Iterator[Family]:
        yield family("stenopool_batches_running", sum(ledger.running for ledger in self._ledgers))
        last = max((ledger for ledger in self._ledgers), key=lambda one: _unix(one.last_over), default=None)
        yield family("stenopool_realtime_factor", last.speed if last else {})
        yield family("stenopool_last_batch_timestamp_seconds", _unix(last.last_over if last else None))
        progress = [ledger.last_progress for ledger in self._ledgers]
        if self._facts:
            progress.append(self._facts.last_progress)
        yield family("stenopool_last_progress_timestamp_seconds", max(map(_unix, progress), default=0.0))


def _counters(sums: Sums) -> Iterator[Family]:
    tally = sums.tally
    ends = {_split(end): count for end, count in sums.recordings.items()}
    yield family("stenopool_recordings_total", dict.fromkeys(_ENDS, 0) | ends)
    yield family("stenopool_audio_seconds_total", {_split(key): value for key, value in sums.audio_seconds.items()})
    yield histogram_family("stenopool_stage_seconds", {(stage,): seen for stage, seen in tally.stages.items()})
    yield family("stenopool_stage_audio_seconds_total", tally.audio)
    yield family("stenopool_stage_failures_total", {split_cause(key): count for key, count in sums.failures.items()})
    yield family("stenopool_stage_retries_total", tally.retries)
    codes = sorted(code.value for code in ErrorCode if code.retryable)
    met = dict.fromkeys(((stage, code) for stage in sorted(tally.stages) for code in codes), 0)
    met |= {split_cause(key): count for key, count in tally.errors.items()}
    yield family("stenopool_transient_errors_total", met)
    yield family("stenopool_checkpoint_hits_total", tally.checkpoints)
    yield family("stenopool_transcript_flags_total", tally.flags)
    yield histogram_family("stenopool_model_load_seconds", {(): sums.loads})
    yield family("stenopool_gpu_seconds_total", {"busy": 0.0, "load": 0.0, "idle": 0.0} | sums.gpu_seconds)
    yield family("stenopool_cpu_seconds_total", sums.cpu_seconds)
    yield family("stenopool_cost_dollars_total", sums.cost)
    yield family("stenopool_batches_total", {"complete": 0, "incomplete": 0, "lost": 0} | sums.batches)


def _queues(facts: Facts) -> Iterator[Family]:
    yield family("stenopool_queue_depth", facts.depth)
    yield family("stenopool_queue_oldest_seconds", facts.oldest)
    yield family("stenopool_queue_paused", facts.paused)
    yield family("stenopool_workers", facts.workers)
    last_seen = {pool: _unix(seen) for pool, seen in facts.last_seen.items()}
    yield family("stenopool_worker_last_seen_timestamp_seconds", last_seen)
    yield family("stenopool_zombie_runs", facts.zombies)


def _settings() -> Iterator[Family]:
    prices = get_settings().prices
    yield family("stenopool_price_dollars_per_hour", {"cpu": prices.cpu_hour, "gpu": prices.gpu_hour})
    if prices.daily_budget is not None:
        yield family("stenopool_daily_budget_dollars", prices.daily_budget)


def _split(key: str) -> tuple[str, str]:
    first, _, second = key.partition(" ")
    return first, second


def _unix(time: datetime | None) -> float:
    return time.timestamp() if time else 0.0
