"""Batches in turn: a long run gives back what it leaves free on its way, a short one only when it is over."""

import asyncio
from collections.abc import Sequence

import pytest

from stenopool.orchestration import running
from stenopool.pipeline.shards import WorkItem
from stenopool.runtime import allocator


@pytest.mark.parametrize(("seconds", "times"), [(0.0, 2), (3600.0, 0)])
def test_free_memory_goes_back_between_batches(seconds: float, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    given, begun = [], []
    real = allocator.release_free_memory
    monkeypatch.setattr(running, "_GIVE_BACK_SECONDS", seconds)
    monkeypatch.setattr(allocator, "release_free_memory", lambda: given.append(real()))

    async def do(items: Sequence[WorkItem]) -> None:
        begun.append(items)
        await asyncio.sleep(0.2 * len(begun))  # so that they end one after the other

    asyncio.run(running.in_turn([[], [], [], []], do))
    assert len(begun) == 4
    assert len(given) == times
