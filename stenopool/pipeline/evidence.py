"""This object, or the whole store? Decided by evidence, not by the error: both are refused with the same words.

An object that is refused or missing is that recording's matter as long as its store's root answers. Where the root
does not, no other recording would fare better, and the run ends with what the root said.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from uuid import uuid4

from stenopool.errors import StenopoolError
from stenopool.pipeline.receipts import work_key
from stenopool.storage.base import ObjectStore

# An answer counts for so long: thousands of refused objects are not thousands of looks, and a store whose credentials
# expire in mid-run is found out within seconds.
_REMEMBERED = 5.0


class StoreCheck:
    """What is wrong with a store as a whole; asked when an error appears, and remembered for `_REMEMBERED` seconds.

    May be called from several threads: one looks, the others wait for what it finds.
    """

    def __init__(self, store: ObjectStore, look: Callable[[ObjectStore], None]) -> None:
        self._store, self._look = store, look
        self._lock = threading.Lock()
        self._found: StenopoolError | None = None
        self._until = float("-inf")

    def find_fault(self) -> StenopoolError | None:
        """The error that the store's root gives; None if it answers."""
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
    """For a source: is its root there, and can it be listed?"""
    return StoreCheck(store, lambda store: store.check_root())


def check_writing(store: ObjectStore) -> StoreCheck:
    """For a destination: can a small object be written?"""
    return StoreCheck(store, _write_probe)


def _write_probe(store: ObjectStore) -> None:
    key = work_key(uuid4().hex, "probe")  # `clean` removes it, should we be killed in between
    try:
        store.put_bytes(key, b"")
    finally:
        with suppress(StenopoolError):
            store.delete(key)
