"""The queue as a Prefect server has it at one moment: runs of `ingest`, in the order in which workers take them."""

import asyncio
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Literal
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    ArtifactFilterKey,
    FlowFilter,
    FlowFilterName,
    WorkQueueFilter,
    WorkQueueFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType, WorkQueue
from prefect.client.schemas.sorting import FlowRunSort
from pydantic import BaseModel

from stenopool.api.ids import encode
from stenopool.orchestration.flow_runs import UNDER_WAY, UNFINISHED, read_all, select_runs
from stenopool.orchestration.names import API_TAG, PARENT_QUEUES, PROGRESS, RECORDING_TAG, TAG, pool_name

RunState = Literal["queued", "running", "completed", "failed", "cancelled"]


class QueueEntry(BaseModel):
    """One run of `ingest`: over one recording (``recording`` is its id) or everything below ``prefix``.

    ``position``: 1 is next; None once a worker has taken it. ``progress``: per cent of its recordings that have ended.
    ``age``: seconds since it was submitted.
    """

    id: UUID
    name: str
    recording: str | None
    prefix: str | None = None
    state: RunState
    stage: Literal["starting", "ingest", "prepare", "transcribe", "cancelling"] | None = None
    progress: float | None = None
    position: int | None = None
    queue: str | None
    queued_at: datetime
    age: float


@dataclass(frozen=True)
class QueueSnapshot:
    """Runs in progress, then waiting ones in their order."""

    entries: list[QueueEntry] = field(default_factory=list)
    paused: bool = False
    answers: dict[object, bytes] = field(default_factory=dict)
    """Answers made from this snapshot, by request: hundreds of clients send the same each second."""

    def run_for(self, key: str) -> QueueEntry | None:
        """The run over this recording alone."""
        return self._of_one.get(encode(key))

    def run_covering(self, key: str) -> QueueEntry | None:
        """The first run over a prefix that includes this recording."""
        return next((entry for entry in self._of_many if key.startswith(entry.prefix or "")), None)

    @cached_property
    def queued(self) -> int:
        return sum(entry.state == "queued" for entry in self.entries)

    @cached_property
    def _of_one(self) -> dict[str, QueueEntry]:
        return {entry.recording: entry for entry in self.entries if entry.recording}

    @cached_property
    def _of_many(self) -> list[QueueEntry]:
        return [entry for entry in self.entries if entry.prefix is not None]


async def read_queue(client: PrefectClient) -> QueueSnapshot:
    """Read the queue from the server."""
    runs, queues = await asyncio.gather(read_unfinished(client, *UNFINISHED), read_parent_queues(client))
    under_way = [run.id for run in runs if run.state_type in UNDER_WAY]
    stages, progress = await asyncio.gather(_stages(client, under_way), _progress(client, under_way))
    runs.sort(key=_order)
    return QueueSnapshot(list(_entries(runs, stages, progress)), all(queue.is_paused for queue in queues))


async def read_parent_queues(client: PrefectClient) -> list[WorkQueue]:
    """The work queues that runs of `ingest` wait in."""
    return [await client.read_work_queue_by_name(name, work_pool_name=pool_name("cpu")) for name in PARENT_QUEUES]


async def read_unfinished(client: PrefectClient, *states: StateType) -> list[FlowRun]:
    """All runs of the parents' queues in these states that are due."""
    due = datetime.now(UTC) + timedelta(seconds=10)
    return await read_all(
        client,
        # The tag, because others may have queues with these names in their own pools.
        flow_run_filter=select_runs(*states, tags=[TAG], due=due),
        work_queue_filter=WorkQueueFilter(name=WorkQueueFilterName(any_=list(PARENT_QUEUES))),
        sort=FlowRunSort.EXPECTED_START_TIME_ASC,
    )


def entry_of(run: FlowRun) -> QueueEntry:
    """One run, also one that has ended, without its position in the queue."""
    now = datetime.now(UTC)
    # Workers order runs by when they are due: when submitted, unless the run was postponed since.
    since = min((moment for moment in (run.created, run.expected_start_time) if moment), default=now)
    return QueueEntry(
        id=run.id,
        name=_key(run) or run.name,
        recording=recording_of(run),
        prefix=prefix_of(run),
        state=_state(run),
        queue=run.work_queue_name,
        queued_at=since,
        age=round((now - since).total_seconds(), 1),
    )


def recording_of(run: FlowRun) -> str | None:
    """The id of the recording that the API started this run for."""
    return next((tag.removeprefix(RECORDING_TAG) for tag in run.tags if tag.startswith(RECORDING_TAG)), None)


def prefix_of(run: FlowRun) -> str | None:
    """The prefix that the API started this run for, if any."""
    prefix = (run.parameters.get("selection") or {}).get("prefix")
    return str(prefix) if prefix is not None and API_TAG in run.tags else None


def _entries(runs: list[FlowRun], stages: dict[str, str], progress: dict[UUID, float]) -> Iterator[QueueEntry]:
    position = 0
    for run in runs:
        entry = entry_of(run)
        if entry.state == "running":
            more: dict[str, Any] = {"stage": _stage(run, stages), "progress": progress.get(run.id)}
        else:
            position += 1
            more = {"position": position}
        yield entry.model_copy(update=more)


def _state(run: FlowRun) -> RunState:
    match run.state_type:
        case StateType.COMPLETED:
            return "completed"
        case StateType.CANCELLED:
            return "cancelled"
        case StateType.FAILED | StateType.CRASHED:
            return "failed"
        case state:
            return "running" if state in UNDER_WAY else "queued"


def _stage(run: FlowRun, stages: dict[str, str]) -> str:
    if run.state_type is StateType.PENDING:
        return "starting"
    if run.state_type is StateType.CANCELLING:
        return "cancelling"
    return stages.get(str(run.id)[-8:], "ingest")


def _order(run: FlowRun) -> tuple[Any, ...]:
    queue = run.work_queue_name
    priority = PARENT_QUEUES.index(queue) if queue in PARENT_QUEUES else len(PARENT_QUEUES)
    return run.state_type not in UNDER_WAY, priority, run.expected_start_time


def _key(run: FlowRun) -> str | None:
    only: list[Any] = (run.parameters.get("selection") or {}).get("only") or []
    return str(only[0]) if len(only) == 1 else None


async def _stages(client: PrefectClient, parents: Collection[UUID]) -> dict[str, str]:
    """The latest stage that runs for each parent, by the last 8 digits of its id, which end its batch's name."""
    stages: dict[str, str] = {}
    if not parents:
        return stages
    for stage in ("prepare", "transcribe"):
        children = await client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[stage])),
            flow_run_filter=select_runs(*UNFINISHED, parents=parents),
        )
        stages |= {str(child.parameters.get("batch", ""))[-8:]: stage for child in children}
    return stages


async def _progress(client: PrefectClient, runs: Iterable[UUID]) -> dict[UUID, float]:
    if not (ids := list(runs)):
        return {}
    artifacts = await client.read_artifacts(
        artifact_filter=ArtifactFilter(
            flow_run_id=ArtifactFilterFlowRunId(any_=ids), key=ArtifactFilterKey(any_=[PROGRESS])
        )
    )
    return {one.flow_run_id: float(str(one.data or 0)) for one in artifacts if one.flow_run_id}
