"""Stages as Prefect tasks: a task run per stage and batch, retried only on transient errors."""

from collections.abc import Sequence
from typing import Any

import anyio
from prefect import Task, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import exponential_backoff
from prefect.utilities.annotations import quote

from stenopool.errors import TransientError
from stenopool.pipeline.context import RunContext, Stage
from stenopool.pipeline.runner import BatchRunner, Limiters
from stenopool.pipeline.shards import WorkItem, batches
from stenopool.runtime.logs import log_context
from stenopool.runtime.signals import Stopped
from stenopool.runtime.startup import release_free_memory
from stenopool.settings import get_settings

_BATCHES_IN_PROGRESS = 2
_RELEASE_SECONDS = 30.0


async def carry(run: RunContext, stages: Sequence[Stage], items: Sequence[WorkItem]) -> None:
    """Move work items through stages in batches; the next batch starts while the previous one is in progress.

    A stage's error is raised after all work in progress has ended, so that transcribed recordings are published.
    """
    tasks = {stage: _stage_task(stage) for stage in stages}
    limiters: Limiters = {}
    slots = anyio.Semaphore(_BATCHES_IN_PROGRESS)
    errors: list[Exception] = []

    async def carry_stage(stage: Stage, runner: BatchRunner) -> None:
        try:
            if await runner.has_work(stage):
                await tasks[stage](quote(runner), runner.label)
        except TransientError as error:
            # In a thread, because a store that is down blocks.
            if fault := await anyio.to_thread.run_sync(runner.give_up, stage, error):
                errors.append(fault)
        except Exception as error:
            errors.append(error)
        finally:
            if runner.close(stage):
                slots.release()

    async with anyio.create_task_group() as group:
        for batch in batches(items, get_settings().batch):
            await slots.acquire()
            if errors:
                break
            await anyio.to_thread.run_sync(release_free_memory, _RELEASE_SECONDS)
            runner = BatchRunner(run, stages, batch, limiters)
            for stage in runner.stages:
                group.start_soon(carry_stage, stage, runner)
    if errors:
        raise next((error for error in errors if not isinstance(error, Stopped)), errors[0])


def _stage_task(stage: Stage) -> Task[..., Any]:
    """The stage as a task. Created at the start of a flow, with the current settings."""
    retry = get_settings().retry

    @task(
        name=stage.name,
        task_run_name=stage.name + ", {label}",
        retries=retry.attempts,
        retry_delay_seconds=exponential_backoff(retry.base_delay),
        retry_jitter_factor=retry.jitter or None,
        retry_condition_fn=_is_transient,
        persist_result=False,
        cache_policy=NO_CACHE,
    )
    async def work(runner: BatchRunner, label: str) -> None:  # noqa: ARG001 (used in the run's name)
        with log_context(stage=stage.name):
            await runner.attempt(stage, again=(runtime.task_run.run_count or 1) > 1)

    return work


async def _is_transient(_task: Task[..., Any], _task_run: TaskRun, state: State[Any]) -> bool:
    return isinstance(await state.aresult(raise_on_failure=False), TransientError)
