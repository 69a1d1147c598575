"""Where the time goes: of a machine that is paid by the hour (busy, loading models, idle), and of each stage."""

import threading
import time
from collections import defaultdict
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
        self.begin(kind)
        try:
            yield
        finally:
            self.end(kind)

    def begin(self, kind: Kind) -> None:
        """One more use begins."""
        self._change(kind, +1)

    def end(self, kind: Kind) -> None:
        """One use is over."""
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


class StageClock:
    """Wall seconds in which each stage had work, however many recordings it had in hand; waiting does not count."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._active: defaultdict[str, int] = defaultdict(int)
        self._since: dict[str, float] = {}
        self._lock = threading.Lock()

    def begin(self, stage: str) -> None:
        """The stage takes one more recording in hand."""
        with self._lock:
            if not self._active[stage]:
                self._since[stage] = time.monotonic()
                self._seconds[stage] += 0.0
            self._active[stage] += 1

    def end(self, stage: str) -> None:
        """The stage lets go of one."""
        with self._lock:
            self._active[stage] -= 1
            if not self._active[stage]:
                self._seconds[stage] += time.monotonic() - self._since.pop(stage)

    def seconds(self) -> dict[str, float]:
        """By stage, until now."""
        with self._lock:
            now = time.monotonic()
            return {stage: past + now - self._since.get(stage, now) for stage, past in self._seconds.items()}
