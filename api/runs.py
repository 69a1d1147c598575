"""Prefect's side: runs of `ingest`, in the order in which workers take them."""

import asyncio
import time
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
    WorkQueueFilter,
    WorkQueueFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType, WorkQueue
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Cancelling
from pydantic import BaseModel

from api.ids import encode
from deployments.pools import QUEUES
from stenopool.errors import ErrorCode, SetupError

POOL = "cpu"
# As workers serve them: what stands in an earlier queue goes first.
PARENTS = tuple(queue.name for queue in QUEUES["cpu"] if queue.name.startswith("ingest-"))
_TAG = "recording:"
_PAGE = 200  # the most that Prefect's server gives at a time
_FRESH = 1.0  # seconds that the queue is remembered for: at most one look per second, however many ask
_UNDER_WAY = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING, StateType.PAUSED]


class QueueEntry(BaseModel):
    """One run of `ingest`, waiting or under way.

    ``position``: 1 is next; None once a worker has taken it. ``recording``: its id, for a run of one recording.
    ``progress``: per cent of its recordings that are over.
    """

    id: UUID
    name: str
    recording: str | None
    state: Literal["queued", "running"]
    stage: Literal["starting", "ingest", "prepare", "transcribe", "cancelling"] | None = None
    progress: float | None = None
    position: int | None = None
    queue: str | None
    queued_at: datetime
    age: float


class Runs:
    """The runs that a Prefect server has. What it does not answer raises httpx's and Prefect's errors."""

    def __init__(self, client: PrefectClient, deployment: str) -> None:
        self._client = client
        self._deployment = deployment
        self._deployment_id: UUID | None = None
        self._lock = asyncio.Lock()
        self._entries: list[QueueEntry] = []
        self._paused = False
        self._looked = float("-inf")

    async def deployment(self) -> UUID:
        """`SetupError` DEPLOYMENT_MISSING if the server does not have it."""
        if self._deployment_id is None:
            try:
                self._deployment_id = (await self._client.read_deployment_by_name(self._deployment)).id
            except ObjectNotFound as error:
                raise SetupError(
                    ErrorCode.DEPLOYMENT_MISSING,
                    f"The Prefect server has no deployment {self._deployment}.",
                    remedy="Run `stenopool deploy` for this server.",
                ) from error
        return self._deployment_id

    async def start(self, key: str, parameters: dict[str, Any], idempotency_key: str) -> FlowRun:
        """A run for one recording, or the one that was started with the same idempotency key."""
        run = await self._client.create_flow_run_from_deployment(
            await self.deployment(),
            parameters=parameters,
            tags=["api", f"{_TAG}{encode(key)}"],
            idempotency_key=idempotency_key,
        )
        self.look_again()
        return run

    def look_again(self) -> None:
        """What is remembered of the queue is not true any more."""
        self._looked = float("-inf")

    async def queue(self) -> list[QueueEntry]:
        """What runs and what waits, in the order in which it will run."""
        if time.monotonic() - self._looked < _FRESH:
            return self._entries
        async with self._lock:
            if time.monotonic() - self._looked >= _FRESH:
                begun = time.monotonic()
                self._entries = await self._look()
                self._looked = begun
            return self._entries

    async def _look(self) -> list[QueueEntry]:
        runs = await self._read([StateType.SCHEDULED, *_UNDER_WAY])
        self._paused = all(queue.is_paused for queue in await self._parents())
        under_way = {run.id: run for run in runs if run.state_type in _UNDER_WAY}
        stages, progress = await asyncio.gather(self._stages(under_way), self._progress(under_way))
        runs.sort(key=lambda run: (run.id not in under_way, _priority(run.work_queue_name), run.expected_start_time))
        return list(_entries(runs, stages, progress))

    async def _read(self, states: list[StateType]) -> list[FlowRun]:
        """All runs of the parents' queues in these states that are due; schedules make runs days ahead."""
        found: list[FlowRun] = []
        soon = datetime.now(UTC) + timedelta(seconds=10)
        while len(found) % _PAGE == 0:
            page = await self._client.read_flow_runs(
                flow_run_filter=FlowRunFilter(
                    state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states)),
                    expected_start_time=FlowRunFilterExpectedStartTime(before_=soon),
                ),
                work_queue_filter=WorkQueueFilter(name=WorkQueueFilterName(any_=list(PARENTS))),
                sort=FlowRunSort.EXPECTED_START_TIME_ASC,
                limit=_PAGE,
                offset=len(found),
            )
            found += page
            if not page:
                break
        return list({run.id: run for run in found}.values())  # one that moved between pages is read twice

    async def _stages(self, parents: Collection[UUID]) -> dict[str, str]:
        """By the end of a parent's id, which its batch's name has too: the latest stage that runs for it."""
        stages: dict[str, str] = {}
        if not parents:
            return stages
        for stage in ("prepare", "transcribe"):
            children = await self._client.read_flow_runs(
                flow_filter=FlowFilter(name=FlowFilterName(any_=[stage])),
                flow_run_filter=FlowRunFilter(
                    parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=list(parents)),
                    state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED, *_UNDER_WAY])),
                ),
            )
            stages |= {str(child.parameters.get("batch", ""))[-8:]: stage for child in children}
        return stages

    async def _progress(self, parents: Collection[UUID]) -> dict[UUID, float]:
        if not parents:
            return {}
        artifacts = await self._client.read_artifacts(
            artifact_filter=ArtifactFilter(
                flow_run_id=ArtifactFilterFlowRunId(any_=list(parents)),
                key=ArtifactFilterKey(any_=["ingest-progress"]),
            )
        )
        return {one.flow_run_id: float(str(one.data or 0)) for one in artifacts if one.flow_run_id}

    async def last(self, recordings: Iterable[str]) -> dict[str, FlowRun]:
        """The last run of each of these recordings (ids) that had one of its own."""
        tags = [f"{_TAG}{recording}" for recording in recordings]
        found: dict[str, FlowRun] = {}
        if tags:
            runs = await self._client.read_flow_runs(
                flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(any_=tags)),
                sort=FlowRunSort.EXPECTED_START_TIME_DESC,
                limit=_PAGE,
            )
            for run in runs:
                found.setdefault(_recording(run) or "", run)
        return found

    async def failed(self) -> list[str]:
        """Recordings (ids) whose last run of late failed."""
        states = [StateType.FAILED, StateType.CRASHED]
        runs = await self._client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                tags=FlowRunFilterTags(all_=["api"]),
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states)),
            ),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=_PAGE,
        )
        last = await self.last(filter(None, map(_recording, runs)))
        return [recording for recording, run in last.items() if run.state_type in states]

    async def cancel(self, run: UUID) -> None:
        """Cancel a run. One that waits is over at once; one under way ends when its worker has seen to it."""
        await self._client.set_flow_run_state(run, Cancelling())
        self.look_again()

    async def clear(self) -> int:
        """Cancel all that waits; how many that were. What a worker has taken goes on."""
        waiting = await self._read([StateType.SCHEDULED])
        for run in waiting:
            await self._client.set_flow_run_state(run.id, Cancelled(message="Cleared from the queue."))
        self.look_again()
        return len(waiting)

    async def pause(self, paused: bool) -> None:
        """Let workers take no more runs of `ingest`, or let them again. What is under way goes on."""
        for queue in await self._parents():
            await self._client.update_work_queue(queue.id, is_paused=paused)
        self.look_again()

    async def paused(self) -> bool:
        """Whether both queues are paused."""
        await self.queue()
        return self._paused

    async def _parents(self) -> list[WorkQueue]:
        return [await self._client.read_work_queue_by_name(name, work_pool_name=POOL) for name in PARENTS]

    async def healthy(self) -> None:
        """Raises if the server does not answer, or has not the deployment."""
        error = await self._client.api_healthcheck()
        if error:
            raise error
        await self.deployment()


