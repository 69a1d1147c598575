"""Whether what a program needs answers: for probes, which send no key, and for its metrics."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

from pydantic import BaseModel

from stenopool.runtime.logs import get_logger

log = get_logger()
_PATIENCE = 5.0  # seconds for each dependency
_FRESH = 2.0  # seconds; anybody may ask, and each look asks others

State = Literal["ok", "failed"]


class Health(BaseModel):
    """``dependencies``: each "ok" or "failed"; why stands in the log of whoever runs this, not here."""

    status: State
    dependencies: dict[str, State] = {}

    @classmethod
    def of(cls, dependencies: dict[str, State]) -> "Health":
        return cls(status="failed" if "failed" in dependencies.values() else "ok", dependencies=dependencies)


class Readiness:
    """Looks at dependencies, all at once, and remembers the answer for two seconds. A check raises if it fails."""

    def __init__(self, checks: Mapping[str, Callable[[], Awaitable[object]]]) -> None:
        self._checks = checks
        self._lock = asyncio.Lock()
        self._health = Health(status="failed")
        self._looked = float("-inf")

    async def look(self) -> Health:
        async with self._lock:
            if time.monotonic() - self._looked >= _FRESH:
                states = await asyncio.gather(*(_state(name, check) for name, check in self._checks.items()))
                self._health = Health.of(dict(zip(self._checks, states, strict=True)))
                self._looked = time.monotonic()
            return self._health


async def _state(name: str, check: Callable[[], Awaitable[object]]) -> State:
    try:
        async with asyncio.timeout(_PATIENCE):
            await check()
    except Exception as error:  # whatever it is, it is not ready
        log.warning("Not ready: %s: %s", name, error or type(error).__name__)
        return "failed"
    return "ok"
