"""Looks at the destinations and at Prefect again and again, and turns what is known into metrics."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from stenopool.errors import TRANSIENT_CODES, ErrorCode
from stenopool.exporter import prefect_facts
from stenopool.exporter.ledger import Ledger
from stenopool.exporter.prefect_facts import Facts
from stenopool.metrics import definitions as names
from stenopool.metrics.families import build_info, family, histogram_family, up
from stenopool.pipeline.report import Sums
from stenopool.pipeline.totals import split_cause
from stenopool.runtime.health import Health
from stenopool.runtime.logs import logger
from stenopool.settings import get_settings
from stenopool.storage import ObjectStore

# Prometheus sees no increase in a series that begins at 1: what may be alarming begins at 0.
_ENDS = [("done", ""), ("rendered", "")] + [
    ("deferred" if code.retryable else "quarantined", code.value) for code in ErrorCode
]


class Poll:
    """Reads of one dependency: when the last one succeeded, how long it took, how many failed."""

    def __init__(self) -> None:
        self.at = 0.0
        self.seconds = 0.0
        self.errors = 0
        self.ok = False

    @contextmanager
    def record(self, what: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        except Exception as error:  # whatever it is, the next look may succeed
            self.ok = False
            self.errors += 1
            logger.warning("%s cannot be read: %s: %s", what, type(error).__name__, str(error).partition("\n")[0])
        else:
            self.ok, self.at = True, time.time()
        finally:
            self.seconds = time.monotonic() - start


class Exporter(Collector):
    """What Prometheus scrapes. ``prefect`` is None where no server is named: then there are no metrics of queues."""

    def __init__(self, destinations: Sequence[ObjectStore], prefect: PrefectClient | None) -> None:
        self._prefect = prefect
        self._polls = {"destination": Poll()} | ({"prefect": Poll()} if prefect else {})
        self._facts: Facts | None = None
        self._ledgers = [Ledger(store, self._is_over) for store in destinations]
        self._has_read = False
        self._loop = asyncio.get_running_loop()

    async def watch(self, interval: float) -> None:
        """Poll, wait, poll: for ever."""
        while True:
            await self.refresh()
            await asyncio.sleep(interval)

    async def refresh(self) -> None:
        """One look at all there is."""
        await asyncio.gather(self._read_destinations(), self._read_prefect())

    @property
    def health(self) -> Health:
        """Whether the last looks succeeded."""
        return Health.of({name: "ok" if poll.ok else "failed" for name, poll in self._polls.items()})

    async def _read_destinations(self) -> None:
        with self._polls["destination"].record("The destination"):
            for ledger in self._ledgers:
                await asyncio.to_thread(ledger.refresh)
            self._has_read = True

    async def _read_prefect(self) -> None:
        if self._prefect:
            with self._polls["prefect"].record("Prefect"):
                self._facts = await prefect_facts.read_facts(self._prefect)

    def _is_over(self, flow_run: str) -> bool | None:
        """Called from the threads in which ledgers are read. While Prefect does not answer, nothing is over."""
        if self._prefect is None:
            return None
        question = prefect_facts.is_over(self._prefect, UUID(flow_run))
        try:
            return asyncio.run_coroutine_threadsafe(question, self._loop).result(timeout=60)
        except Exception as error:  # the look at Prefect tells of it; this one is about the destination
            logger.warning("Whether %s is over is not known: %s", flow_run, type(error).__name__)
            return False

    def collect(self) -> Iterable[Family]:
        yield build_info()
        yield up((name, poll.ok) for name, poll in self._polls.items())
        yield self._of_polls(names.COLLECTION_ERRORS, lambda poll: poll.errors)
        yield self._of_polls(names.COLLECTION_TIMESTAMP, lambda poll: poll.at)
        yield self._of_polls(names.COLLECTION_SECONDS, lambda poll: poll.seconds)
        yield from _settings()
        if self._has_read:  # a counter that began at 0 again at each restart would be counted twice
            yield from _counters(Sums.total(ledger.sums for ledger in self._ledgers))
            yield from self._of_batches()
        if self._facts:
            yield from _queues(self._facts)

    def _of_polls(self, metric: names.Metric, value: Callable[[Poll], float]) -> Family:
        return family(metric, {name: value(poll) for name, poll in self._polls.items()})

    def _of_batches(self) -> Iterator[Family]:
        yield family(names.BATCHES_RUNNING, sum(ledger.running for ledger in self._ledgers))
        last = max((ledger for ledger in self._ledgers), key=lambda one: _unix(one.last_over), default=None)
        yield family(names.REALTIME_FACTOR, last.speed if last else {})
        yield family(names.LAST_BATCH, _unix(last.last_over if last else None))
        progress = [ledger.last_progress for ledger in self._ledgers]
        if self._facts:
            progress.append(self._facts.last_progress)
        yield family(names.LAST_PROGRESS, max(map(_unix, progress), default=0.0))


def _counters(sums: Sums) -> Iterator[Family]:
    tally = sums.tally
    ends = {_split(end): count for end, count in sums.recordings.items()}
    yield family(names.RECORDINGS, dict.fromkeys(_ENDS, 0) | ends)
    yield family(names.AUDIO_SECONDS, {_split(key): value for key, value in sums.audio_seconds.items()})
    yield histogram_family(names.STAGE_SECONDS, {(stage,): seen for stage, seen in sums.tally.stages.items()})
    yield family(names.STAGE_AUDIO_SECONDS, tally.audio)
    yield family(names.STAGE_FAILURES, {split_cause(key): count for key, count in sums.failures.items()})
    yield family(names.STAGE_RETRIES, tally.retries)
    met = dict.fromkeys(((stage, code.value) for stage in sorted(tally.stages) for code in sorted(TRANSIENT_CODES)), 0)
    yield family(names.TRANSIENT_ERRORS, met | {split_cause(key): count for key, count in tally.errors.items()})
    yield family(names.CHECKPOINT_HITS, tally.checkpoints)
    yield family(names.TRANSCRIPT_FLAGS, tally.flags)
    yield histogram_family(names.MODEL_LOAD_SECONDS, {(): sums.loads})
    yield family(names.GPU_SECONDS, {"busy": 0.0, "load": 0.0, "idle": 0.0} | sums.gpu_seconds)
    yield family(names.CPU_SECONDS, sums.cpu_seconds)
    yield family(names.COST, sums.cost)
    yield family(names.BATCHES, {"complete": 0, "incomplete": 0, "lost": 0} | sums.batches)


def _queues(facts: Facts) -> Iterator[Family]:
    yield family(names.QUEUE_DEPTH, facts.depth)
    yield family(names.QUEUE_OLDEST, facts.oldest)
    yield family(names.QUEUE_PAUSED, facts.paused)
    yield family(names.WORKERS, facts.workers)
    yield family(names.WORKER_LAST_SEEN, {pool: _unix(seen) for pool, seen in facts.last_seen.items()})
    yield family(names.ZOMBIE_RUNS, facts.zombies)


def _settings() -> Iterator[Family]:
    prices = get_settings().prices
    yield family(names.PRICE, {"cpu": prices.cpu_hour, "gpu": prices.gpu_hour})
    if prices.daily_budget is not None:
        yield family(names.BUDGET, prices.daily_budget)


def _split(key: str) -> tuple[str, str]:
    first, _, second = key.partition(" ")
    return first, second


def _unix(time: datetime | None) -> float:
    return time.timestamp() if time else 0.0
