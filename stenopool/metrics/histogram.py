"""A histogram that can be stored as JSON and added to others."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

from pydantic import BaseModel, Field


class Histogram(BaseModel):
    """Observations by upper bound, not cumulated, so that histograms of other bounds can be added too."""

    buckets: Counter[str] = Field(default_factory=Counter)
    sum: float = 0.0

    def observe(self, value: float, bounds: Sequence[float]) -> None:
        place = bisect_left(bounds, value)
        self.buckets[repr(bounds[place]) if place < len(bounds) else "+Inf"] += 1
        self.sum += value

    def add(self, other: "Histogram") -> None:
        self.buckets.update(other.buckets)
        self.sum += other.sum

    @property
    def count(self) -> int:
        return self.buckets.total()
