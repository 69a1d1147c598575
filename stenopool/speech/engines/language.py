"""One language out of several windows' opinions."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


def vote(opinions: Iterable[tuple[Mapping[str, float], float]], allowed: Iterable[str] = ()) -> tuple[str, float]:
    """The language with the most probability over (probabilities, weight) pairs, and its share of the whole.

    ``allowed`` restricts the choice; empty allows all. Weights are seconds of speech. No opinion: ``("en", 0.0)``.
    """
    permitted = frozenset(allowed)
    total: dict[str, float] = {}
    for probabilities, weight in opinions:
        for code, probability in probabilities.items():
            if not permitted or code in permitted:
                total[code] = total.get(code, 0.0) + probability * weight
    mass = sum(total.values())
    if not mass:
        return (min(permitted) if permitted else "en"), 0.0
    best = max(sorted(total), key=total.__getitem__)
    return best, total[best] / mass


def spread(items: list[T], most: int) -> list[T]:
    """At most ``most`` items, evenly spread over the list, so that a vote hears more than the beginning."""
    if len(items) <= most:
        return items
    step = len(items) / most
    return [items[int(step * (i + 0.5))] for i in range(most)]
