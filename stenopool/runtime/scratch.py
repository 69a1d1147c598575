"""The temporary folder of a run: private, limited in size, and always deleted afterwards.

Each folder contains a file that is locked by the process that created it. The kernel releases the lock when that
process dies, even by SIGKILL or in another container, so the next process knows which folders to delete. A process ID
in the name would not be enough: it can be reused and is valid only in its container.
"""

import os
import re
import shutil
import stat
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from stenopool.errors import ErrorCode, TransientError
from stenopool.runtime import signals
from stenopool.settings import ScratchSettings, get_settings

if TYPE_CHECKING:
    from filelock import BaseFileLock

# Only folders with exactly this name pattern are swept: "stenopool-results" in /tmp may belong to someone else.
_PREFIX = ".stenopool-scratch-"
_OURS = re.compile(rf"{re.escape(_PREFIX)}[0-9]+-[a-z0-9_]{{8}}")
_LOCK = ".lock"
_NAME = re.compile(r"[0-9a-zA-Z_]{1,64}")
_QUICK = 0.005  # seconds


class Scratch:
    """A private folder with a subfolder per recording: ``with Scratch() as scratch:``.

    Its size is limited by `ScratchSettings.max_bytes` and by the disk. It is deleted after success, an exception, the
    end of the process or the end of a stop's grace period; leftovers of SIGKILL are deleted by the next `Scratch` or
    `sweep`. Thread-safe.
    """

    def __init__(self, settings: ScratchSettings | None = None) -> None:
        self.settings = settings or get_settings().scratch
        self._reserved: dict[str, int] = {}
        self._sizes: dict[str, int] = {}
        self._measure_after = 0.0
        self._guard = threading.Lock()

    def __enter__(self) -> Self:
        from filelock import Timeout

        self.settings.dir.mkdir(parents=True, exist_ok=True)
        sweep(self.settings.dir)
        self._owner = os.getpid()
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=self.settings.dir))  # mode 0700
            self._lock = _lock(self.path)
            with suppress(FileNotFoundError, Timeout):  # another process swept it before it was locked
                self._lock.acquire()
                break
        signals.at_end(self.close)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Delete the folder. Does nothing the second time, or in a forked child, which does not own it."""
        if os.getpid() != self._owner or not self.path.exists():
            return
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.release()
        signals.forget(self.close)

    def folder(self, name: str, *, reserve: int = 0) -> Path:
        """The subfolder of one recording, created if necessary. ``name``: its fingerprint, never its key.

        ``reserve``: bytes that will be written there. Raises `TransientError` SCRATCH_FULL if there is not enough
        space.
        """
        path = self._path(name)
        with self._guard:
            if reserve:
                self._require(reserve, name)
                self._reserved[name] = reserve
            path.mkdir(exist_ok=True)
        return path

    def release(self, name: str) -> None:
        """Delete one recording's subfolder and its reservation; no error if it does not exist."""
        shutil.rmtree(self._path(name), ignore_errors=True)
        with self._guard:
            self._reserved.pop(name, None)

    def _measure(self) -> dict[str, int]:
        """Bytes by recording.

        Measured each time while that is quick. With thousands of recordings, measuring is limited to a twentieth of the
        time, and the most recent writes are not counted yet.
        """
        began = time.monotonic()
        if began >= self._measure_after:
            self._sizes = {one.name: _size(one) for one in self.path.iterdir()}
            took = time.monotonic() - began
            self._measure_after = began + (20 * took if took > _QUICK else 0.0)
        return self._sizes

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError(f"a scratch folder must be named by a fingerprint, not {name!r}")
        return self.path / name

    def _require(self, more: int, name: str) -> None:
        try:
            self._check_room(more, name)
        except TransientError:
            self._measure_after = 0.0  # counted files may have been deleted
            self._check_room(more, name)

    def _check_room(self, more: int, name: str) -> None:
        sizes = self._measure()
        # Only the unwritten part of a reservation still needs space.
        reserved = {one: size for one, size in self._reserved.items() if one != name}
        coming = more + sum(max(0, size - sizes.get(one, 0)) for one, size in reserved.items())
        bound, free = self.settings.max_bytes, shutil.disk_usage(self.path).free
        if sum(sizes.values()) + coming > bound:
            raise TransientError(
                ErrorCode.SCRATCH_FULL,
                f"{more} more bytes would exceed the limit of {bound} bytes per run in {self.settings.dir}.",
                remedy="Raise STENOPOOL_SCRATCH__MAX_BYTES, or lower the number of recordings in one batch.",
            )
        if coming > free:
            raise TransientError(ErrorCode.SCRATCH_FULL, f"The disk of {self.settings.dir} has only {free} bytes left.")


def sweep(folder: Path) -> None:
    """Delete scratch folders of dead processes."""
    from filelock import Timeout

    for path in (entry for entry in folder.iterdir() if _OURS.fullmatch(entry.name)):
        # Another user's folder, already deleted, or locked by a running process.
        with suppress(OSError, Timeout):
            about = path.lstat()
            # A folder without a lock file is just being created.
            if stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() and (path / _LOCK).exists():
                with _lock(path):
                    shutil.rmtree(path, ignore_errors=True)


def _lock(folder: Path) -> "BaseFileLock":
    # Imported here because it takes longer than everything else that `stenopool --help` needs.
    from filelock import FileLock

    return FileLock(folder / _LOCK, blocking=False, thread_local=False)


def _size(folder: Path) -> int:
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            with suppress(FileNotFoundError):
                total += (Path(parent) / name).lstat().st_size
    return total
