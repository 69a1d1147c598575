"""State of the work on a Prefect server: queued runs and their waiting time, workers, runs without a heartbeat."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    TaskRunFilter,
    WorkPoolFilter,
    WorkQueueFilter,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort
from prefect.events.filters import EventFilter
from prefect.exceptions import ObjectNotFound

from stenopool.orchestration.flow_runs import UNFINISHED, read_all, select_runs
from stenopool.orchestration.names import HEARTBEAT_SECONDS, QUEUES, TAG, PoolKind, pool_name

RunPhase = Literal["waiting", "pending", "running"]
_PHASES: dict[RunPhase, StateType] = {
    "waiting": StateType.SCHEDULED,
    "pending": StateType.PENDING,
    "running": StateType.RUNNING,
}
# As in the automation that ends such runs: a busy machine may miss one or two heartbeats.
_SILENT = timedelta(seconds=4 * HEARTBEAT_SECONDS)


@dataclass
class Facts:
    """State of the work. Pools are identified by their kind, without the prefix.

    ``depth``: runs by queue ("gpu/batch") and state.
    ``oldest``: seconds for which the first run in each queue has been due.
    ``workers``: by pool and "online" or "offline".
    ``last_seen``: last heartbeat in each pool.
    ``last_progress``: end of the last task.
    """

    depth: dict[tuple[str, RunPhase], int] = field(default_factory=dict)
    oldest: dict[str, float] = field(default_factory=dict)
    paused: dict[str, bool] = field(default_factory=dict)
    workers: Counter[tuple[str, str]] = field(default_factory=Counter)
    last_seen: dict[str, datetime | None] = field(default_factory=dict)
    zombies: int = 0
    last_progress: datetime | None = None


async def read_facts(client: PrefectClient) -> Facts:
    """Read everything, in about thirty small requests regardless of the load. Raises httpx's and Prefect's errors."""
    facts = Facts()
    await asyncio.gather(
        *(_read_queue(client, facts, pool, queue) for pool, queues in QUEUES.items() for queue in queues),
        *(_read_pool(client, facts, pool) for pool in QUEUES),
        _count_zombies(client, facts),
        _read_progress(client, facts),
    )
    return facts


async def is_over(client: PrefectClient, flow_run: UUID) -> bool | None:
    """Whether a run and all runs that it started have ended; None if the run is unknown to the server."""
    try:
        run = await client.read_flow_run(flow_run)
    except ObjectNotFound:
        return None
    if run.state is None or not run.state.is_final():
        return False
    children = select_runs(*UNFINISHED, parents=[flow_run])
    # Subflows in the parent's process ended with it, whatever their state.
    children.deployment_id = FlowRunFilterDeploymentId(is_null_=False)
    return await client.count_flow_runs(flow_run_filter=children) == 0


async def _read_queue(client: PrefectClient, facts: Facts, pool: PoolKind, queue: str) -> None:
    name, now = f"{pool}/{queue}", datetime.now(UTC)
    here: dict[str, Any] = {
        "work_pool_filter": _in_pools(pool),
        "work_queue_filter": WorkQueueFilter.model_validate({"name": {"any_": [queue]}}),
    }
    for state, kind in _PHASES.items():
        facts.depth[name, state] = await client.count_flow_runs(flow_run_filter=select_runs(kind, due=now), **here)
    facts.oldest[name] = 0.0
    if facts.depth[name, "waiting"] + facts.depth[name, "pending"]:
        first = await client.read_flow_runs(
            flow_run_filter=select_runs(StateType.SCHEDULED, StateType.PENDING, due=now),
            sort=FlowRunSort.EXPECTED_START_TIME_ASC,
            limit=1,
            **here,
        )
        if first and first[0].expected_start_time:
            facts.oldest[name] = max(0.0, (now - first[0].expected_start_time).total_seconds())


async def _read_pool(client: PrefectClient, facts: Facts, pool: PoolKind) -> None:
    facts.last_seen[pool] = None
    for state in ("online", "offline"):
        facts.workers[pool, state] = 0
    try:
        paused = (await client.read_work_pool(pool_name(pool))).is_paused
        queues = await client.read_work_queues(work_pool_name=pool_name(pool))
    except ObjectNotFound:  # nothing is deployed yet
        return
    workers = await client.read_workers_for_work_pool(pool_name(pool))
    for worker in workers:
        facts.workers[pool, worker.status.value.lower()] += 1
    facts.last_seen[pool] = max((one.last_heartbeat_time for one in workers if one.last_heartbeat_time), default=None)
    known = [queue for queue in queues if queue.name in QUEUES[pool]]
    facts.paused |= {f"{pool}/{queue.name}": paused or queue.is_paused for queue in known}


async def _count_zombies(client: PrefectClient, facts: Facts) -> None:
    """Count runs without a recent heartbeat. All pools send heartbeats; a run that never sent one ended at once."""
    now = datetime.now(UTC)
    running = await read_all(
        client, flow_run_filter=select_runs(StateType.RUNNING), work_pool_filter=_in_pools(*QUEUES)
    )
    old_enough = [run for run in running if run.start_time and now - run.start_time > _SILENT]
    if not old_enough:
        return
    heard: dict[str, datetime] = {}
    since = min(run.start_time for run in old_enough if run.start_time)
    asked = {
        "event": {"name": ["prefect.flow-run.heartbeat"]},
        "occurred": {"since": since, "until": now},
        "resource": {"id": [f"prefect.flow-run.{run.id}" for run in old_enough], "distinct": True},
    }
    page = await client.read_events(EventFilter.model_validate(asked), limit=50)
    while True:
        heard |= {event.resource.id: event.occurred for event in page.events}
        if not page.next_page:
            break
        page = await client.read_events_page(str(page.next_page))
    last_signs = (heard.get(f"prefect.flow-run.{run.id}") or run.start_time or now for run in old_enough)
    facts.zombies = sum(now - last > _SILENT for last in last_signs)


async def _read_progress(client: PrefectClient, facts: Facts) -> None:
    last = await client.read_task_runs(
        flow_run_filter=FlowRunFilter.model_validate({"tags": {"all_": [TAG]}}),
        task_run_filter=TaskRunFilter.model_validate({"state": {"type": {"any_": [StateType.COMPLETED]}}}),
        sort=TaskRunSort.END_TIME_DESC,
        limit=1,
    )
    facts.last_progress = last[0].end_time if last else None


def _in_pools(*pools: PoolKind) -> WorkPoolFilter:
    return WorkPoolFilter.model_validate({"name": {"any_": [pool_name(pool) for pool in pools]}})
