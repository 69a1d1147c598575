"""Callbacks that are pending: objects in the destination."""

import hashlib
import re
import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from pydantic import BaseModel, Field

from stenopool.pipeline.receipts import CALLBACKS
from stenopool.storage import ObjectStore

_KEY = re.compile(rf"{re.escape(CALLBACKS)}([0-9a-f]{{32}})/(?:request\.json|try-([0-9]{{2}}))")
_LONGEST_PAUSE = 6 * 3600.0


class Callback(BaseModel):
    """A request for an event when something has ended: a recording's work, or a run over a prefix.

    ``event``: its id for the receiver. ``url`` may contain a secret and is never logged. ``brief``: its caller may not
    read, so the event has only the id and the state.
    """

    event: str = Field(default_factory=lambda: f"msg_{secrets.token_hex(16)}")
    url: str = Field(repr=False)
    key: str | None = None
    work: str | None = None
    run: UUID | None = None
    brief: bool = False
    asked_at: datetime = Field(default_factory=lambda: datetime.now(UTC))

    @property
    def id(self) -> str:
        """Equal requests have the same id."""
        about = f"{self.url}\0{self.key}\0{self.work}\0{self.run}" + "\0brief" * self.brief
        return hashlib.sha256(about.encode()).hexdigest()[:32]


class Try(NamedTuple):
    """``at``: Unix time of its claim, or of its failure once it has failed."""

    at: float
    failed: bool


@dataclass
class PendingCallback:
    """One request as the listing shows it."""

    id: str
    asked: bool = False
    tries: list[Try] = field(default_factory=list)

    def is_due(self, pause: float, longest: float) -> bool:
        """``pause``: seconds after the first try; four times as many after each further one.

        ``longest``: seconds after which a try of which nothing was heard has died with its process.
        """
        if not self.tries:
            return self.asked
        last = max(self.tries)
        wait = min(pause * 4.0 ** (len(self.tries) - 1), _LONGEST_PAUSE) if last.failed else longest
        return self.asked and time.time() >= last.at + wait


class Outbox:
    """The requests that are kept in a destination."""

    def __init__(self, destination: ObjectStore) -> None:
        self._destination = destination

    def put(self, callback: Callback) -> None:
        data = callback.model_dump_json().encode()
        self._destination.put_bytes(f"{CALLBACKS}{callback.id}/request.json", data, if_absent=True)

    def pending(self) -> list[PendingCallback]:
        """All of them: one listing."""
        found: dict[str, PendingCallback] = {}
        for info in self._destination.list(CALLBACKS):
            if match := _KEY.fullmatch(info.key):
                one = found.setdefault(match[1], PendingCallback(match[1]))
                if match[2]:
                    one.tries.append(Try(info.modified, failed=info.size > 0))
                else:
                    one.asked = True
        return list(found.values())

    def read(self, id: str) -> Callback | None:
        """The stored callback; None if it was delivered or given up."""
        kept = self._destination.get_bytes(f"{CALLBACKS}{id}/request.json", None)
        return None if kept is None else Callback.model_validate_json(kept)

    def claim(self, pending: PendingCallback) -> bool:
        """Whether the next try is this process's."""
        key = _try(pending)
        if not self._destination.put_bytes(key, b"", if_absent=True):
            return False
        if self.read(pending.id):
            return True
        self._destination.delete(key)  # another process finished it since the listing
        return False

    def mark_failed(self, pending: PendingCallback, why: str) -> None:
        """Record that the claimed try failed: the pause begins."""
        self._destination.put_bytes(_try(pending), why.encode())

    def remove(self, id: str) -> None:
        """Delete a callback. Its request is deleted first: a try that is claimed later is not made."""
        self._destination.delete(f"{CALLBACKS}{id}/request.json")
        self.sweep(id)

    def sweep(self, id: str) -> None:
        """Remove the tries."""
        for info in list(self._destination.list(f"{CALLBACKS}{id}/try-")):
            self._destination.delete(info.key)


def _try(pending: PendingCallback) -> str:
    return f"{CALLBACKS}{pending.id}/try-{len(pending.tries) + 1:02}"
