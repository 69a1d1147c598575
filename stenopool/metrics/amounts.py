"""Amounts that can be stored as JSON and added up: for a run, a batch or a year of batches."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any, Self

from pydantic import BaseModel


class Amounts(BaseModel):
    """Amounts that are added field by field: numbers, lists, amounts by name, other `Amounts`."""

    @classmethod
    def total(cls, parts: Iterable[Self]) -> Self:
        """The sum of these parts, which are not changed."""
        whole = cls()
        for part in parts:
            whole.add(part)
        return whole

    def add(self, other: Self) -> None:
        """Add the other's amounts to these."""
        for name in type(self).model_fields:
            setattr(self, name, add_up(getattr(self, name), getattr(other, name)))


class Histogram(Amounts):
    """Observations by upper bound, not cumulative, so that histograms with other bounds can be added."""

    buckets: Counter[str] = Counter()
    sum: float = 0.0

    def observe(self, value: float, bounds: Sequence[float]) -> None:
        place = bisect_left(bounds, value)
        self.buckets[repr(bounds[place]) if place < len(bounds) else "+Inf"] += 1
        self.sum += value

    @property
    def count(self) -> int:
        return self.buckets.total()


def add_up(mine: Any, more: Any) -> Any:
    """The sum of both. ``mine`` is changed in place, unless it is a number; ``more`` is never changed."""
    if isinstance(mine, Amounts):
        mine.add(more)
    elif isinstance(mine, dict):
        for name, amount in more.items():
            mine[name] = add_up(mine[name], amount) if name in mine else deepcopy(amount)
    else:
        mine += more
    return mine
