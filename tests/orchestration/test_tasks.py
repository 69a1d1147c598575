"""Batches in Prefect tasks: a long run returns free memory between batches, a short one only at its end."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect import flow

from stenopool.errors import AccessDenied, StorageUnavailable
from stenopool.orchestration import tasks
from stenopool.pipeline.context import Job, RunContext, Stage
from stenopool.runtime.scratch import Scratch
from stenopool.settings import get_settings
from tests.support.runs import run_context, work_item

ITEMS = [work_item(name) for name in "1234"]
pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunContext]:
    """A run with one batch per recording."""
    monkeypatch.setenv("STENOPOOL_BATCH__BATCH_RECORDINGS", "1")
    get_settings.cache_clear()
    with Scratch() as scratch:
        yield run_context(tmp_path, scratch)


def carry(run: RunContext, *stages: Stage) -> None:
    @flow(persist_result=False)
    async def carrying() -> None:
        await tasks.carry(run, stages, ITEMS)

    asyncio.run(carrying())


def test_free_memory_is_returned_between_batches(run: RunContext, monkeypatch: pytest.MonkeyPatch) -> None:
    released: list[str] = []
    monkeypatch.setattr(tasks, "release_free_memory", lambda _: released.append("now"))

    def work(_run: RunContext, job: Job) -> None:
        job.known_duration = 1.0

    carry(run, Stage("work", work))
    assert len(released) == len(ITEMS)


def test_a_stage_is_retried_as_often_as_the_settings_said_at_the_start_of_the_flow(
    run: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STENOPOOL_RETRY__ATTEMPTS", "1")
    get_settings.cache_clear()
    tried: list[str] = []

    def work(_run: RunContext, job: Job) -> None:
        tried.append(job.key)
        raise StorageUnavailable("away")

    carry(run, Stage("work", work))
    assert sorted(tried) == sorted([item.recording.key for item in ITEMS] * 2)


def test_no_batch_starts_after_an_error_of_the_installation(run: RunContext) -> None:
    tried: list[str] = []

    def work(_run: RunContext, job: Job) -> None:
        tried.append(job.key)
        raise AccessDenied("denied")

    with pytest.raises(AccessDenied):
        carry(run, Stage("work", work))
    assert len(tried) <= 3
