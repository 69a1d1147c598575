"""Finds out whether one object has a fault or the whole store, because both give the same error.

A refused or missing object concerns only its recording as long as the store's root is accessible. If the root is not,
all recordings are affected, and the run ends with the root's error.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from uuid import uuid4

from stenopool.errors import StenopoolError
from stenopool.pipeline.receipts import work_key
from stenopool.storage.base import ObjectStore

# Seconds that a result is cached: thousands of refused objects do not cause thousands of checks, and credentials that
# expire during a run are detected within seconds.
_REMEMBERED = 5.0


class StoreCheck:
    """Checks a store as a whole when an error occurs; the result is cached for `_REMEMBERED` seconds.

    Thread-safe: one thread checks, and the others wait for its result.
    """

    def __init__(self, store: ObjectStore, look: Callable[[ObjectStore], None]) -> None:
        self._store, self._look = store, look
        self._lock = threading.Lock()
        self._found: StenopoolError | None = None
        self._until = float("-inf")

    def find_fault(self) -> StenopoolError | None:
        """The error that the check raises; None if it succeeds."""
        with self._lock:
            if time.monotonic() >= self._until:
                try:
                    self._look(self._store)
                    self._found = None
                except StenopoolError as error:
                    self._found = error
                self._until = time.monotonic() + _REMEMBERED
            return self._found


def check_reading(store: ObjectStore) -> StoreCheck:
    """For a source: whether its root exists and can be listed."""
    return StoreCheck(store, lambda store: store.check_root())


def check_writing(store: ObjectStore) -> StoreCheck:
    """For a destination: whether a small object can be written."""
    return StoreCheck(store, _write_probe)


def _write_probe(store: ObjectStore) -> None:
    key = work_key(uuid4().hex, "probe")  # `clean` deletes it if the process is killed before the end
    try:
        store.put_bytes(key, b"")
    finally:
        with suppress(StenopoolError):
            store.delete(key)
