"""What is owed to whom: objects in the destination."""

import hashlib
import re
import secrets
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from pydantic import BaseModel, Field

from stenopool.errors import ErrorCode, SetupError
from stenopool.storage import ObjectStore

CALLBACKS = ".callbacks/"
_KEY = re.compile(rf"{re.escape(CALLBACKS)}([0-9a-f]{{32}})/(?:request\.json|try-([0-9]{{2}}))")
_LONGEST_PAUSE = 6 * 3600.0


class Callback(BaseModel):
    """Somebody wants to know how this ends: one piece of work on a recording, or a run over a prefix.

    ``event``: what its receiver knows it by. The address may hold a secret: it stands in no log.
    """

    event: str = Field(default_factory=lambda: f"msg_{secrets.token_hex(16)}")
    url: str = Field(repr=False)
    key: str | None = None
    work: str | None = None
    run: UUID | None = None
    asked_at: datetime = Field(default_factory=lambda: datetime.now(UTC))

    @property
    def id(self) -> str:
        """The same wish is one wish, however often it is sent."""
        about = f"{self.url}\0{self.key}\0{self.work}\0{self.run}"
        return hashlib.sha256(about.encode()).hexdigest()[:32]


@dataclass
class Owed:
    """One request as the listing shows it."""

    id: str
    asked: bool = False
    tries: list[float] = field(default_factory=list)

    def is_due(self, pause: float) -> bool:
        """``pause``: seconds after the first try; four times as many after each further one."""
        return self.asked and (
            not self.tries or time.time() >= max(self.tries) + min(pause * 4.0 ** (len(self.tries) - 1), _LONGEST_PAUSE)
        )


class Outbox:
    """The requests that are kept in a destination."""

    def __init__(self, destination: ObjectStore) -> None:
        self._destination = destination

    def put(self, callback: Callback) -> None:
        data = callback.model_dump_json().encode()
        self._destination.put_bytes(f"{CALLBACKS}{callback.id}/request.json", data, if_absent=True)

    def owed(self) -> list[Owed]:
        """All of them: one listing."""
        found: defaultdict[str, Owed] = defaultdict(lambda: Owed(""))
        for info in self._destination.list(CALLBACKS):
            if match := _KEY.fullmatch(info.key):
                one = found[match[1]]
                one.id = match[1]
                if match[2]:
                    one.tries.append(info.modified)
                else:
                    one.asked = True
        return list(found.values())

    def read(self, id: str) -> Callback | None:
        """None if it is done with."""
        try:
            return Callback.model_validate_json(self._destination.get_bytes(f"{CALLBACKS}{id}/request.json"))
        except SetupError as error:
            if error.code is ErrorCode.OBJECT_NOT_FOUND:
                return None
            raise

    def claim(self, owed: Owed) -> bool:
        """Whether the next try is ours, and nobody else's."""
        return self._destination.put_bytes(f"{CALLBACKS}{owed.id}/try-{len(owed.tries) + 1:02}", b"", if_absent=True)

    def remove(self, id: str) -> None:
        """It is done with. The request goes last: while it is there, its tries are counted."""
        for info in sorted(self._destination.list(f"{CALLBACKS}{id}/"), reverse=True):
            self._destination.delete(info.key)