def _priority(queue: str | None) -> int:
    return PARENTS.index(queue) if queue in PARENTS else len(PARENTS)


def _entries(runs: list[FlowRun], stages: dict[str, str], progress: dict[UUID, float]) -> Iterable[QueueEntry]:
    now, position = datetime.now(UTC), 0
    for run in runs:
        queued = run.state_type not in _UNDER_WAY
        position += queued
        since = run.created or run.expected_start_time or now
        yield QueueEntry(
            id=run.id,
            name=_key(run) or run.name,
            recording=_recording(run),
            state="queued" if queued else "running",
            stage=None if queued else _stage(run, stages),
            progress=progress.get(run.id),
            position=position if queued else None,
            queue=run.work_queue_name,
            queued_at=since,
            age=round((now - since).total_seconds(), 1),
        )


def _stage(run: FlowRun, stages: dict[str, str]) -> Any:
    if run.state_type is StateType.PENDING:
        return "starting"
    if run.state_type is StateType.CANCELLING:
        return "cancelling"
    return stages.get(str(run.id)[-8:], "ingest")


def _key(run: FlowRun) -> str | None:
    only: list[Any] = (run.parameters.get("selection") or {}).get("only") or []
    return str(only[0]) if len(only) == 1 else None


def _recording(run: FlowRun) -> str | None:
    """The id of the one recording that we started this run for."""
    return next((tag.removeprefix(_TAG) for tag in run.tags if tag.startswith(_TAG)), None)
