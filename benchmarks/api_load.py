"""Requests per second and latency of the API, with 10,000 recordings in the store.

    uv run python -m benchmarks.api_load
    uv run python -m benchmarks.api_load --recordings 10000 --seconds 10 --clients 16 --store folder

A real S3 server, a real Prefect server and `stenopool serve` in a separate process, all on this machine's loopback
interface. Each client sends the next request as soon as it has a response. 50 runs are in the queue.
"""

import argparse
import asyncio
import itertools
import json
import random
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.api_service import installation
from stenopool.api.ids import encode
from stenopool.options import FORMATS, TranscriptionOptions
from stenopool.pipeline import receipts
from stenopool.pipeline.catalog import Recording, fingerprint
from stenopool.pipeline.receipts import Receipt
from stenopool.storage import ObjectStore
from tests.support.api_server import secret, sound

_WAITING = 50
_GOAL_RATE, _GOAL_P99 = 200.0, 0.2


class Measured(NamedTuple):
    """``times``: seconds of each response."""

    name: str
    seconds: float
    times: list[float]
    bytes: int

    @property
    def rate(self) -> float:
        return len(self.times) / self.seconds

    def quantile(self, share: float) -> float:
        return sorted(self.times)[min(len(self.times) - 1, int(share * len(self.times)))]

    @property
    def holds(self) -> bool:
        return self.rate >= _GOAL_RATE and self.quantile(0.99) < _GOAL_P99


def fill(source: ObjectStore, destination: ObjectStore, count: int) -> list[str]:
    """Create this many recordings, all but every twentieth of them done; return their ids."""

    def one(number: int) -> str:
        key = f"{number:032x}/call {number}.wav"
        source.put_bytes(key, data)
        if number % 20:
            info = source.head(key)
            recording = Recording(uri="", key=key, size=info.size, etag=info.etag, modified=info.modified)
            work = fingerprint(recording, TranscriptionOptions())
            done = Receipt(key=key, fingerprint=work, status="done", formats=FORMATS, duration=0.1)
            receipts.write(destination, done)
        return encode(key)

    data = sound(0.1)
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(one, range(count)))


async def load(url: str, name: str, paths: list[str], clients: int, seconds: float) -> Measured:
    """Request the paths in turn, over this many connections, for this long."""
    host, port = url.removeprefix("http://").split(":")
    turn, times, received = itertools.cycle(paths), list[float](), 0
    end = time.perf_counter() + seconds

    async def client() -> None:
        nonlocal received
        reader, writer = await asyncio.open_connection(host, int(port), limit=2**20)
        while (started := time.perf_counter()) < end:
            request = f"GET {next(turn)} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {secret('reader')}\r\n\r\n"
            writer.write(request.encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            if not head.startswith("http/1.1 200"):
                raise RuntimeError(head)
            length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
            await reader.readexactly(length)
            times.append(time.perf_counter() - started)
            received += length
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return Measured(name, time.perf_counter() - started, times, received)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each kind of request")
    parser.add_argument("--clients", type=int, default=16, help="parallel connections")
    parser.add_argument("--rounds", type=int, default=1, help="the best one is reported")
    parser.add_argument("--store", choices=("s3", "folder"), default="s3")
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="stenopool-load-") as folder,
        installation(asked.store, Path(folder)) as served,
    ):
        started = time.monotonic()
        ids = fill(served.source, served.destination, asked.recordings)
        print(f"{len(ids)} recordings after {time.monotonic() - started:.0f} s", file=sys.stderr)
        with served.client() as boss:
            for number in range(_WAITING):
                files = {"file": (f"{number}.wav", sound(0.1))}
                boss.post("/v1/recordings", files=files).raise_for_status()
        states = [f"/v1/recordings/{id}" for id in random.sample(ids, len(ids))]
        questions = {
            "status": states,
            "queue": ["/v1/queue"],
            "status and queue in turn": [path for state in states for path in (state, "/v1/queue")],
            "a page of 100 recordings": ["/v1/recordings?limit=100"],
        }
        measured = []
        for name, paths in questions.items():
            rounds = [
                asyncio.run(load(served.url, name, paths, asked.clients, asked.seconds)) for _ in range(asked.rounds)
            ]
            measured.append(max(rounds, key=lambda one: one.rate))
        show(measured)
    named = {one.name: one for one in measured}
    held = all(named[name].holds for name in ("status", "queue", "status and queue in turn"))
    print(json.dumps({"holds": held, "rates": {name: round(one.rate, 1) for name, one in named.items()}}))
    sys.exit(not held)


def show(measured: list[Measured]) -> None:
    table = Table("question", "GET/s", "p50 ms", "p99 ms", "longest ms", "KB each")
    for one in measured:
        milliseconds = [f"{1000 * one.quantile(share):.0f}" for share in (0.5, 0.99, 1.0)]
        table.add_row(one.name, f"{one.rate:.0f}", *milliseconds, f"{one.bytes / len(one.times) / 1000:.1f}")
    Console(stderr=True).print(table)


if __name__ == "__main__":
    main()
