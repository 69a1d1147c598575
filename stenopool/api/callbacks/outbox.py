"""Pending callbacks, and those that were given up: objects in the destination.

    .callbacks/<id>/request.json    the request: what, for whom, where to
    .callbacks/<id>/try-NN          an attempt: empty while it is in progress, then why it failed
    .callbacks/<id>/try-99          given up; kept for a week, to be listed and retried

URLs may contain secrets, which must not be readable in the destination. So a request is encrypted (Fernet) with a key
derived from the secret that signs callbacks. This authenticates it too: nobody else can write one. Requests of earlier
versions are plain JSON, and are still read.
"""

import hashlib
import math
import re
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from cryptography.fernet import InvalidToken, MultiFernet
from pydantic import BaseModel, Field, ValidationError

from stenopool.pipeline.receipts import CALLBACKS
from stenopool.storage import ObjectStore

_KEY = re.compile(rf"{re.escape(CALLBACKS)}([0-9a-f]{{32}})/(?:request\.json|try-([0-9]{{2}}))")
_OWNER = 8  # digits of an id that identify its owner
_GIVEN_UP = 99
_LONGEST_PAUSE = 6 * 3600.0
_KEPT = 7 * 24 * 3600.0  # seconds that a callback is kept after it was given up


class TooManyPending(Exception):
    """The key has the maximum number of pending callbacks."""


class Unreadable(Exception):
    """A request that cannot be decrypted: its secret was removed, or somebody else wrote it."""


class Callback(BaseModel):
    """A request for an event when something has ended: a recording's work, or a run over a prefix.

    ``event``: its id for the receiver. ``url`` may contain a secret and is never logged. ``brief``: the caller may not
    read, so the event has only the id and the state. ``owner``: the name of the caller's key; empty in requests of
    earlier versions.
    """

    event: str = Field(default_factory=lambda: f"msg_{secrets.token_hex(16)}")
    url: str = Field(repr=False)
    key: str | None = None
    work: str | None = None
    run: UUID | None = None
    brief: bool = False
    owner: str = ""
    asked_at: datetime = Field(default_factory=lambda: datetime.now(UTC))

    @property
    def id(self) -> str:
        """Equal requests of one key have the same id. It starts with the owner's id: listings can select by owner."""
        about = f"{self.url}\0{self.key}\0{self.work}\0{self.run}" + "\0brief" * self.brief
        digest = hashlib.sha256(about.encode()).hexdigest()[:32]
        return f"{owner_id(self.owner)}{digest[_OWNER:]}" if self.owner else digest


def owner_id(owner: str) -> str:
    """Return the start of the ids of this key's callbacks."""
    return hashlib.sha256(owner.encode()).hexdigest()[:_OWNER]


class Try(NamedTuple):
    """An attempt. ``at``: Unix time of its claim, or of its failure once it has failed."""

    at: float
    failed: bool
    number: int = 1


@dataclass
class PendingCallback:
    """A request, as listed."""

    id: str
    asked: bool = False
    tries: list[Try] = field(default_factory=list)

    @property
    def owner(self) -> str:
        return self.id[:_OWNER]

    @property
    def count(self) -> int:
        """Number of attempts."""
        return sum(one.number != _GIVEN_UP for one in self.tries)

    @property
    def given_up(self) -> bool:
        return any(one.number == _GIVEN_UP for one in self.tries)

    @property
    def is_old(self) -> bool:
        """Whether it was given up so long ago that it should be removed."""
        return self.given_up and time.time() >= max(self.tries).at + _KEPT

    def due_at(self, pause: float, longest: float) -> float:
        """Return the Unix time of the next attempt; 0 for now.

        ``pause``: seconds after the first attempt, multiplied by four after each further one. ``longest``: seconds
        after which an attempt without a result has died with its process.
        """
        if not self.tries:
            return 0.0
        last = max(self.tries)
        return last.at + (min(pause * 4.0 ** (len(self.tries) - 1), _LONGEST_PAUSE) if last.failed else longest)

    def is_due(self, pause: float, longest: float) -> bool:
        return self.asked and not self.given_up and time.time() >= self.due_at(pause, longest)


