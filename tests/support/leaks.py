"""Search for planted secrets in leftovers of programs."""

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path


class ProcessLists:
    """Collects the command lines of all processes while the block runs."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch)

    def __enter__(self) -> "ProcessLists":
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._over.is_set():
            for process in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):  # ended in the meantime
                    self.seen.add((process / "cmdline").read_bytes())
            time.sleep(0.02)


def leaks(secrets: dict[str, str], places: Iterator[tuple[str, bytes]]) -> list[str]:
    """The place of each secret that is found, plain or encoded as in addresses."""
    patterns = {name: re.compile(re.escape(value.encode())) for name, value in secrets.items()}
    return [f"{name} in {place}" for place, data in places for name, one in patterns.items() if one.search(data)]


def files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in folder.rglob("*"):
        if path.is_file():
            yield str(path), path.read_bytes()
