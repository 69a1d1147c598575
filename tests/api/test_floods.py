"""Floods without a key against the real server process: memory stays small, and other clients get responses."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from statistics import median

import httpx
import pytest

from benchmarks.api_service import Installation
from stenopool.settings import ApiSettings
from tests.support.api_process import serving_process
from tests.support.api_server import secret

MEMORY = 300 * 1000**2  # bytes
# Seconds until a regular client usually gets a response. The longest wait depends on what else the machine does.
PATIENCE = 1.0
CLIENTS = 300  # more than the service accepts at a time
SECONDS = 4.0
LINE = b"POST /v1/recordings HTTP/1.1\r\nHost: x\r\n"
FORM = b"Content-Type: multipart/form-data; boundary=x\r\n"


@pytest.fixture(scope="module")
def process(deployed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The API in a separate process."""
    from tests.support.api_server import keys_file

    folder = tmp_path_factory.mktemp("floods")
    for name in ("source", "destination"):
        (folder / name).mkdir()
    settings = ApiSettings(
        source=str(folder / "source"), destination=str(folder / "destination"), keys=keys_file(folder)
    )
    with serving_process(settings, folder / "log.txt", HEADER_TIMEOUT="3") as served:
        yield served


async def _bodies() -> AsyncIterator[bytes]:
    yield LINE + FORM + b"Content-Length: 4000000000\r\n\r\n"
    while True:
        yield bytes(262_144)


async def _chunked_bodies() -> AsyncIterator[bytes]:
    yield b"PUT /v1/recordings/YQ/speakers HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n" + FORM + b"\r\n"
    while True:
        yield b"1\r\nx\r\n" * 20_000


async def _large_headers() -> AsyncIterator[bytes]:
    yield LINE + b"X: "
    while True:
        yield b"x" * 262_144


async def _many_headers() -> AsyncIterator[bytes]:
    yield LINE
    while True:
        yield b"a:\r\n" * 10_000


async def _half_requests() -> AsyncIterator[bytes]:
    yield LINE + b"X: " + b"x" * 30_000
    await asyncio.sleep(60)


async def _dribbles() -> AsyncIterator[bytes]:
    for byte in LINE * 100:
        yield bytes([byte])
        await asyncio.sleep(0.2)


async def _silence() -> AsyncIterator[bytes]:
    yield b""
    await asyncio.sleep(60)


async def _pipelined() -> AsyncIterator[bytes]:
    while True:
        yield b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n" * 5_000


FLOODS = [_bodies, _chunked_bodies, _large_headers, _many_headers, _half_requests, _dribbles, _silence, _pipelined]


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_uses_little_memory_and_blocks_nobody(
    process: Installation, flood: Callable[[], AsyncIterator[bytes]]
) -> None:
    port = int(process.url.rpartition(":")[2])
    _be_honest(port, time.monotonic() + 0.1)  # load what the first request loads
    sent, waits = asyncio.run(_attack(port, flood))
    assert sent > CLIENTS / 2  # it really was a flood
    assert median(waits) < PATIENCE
    assert process.peak_memory() < MEMORY


async def _attack(port: int, flood: Callable[[], AsyncIterator[bytes]]) -> tuple[int, list[float]]:
    """Returns the number of requests that were sent, and the times that a regular client waited."""
    sent, deadline = 0, time.monotonic() + SECONDS

    async def attacker() -> None:
        nonlocal sent
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                sent += 1
                try:
                    async for data in flood():
                        writer.write(data)
                        await writer.drain()
                finally:
                    writer.transport.abort()
            await asyncio.sleep(1)

    attackers = [asyncio.create_task(attacker()) for _ in range(CLIENTS)]
    waits = await asyncio.to_thread(_be_honest, port, deadline)
    for task in attackers:
        task.cancel()
    await asyncio.gather(*attackers, return_exceptions=True)
    return sent, waits


def _be_honest(port: int, deadline: float) -> list[float]:
    headers, waits = {"Authorization": f"Bearer {secret('reader')}"}, []
    while time.monotonic() < deadline:
        begin = time.monotonic()
        httpx.get(f"http://127.0.0.1:{port}/v1/about", headers=headers, timeout=60).raise_for_status()
        waits.append(time.monotonic() - begin)
        time.sleep(0.1)
    return waits
