"""Rendered files: limited in number and size, rendered once for simultaneous requests, and without names."""

import asyncio
import gc
import os
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

import pytest

from stenopool.api.problems import Problem
from stenopool.api.render_cache import Make, RenderCache, Rendered, open_unlinked
from stenopool.runtime.processes import python_command


def content(rendered: Rendered) -> bytes:
    return b"".join(rendered.read(0, rendered.size - 1))


def writing(data: bytes, made: list[bytes] | None = None, seconds: float = 0.0) -> Make:
    def make(file: IO[bytes]) -> str:
        time.sleep(seconds)
        file.write(data)
        if made is not None:
            made.append(data)
        return "text/plain"

    return make


def test_simultaneous_requests_share_one_rendering() -> None:
    made: list[bytes] = []

    async def ask() -> None:
        cache = RenderCache()
        found = await asyncio.gather(*(cache.get("a", writing(b"data", made, 0.05)) for _ in range(50)))
        assert {content(one) for one in found} == {b"data"}
        assert await cache.get("a", writing(b"other", made)) is found[0]
        assert content(await cache.get("b", writing(b"other", made))) == b"other"

    asyncio.run(ask())
    assert made == [b"data", b"other"]


@pytest.mark.parametrize(("most_bytes", "most_files"), [(1000, 100), (10**9, 10)])
def test_the_cache_is_limited_and_keeps_the_most_recently_used(most_bytes: int, most_files: int) -> None:
    made: list[bytes] = []

    async def ask() -> None:
        cache = RenderCache(most_bytes, most_files)
        for number in range(40):
            await cache.get(str(number), writing(b"%100d" % number, made))
            await cache.get("used", writing(b"u" * 100, made))
            assert cache.size <= 1000
        assert made.count(b"u" * 100) == 1
        count = len(made)
        await cache.get("39", writing(b"", made))
        await cache.get("0", writing(b"", made))
        assert len(made) == count + 1
        large = await cache.get("large", writing(bytes(5000)))  # larger than the cache: returned, but not kept
        assert large.size == 5000

    asyncio.run(ask())


def test_files_have_no_name_and_are_closed_after_the_last_reader(tmp_path: Path) -> None:
    def descriptors() -> int:
        found = 0
        for each in Path("/proc/self/fd").iterdir():
            with suppress(FileNotFoundError):  # the descriptor of the listing
                found += str(each.readlink()).startswith(str(tmp_path))
        return found

    async def ask() -> None:
        cache = RenderCache(most_files=1)
        reading = (await cache.get("a", writing(bytes(3_000_000)))).read(0, 2_999_999)
        next(reading)
        await cache.get("b", writing(b""))
        await asyncio.sleep(0)
        assert list((tmp_path / "scratch").iterdir()) == []
        assert sum(map(len, reading)) == 3_000_000 - 1024 * 1024  # dropped, but still readable
        del reading
        gc.collect()
        assert descriptors() == 1

    asyncio.run(ask())


def test_a_temporary_file_is_accessible_to_its_owner_only(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        with open_unlinked() as file:
            status = os.fstat(file.fileno())
    finally:
        os.umask(mask)
    assert (status.st_nlink, status.st_mode & 0o777) == (0, 0o600)


def test_failed_renderings_are_repeated() -> None:
    def fail(file: IO[bytes]) -> str:
        raise OSError("no room")

    async def ask() -> None:
        cache = RenderCache()
        for _ in range(3):
            with pytest.raises(OSError, match="no room"):
                await cache.get("a", fail)
        assert content(await cache.get("a", writing(b"data"))) == b"data"
        assert cache.size == 4

    asyncio.run(ask())


def test_a_disconnect_does_not_stop_a_rendering_for_others() -> None:
    async def ask() -> None:
        cache = RenderCache()
        first = asyncio.create_task(cache.get("a", writing(b"data", seconds=0.1)))
        second = asyncio.create_task(cache.get("a", writing(b"other")))
        await asyncio.sleep(0.02)
        first.cancel()
        assert content(await second) == b"data"

    asyncio.run(ask())


def test_simultaneous_renderings_are_limited() -> None:
    at_once, most = 0, 0
    lock = threading.Lock()

    def make(file: IO[bytes]) -> str:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.01)
        with lock:
            at_once -= 1
        return ""

    async def ask() -> None:
        cache = RenderCache()
        answers = await asyncio.gather(*(cache.get(str(each), make) for each in range(100)), return_exceptions=True)
        refused = [one for one in answers if isinstance(one, Problem)]
        assert {(one.status_code, one.code) for one in refused} == {(503, "BUSY")}
        assert len(answers) - len(refused) == 32

    asyncio.run(ask())
    assert most <= 2


def test_files_are_dropped_after_a_while() -> None:
    async def ask() -> None:
        cache = RenderCache(longest=0.05)
        await cache.get("a", writing(b"data"))
        assert cache.size == 4
        await asyncio.sleep(0.1)
        assert cache.size == 0

    asyncio.run(ask())


def test_errors_of_a_renderer_do_not_quote_the_transcript() -> None:
    ended = subprocess.run(python_command("stenopool.api.rendering"), input=b"a secret\n", capture_output=True)
    assert ended.returncode == 1
    assert ended.stderr == b"A transcript could not be rendered: ValidationError.\n"
    assert ended.stdout == b""
