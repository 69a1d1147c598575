"""A cache of rendered files: bounded, rendered once for simultaneous requests, and in files without a name."""

import asyncio
import os
import tempfile
import weakref
from collections.abc import Callable, Iterator
from typing import IO

from stenopool.api.problems import Problem
from stenopool.settings import get_settings

_MOST_BYTES = 256 * 1024 * 1024  # kept on the scratch disk
_MOST_FILES = 128  # each is an open descriptor
_LONGEST = 600.0  # seconds that a file is kept, also after its recording was deleted
_AT_ONCE = 2
_MOST_PENDING = 32
_CHUNK = 1024 * 1024

# Writes a file, in a thread; returns its media type.
Make = Callable[[IO[bytes]], str]


class Rendered:
    """A file without a name, closed after its last reader. ``media_type``: if it was detected."""

    def __init__(self, file: IO[bytes], media_type: str = "") -> None:
        self.media_type = media_type
        self.size = os.fstat(file.fileno()).st_size
        self._file = file
        weakref.finalize(self, file.close)

    def read(self, first: int, last: int) -> Iterator[bytes]:
        """Read from ``first`` to ``last``, both inclusive. Any number of readers may read at the same time."""
        while first <= last and (part := os.pread(self._file.fileno(), min(_CHUNK, last - first + 1), first)):
            first += len(part)
            yield part


def open_unlinked() -> IO[bytes]:
    """Open a temporary file without a name, for its owner alone (0600). It never leaves anything behind."""
    folder = get_settings().scratch.dir
    folder.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryFile(dir=folder, buffering=_CHUNK)


class RenderCache:
    """Files by name. The least recently used are dropped first. A name covers everything that the file depends on."""

    def __init__(self, most_bytes: int = _MOST_BYTES, most_files: int = _MOST_FILES, longest: float = _LONGEST) -> None:
        self._most_bytes, self._most_files, self._longest = most_bytes, most_files, longest
        self._tasks: dict[str, asyncio.Task[Rendered]] = {}  # the most recently used is last
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def get(self, name: str, make: Make) -> Rendered:
        """Return the file with this name. Simultaneous requests wait for the same file.

        ``make`` writes it if it is not cached. Raises the problem 503 while many others are being made.
        """
        task = self._tasks.pop(name, None)
        if task is None or (task.done() and self._failed(task)):
            if sum(not each.done() for each in self._tasks.values()) >= _MOST_PENDING:
                remedy = "Try again in a few seconds."
                raise Problem(503, "BUSY", "Too many transcripts are being rendered.", remedy, {"Retry-After": "5"})
            task = asyncio.create_task(self._make(make))
            task.add_done_callback(lambda _: self._drop())
            asyncio.get_running_loop().call_later(self._longest, self._tasks.pop, name, None)
        self._tasks[name] = task
        return await asyncio.shield(task)  # a client that disconnects does not stop it: others may be waiting

    @property
    def size(self) -> int:
        """Number of cached bytes."""
        return sum(task.result().size for task in self._tasks.values() if task.done() and not self._failed(task))

    async def _make(self, make: Make) -> Rendered:
        async with self._room:
            return await asyncio.to_thread(self._make_now, make)

    @staticmethod
    def _make_now(make: Make) -> Rendered:
        file = open_unlinked()
        try:
            media_type = make(file)
            file.flush()
        except BaseException:
            file.close()
            raise
        return Rendered(file, media_type)

    def _drop(self) -> None:
        """Drop what failed, and the oldest files if there are too many."""
        done = {name: task for name, task in self._tasks.items() if task.done()}
        files, size = len(done), self.size
        for name, task in done.items():
            failed = self._failed(task)
            if failed or size > self._most_bytes or files > self._most_files:
                del self._tasks[name]
                files -= 1
                size -= 0 if failed else task.result().size

    @staticmethod
    def _failed(task: asyncio.Task[Rendered]) -> bool:
        return task.cancelled() or task.exception() is not None