class Outbox:
    """The requests in a destination. ``most``: maximum number per key that are pending, and that were given up."""

    def __init__(self, destination: ObjectStore, cipher: MultiFernet | None, most: int) -> None:
        self._destination = destination
        self._cipher = cipher
        self._most = most
        self._lock = threading.Lock()
        self._listed: dict[str, bool] = {}  # id: given up
        self._put: dict[str, float] = {}  # id: when it was written, if no listing has shown it yet

    def require_room(self, callback: Callback) -> None:
        """Raises `TooManyPending` if the key has no room. Counts the last listing, and what was added since."""
        with self._lock:
            self._require_room(callback)

    @contextmanager
    def _making_room(self, callback: Callback) -> Iterator[None]:
        """Count a callback from before it is written until a listing that began afterwards."""
        with self._lock:
            self._require_room(callback)
            self._put[callback.id] = math.inf
        try:
            yield
        finally:
            self._put[callback.id] = time.monotonic()

    def _require_room(self, callback: Callback) -> None:
        waiting = {id for id, given_up in self._listed.items() if not given_up} | self._put.keys()
        owner = owner_id(callback.owner)
        if callback.id not in waiting and sum(id.startswith(owner) for id in waiting) >= self._most:
            raise TooManyPending

    def put(self, callback: Callback) -> None:
        """Store a request. Raises `TooManyPending`, or `Unreadable` without a secret to encrypt it with."""
        if self._cipher is None:
            raise Unreadable
        data = self._cipher.encrypt(callback.model_dump_json().encode())
        with self._making_room(callback):
            self._destination.put_bytes(f"{CALLBACKS}{callback.id}/request.json", data, if_absent=True)

    def pending(self, owner: str = "") -> list[PendingCallback]:
        """Return all callbacks, or those of one owner, with one listing."""
        begin = time.monotonic()
        found: dict[str, PendingCallback] = {}
        for info in self._destination.list(f"{CALLBACKS}{owner}"):
            if match := _KEY.fullmatch(info.key):
                one = found.setdefault(match[1], PendingCallback(match[1]))
                if match[2]:
                    one.tries.append(Try(info.modified, failed=info.size > 0, number=int(match[2])))
                else:
                    one.asked = True
        if not owner:
            with self._lock:
                self._listed = {one.id: one.given_up for one in found.values() if one.asked}
                self._put = {id: since for id, since in self._put.items() if since >= begin}
        return list(found.values())

    def read(self, id: str) -> Callback | None:
        """The stored callback; None if it was delivered or removed. Raises `Unreadable`."""
        kept = self._destination.get_bytes(f"{CALLBACKS}{id}/request.json", None)
        if kept is None:
            return None
        try:
            if not kept.startswith(b"{"):
                if self._cipher is None:
                    raise Unreadable
                kept = self._cipher.decrypt(kept)
            callback = Callback.model_validate_json(kept)
        except (InvalidToken, ValidationError):
            raise Unreadable from None
        if callback.id != id:  # a copy under another id
            raise Unreadable
        return callback

    def read_failure(self, pending: PendingCallback) -> str | None:
        """Return why the last attempt failed."""
        failed = [one for one in pending.tries if one.failed]
        if not failed:
            return None
        why = self._destination.get_bytes(_try(pending.id, max(failed).number), None)
        return why.decode("utf-8", "replace") if why else None

    def claim(self, pending: PendingCallback) -> bool:
        """Claim the next attempt for this process. Returns False if another process has it or has finished."""
        key = _next_try(pending)
        if not self._destination.put_bytes(key, b"", if_absent=True):
            return False
        if self._destination.exists(f"{CALLBACKS}{pending.id}/request.json"):
            return True
        self._destination.delete(key)  # another process finished it since the listing
        return False

    def mark_failed(self, pending: PendingCallback, why: str) -> None:
        """Record that the claimed attempt failed; the pause starts now."""
        self._destination.put_bytes(_next_try(pending), why.encode())

    def give_up(self, pending: PendingCallback, why: str) -> None:
        """Stop the attempts. It can be listed and renewed for a week, unless its key has too many of them."""
        kept = sum(given_up and id.startswith(pending.owner) for id, given_up in list(self._listed.items()))
        if kept >= self._most:
            self.remove(pending.id)
        else:
            self._destination.put_bytes(_try(pending.id, _GIVEN_UP), why.encode())

    def renew(self, callback: Callback) -> None:
        """Retry it as if no attempt had been made. Raises `TooManyPending`."""
        with self._making_room(callback):
            self.sweep(callback.id)

    def remove(self, id: str) -> None:
        """Delete a callback. Its request is deleted first, so an attempt that is claimed later is not made."""
        self._destination.delete(f"{CALLBACKS}{id}/request.json")
        self.sweep(id)

    def sweep(self, id: str) -> None:
        """Delete the attempts."""
        for info in list(self._destination.list(f"{CALLBACKS}{id}/try-")):
            self._destination.delete(info.key)


def _next_try(pending: PendingCallback) -> str:
    return _try(pending.id, len(pending.tries) + 1)


def _try(id: str, number: int) -> str:
    return f"{CALLBACKS}{id}/try-{number:02}"
