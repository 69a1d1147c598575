"""Where the time of a machine goes that is paid by the hour: busy, loading models, idle."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Kind = Literal["busy", "load"]


class DeviceClock:
    """Wall seconds of a device's use. Overlapping uses count once; use while something loads counts as use."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.seconds: dict[Kind, float] = {"busy": 0.0, "load": 0.0}
        self._active: dict[Kind, int] = {"busy": 0, "load": 0}
        self._since = self.started
        self._lock = threading.Lock()

    @contextmanager
    def counts(self, kind: Kind) -> Iterator[None]:
        """The device is used so while the block runs."""
        self._change(kind, +1)
        try:
            yield
        finally:
            self._change(kind, -1)

    def summary(self) -> dict[str, float]:
        """Seconds busy, load and idle since the clock was made; they add up to its age."""
        self._change("busy", 0)
        age = self._since - self.started
        return {
            "busy": self.seconds["busy"],
            "load": self.seconds["load"],
            "idle": max(0.0, age - sum(self.seconds.values())),
        }

    def _change(self, kind: Kind, by: int) -> None:
        with self._lock:
            now = time.monotonic()
            current: Kind | None = "busy" if self._active["busy"] else "load" if self._active["load"] else None
            if current:
                self.seconds[current] += now - self._since
            self._since = now
            self._active[kind] += by
