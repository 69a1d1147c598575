"""The temporary folder of a run: private, bounded, and gone afterwards whatever happened.

Each folder holds a file that the process which made it has locked. The kernel drops the lock when that process dies,
also of SIGKILL and in another container, so whoever starts next knows what may be removed; a process number in a name
would be reused, and means nothing outside its container.
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

# Only folders of exactly this shape are swept: "stenopool-results" in /tmp may be somebody's own.
_PREFIX = ".stenopool-scratch-"
_OURS = re.compile(rf"{re.escape(_PREFIX)}[0-9]+-[a-z0-9_]{{8}}")
_LOCK = ".lock"
_NAME = re.compile(r"[0-9a-zA-Z_]{1,64}")
_QUICK = 0.005  # seconds


class Scratch:
    """``with Scratch() as scratch:`` gives a private folder, with a sub-folder per recording.

    Room is bounded by `ScratchSettings.max_bytes` and by the disk. Gone after success, exception, the process's end and
    the end of a stop's grace time; what SIGKILL leaves is removed by the next `Scratch` or `sweep`. Methods may be
    called from several threads.
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
            with suppress(FileNotFoundError, Timeout):  # a sweep elsewhere came between making and locking
                self._lock.acquire()
                break
        signals.at_end(self.close)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the folder. Nothing happens the second time, or in a forked child, which does not own it."""
        if os.getpid() != self._owner or not self.path.exists():
            return
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.release()
        signals.forget(self.close)

    def folder(self, name: str, *, reserve: int = 0) -> Path:
        """The sub-folder of one recording, made if need be. ``name`` is its fingerprint, never its key.

        ``reserve``: bytes that are going to be written there; `TransientError` SCRATCH_FULL if there is no room.
        """
        path = self._path(name)
        with self._guard:
            if reserve:
                self._require(reserve, name)
                self._reserved[name] = reserve
            path.mkdir(exist_ok=True)
        return path

    def release(self, name: str) -> None:
        """Remove one recording's sub-folder and its reservation; no error if there is none."""
        shutil.rmtree(self._path(name), ignore_errors=True)
        with self._guard:
            self._reserved.pop(name, None)

    def _measure(self) -> dict[str, int]:
        """Bytes by recording. Measured anew each time while that is quick; for thousands of recordings a twentieth
        of the time goes into it, and what was written in the last seconds is not counted yet.
        """
        began = time.monotonic()
        if began >= self._measure_after:
            self._sizes = {one.name: _size(one) for one in self.path.iterdir()}
            took = time.monotonic() - began
            self._measure_after = began + (20 * took if took > _QUICK else 0.0)
        return self._sizes

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError(f"a scratch folder is named by a fingerprint, not {name!r}")
        return self.path / name

    def _require(self, more: int, name: str) -> None:
        try:
            self._check_room(more, name)
        except TransientError:
            self._measure_after = 0.0  # what was counted may be gone by now
            self._check_room(more, name)

    def _check_room(self, more: int, name: str) -> None:
        sizes = self._measure()
        # Of a reservation only what is not written yet still needs room.
        reserved = {one: size for one, size in self._reserved.items() if one != name}
        coming = more + sum(max(0, size - sizes.get(one, 0)) for one, size in reserved.items())
        bound, free = self.settings.max_bytes, shutil.disk_usage(self.path).free
        if sum(sizes.values()) + coming > bound:
            raise TransientError(
                ErrorCode.SCRATCH_FULL,
                f"{more} bytes more would exceed the {bound} bytes that {self.settings.dir} may hold for one run.",
                remedy="Raise STENOPOOL_SCRATCH__MAX_BYTES, or lower the number of recordings in one batch.",
            )
        if coming > free:
            raise TransientError(ErrorCode.SCRATCH_FULL, f"{self.settings.dir} has {free} bytes left of its disk.")


def sweep(folder: Path) -> None:
    """Remove scratch folders whose process is dead."""
    from filelock import Timeout

    for path in (entry for entry in folder.iterdir() if _OURS.fullmatch(entry.name)):
        # Somebody else's, or gone meanwhile, or locked by a living process.
        with suppress(OSError, Timeout):
            about = path.lstat()
            # One that holds no lock yet is being made at this moment.
            if stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() and (path / _LOCK).exists():
                with _lock(path):
                    shutil.rmtree(path, ignore_errors=True)


def _lock(folder: Path) -> "BaseFileLock":
    # Imported here: it takes longer than all else that `stenopool --help` needs.
    from filelock import FileLock

    return FileLock(folder / _LOCK, blocking=False, thread_local=False)


def _size(folder: Path) -> int:
    total = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            with suppress(FileNotFoundError):
                total += (Path(parent) / name).lstat().st_size
    return total
