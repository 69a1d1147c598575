"""Rate limits."""

import time

_MOST_CALLERS = 10_000


class Limiter:
    """A token bucket per caller: ``rate`` requests per second, and twice that at once."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._most = max(1.0, 2 * rate)
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, caller: str) -> bool:
        now = time.monotonic()
        left, since = self._buckets.pop(caller, (self._most, now))
        left = min(self._most, left + (now - since) * self._rate)
        if len(self._buckets) >= _MOST_CALLERS:  # the one not seen for the longest time goes
            del self._buckets[next(iter(self._buckets))]
        self._buckets[caller] = (max(0.0, left - 1), now)
        return left >= 1
