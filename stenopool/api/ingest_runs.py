"""Starts, reads and cancels runs of `ingest` on a Prefect server, and reads their queue."""

import asyncio
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import count
from typing import Any, Literal
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import ArtifactFilter, FlowFilter, FlowRunFilter, WorkQueueFilter
from prefect.client.schemas.objects import FlowRun, StateType, WorkQueue
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Cancelling

from stenopool.api.ids import encode, text_of
from stenopool.api.schema import Described
from stenopool.errors import ErrorCode, SetupError
from stenopool.orchestration.flow_runs import IN_PROGRESS, PAGE, UNFINISHED, read_all, select_runs
from stenopool.orchestration.names import API_TAG, PARENT_QUEUES, PROGRESS, RECORDING_TAG, TAG, pool_name

_KEYS_AT_ONCE = 50  # per request for runs: a page has room for four runs of each
_FRESH = 1.0  # seconds that the queue is cached: it is read once per second, whatever the number of clients
_MOST_ANSWERS = 8  # cached responses, each with up to a thousand entries (400 KB)

Place = tuple[int, int, int, str]
"""A run's place in the order in which workers take runs: 0 once it was taken, its queue, when it is due, its id."""
RunState = Literal["queued", "running", "completed", "failed", "cancelled"]
RunStage = Literal["starting", "ingest", "prepare", "transcribe", "cancelling"]
_ENDS: dict[StateType, RunState] = {
    StateType.COMPLETED: "completed",
    StateType.CANCELLED: "cancelled",
    StateType.FAILED: "failed",
    StateType.CRASHED: "failed",
}


class QueueEntry(Described):
    """A run of `ingest`, over one recording or over everything below a prefix."""

    id: UUID
    """The run's id."""
    name: str
    """The recording's key, or the run's name in Prefect."""
    recording: str | None
    """The recording's id; null for a run over a prefix."""
    prefix: str | None = None
    """Prefix of the keys of its recordings."""
    state: RunState
    """The current state, or how the run ended."""
    stage: RunStage | None = None
    """The current stage of a run in progress."""
    progress: float | None = None
    """Percentage of its recordings that have ended."""
    position: int | None = None
    """Position in the queue, from 1; null once a worker has taken the run."""
    queue: str | None
    """The work queue of the run."""
    queued_at: datetime
    """When it was submitted."""
    age: float
    """Seconds since it was submitted."""

    def is_below(self, prefix: str) -> bool:
        """Whether all its recordings are below the prefix."""
        below = self.prefix or "" if self.recording is None else text_of(self.recording)
        return below.startswith(prefix)


@dataclass(frozen=True)
class QueueSnapshot:
    """The queue at one moment: runs in progress, then queued runs in the order in which workers take them."""

    entries: list[QueueEntry] = field(default_factory=list)
    paused: bool = False
    places: list["Place"] = field(default_factory=list)
    """The sort key of each entry."""
    answers: dict[object, bytes] = field(default_factory=dict)
    """Responses made from this snapshot, by request: hundreds of clients send the same one each second."""
    _below: dict[str, "QueueSnapshot"] = field(default_factory=dict)

    def below(self, prefix: str) -> "QueueSnapshot":
        """Return the part below a prefix. Positions remain those in the whole queue."""
        if not prefix:
            return self
        if prefix not in self._below:
            kept = [number for number, entry in enumerate(self.entries) if entry.is_below(prefix)]
            self._below[prefix] = QueueSnapshot(
                [self.entries[number] for number in kept], self.paused, [self.places[number] for number in kept]
            )
        return self._below[prefix]

    def keep(self, request: object, answer: bytes) -> None:
        """Cache a response. Only the first few are kept, because clients choose the requests."""
        if len(self.answers) < _MOST_ANSWERS:
            self.answers[request] = answer

    def run_for(self, key: str) -> QueueEntry | None:
        """Return the run over this recording alone."""
        return self._of_one.get(encode(key))

    def run_covering(self, key: str) -> QueueEntry | None:
        """Return the first run over a prefix that includes this recording."""
        return next((entry for entry in self._of_many if key.startswith(entry.prefix or "")), None)

    @cached_property
    def queued(self) -> int:
        return sum(entry.state == "queued" for entry in self.entries)

    @cached_property
    def running(self) -> int:
        return len(self.entries) - self.queued

    @cached_property
    def _of_one(self) -> dict[str, QueueEntry]:
        return {entry.recording: entry for entry in self.entries if entry.recording}

    @cached_property
    def _of_many(self) -> list[QueueEntry]:
        return [entry for entry in self.entries if entry.prefix is not None]


class IngestRuns:
    """The runs on a Prefect server. Raises errors of httpx and Prefect if the server does not respond."""

    def __init__(self, client: PrefectClient) -> None:
        self._client = client
        self._deployments: dict[str, UUID] = {}
        self._lock = asyncio.Lock()
        self._queue = QueueSnapshot()
        self._read_at = float("-inf")
        self._changes = 0

    async def deployment_id(self, name: str) -> UUID:
        """Return a deployment's id. Raises `SetupError` DEPLOYMENT_MISSING if the server does not have it."""
        if name not in self._deployments:
            try:
                self._deployments[name] = (await self._client.read_deployment_by_name(name)).id
            except ObjectNotFound as error:
                raise SetupError(
                    ErrorCode.DEPLOYMENT_MISSING,
                    f"The Prefect server has no deployment {name}.",
                    remedy="Run `stenopool deploy` for this server.",
                ) from error
        return self._deployments[name]

    async def start(
        self, deployment: str, parameters: dict[str, Any], idempotency_key: str, tags: Iterable[str] = ()
    ) -> FlowRun:
        """Start a run, or return the one that was started with the same idempotency key."""
        run = await self._client.create_flow_run_from_deployment(
            await self.deployment_id(deployment),
            parameters=parameters,
            tags=[API_TAG, *tags],
            idempotency_key=idempotency_key,
        )
        self.forget_queue()
        return run

    def forget_queue(self) -> None:
        """Discard the cached queue, and one that is being read."""
        self._read_at = float("-inf")
        self._changes += 1

    async def queue(self) -> QueueSnapshot:
        """Return the queue, at most a second old."""
        if time.monotonic() - self._read_at < _FRESH:
            return self._queue
        async with self._lock:
            if time.monotonic() - self._read_at >= _FRESH:
                start, changes = time.monotonic(), self._changes
                self._queue = await self._read_queue()
                if changes == self._changes:
                    self._read_at = start
            return self._queue

    async def _read_queue(self) -> QueueSnapshot:
        runs, queues = await asyncio.gather(self._read_unfinished(*UNFINISHED), self._read_parent_queues())
        in_progress = [run.id for run in runs if run.state_type in IN_PROGRESS]
        stages, progress = await asyncio.gather(self._read_stages(in_progress), self._read_progress(in_progress))
        runs.sort(key=_place)
        entries, positions = [entry_of(run) for run in runs], count(1)
        for run, entry in zip(runs, entries, strict=True):
            if entry.state == "running":
                entry.stage, entry.progress = _stage(run, stages), progress.get(run.id)
            else:
                entry.position = next(positions)
        return QueueSnapshot(entries, all(queue.is_paused for queue in queues), [_place(run) for run in runs])

    async def _read_parent_queues(self) -> list[WorkQueue]:
        """Read the work queues of `ingest`."""
        pool = pool_name("cpu")
        return [await self._client.read_work_queue_by_name(name, work_pool_name=pool) for name in PARENT_QUEUES]

    async def _read_unfinished(self, *states: StateType) -> list[FlowRun]:
        """Read all runs of the parents' queues that are in these states and due."""
        due = datetime.now(UTC) + timedelta(seconds=10)
        return await read_all(
            self._client,
            # Filter by tag, because other pools may have queues with these names.
            flow_run_filter=select_runs(*states, tags=[TAG], due=due),
            work_queue_filter=WorkQueueFilter.model_validate({"name": {"any_": list(PARENT_QUEUES)}}),
            sort=FlowRunSort.EXPECTED_START_TIME_ASC,
        )

    async def _read_stages(self, parents: Collection[UUID]) -> dict[str, RunStage]:
        """Return the current stage of each parent, by the last 8 digits of its id, with which its batch's name ends."""
        found: dict[str, RunStage] = {}
        stages: tuple[RunStage, ...] = ("prepare", "transcribe") if parents else ()
        for stage in stages:
            children = await self._client.read_flow_runs(
                flow_filter=FlowFilter.model_validate({"name": {"any_": [stage]}}),
                flow_run_filter=select_runs(*UNFINISHED, parents=parents),
            )
            found |= {str(child.parameters.get("batch", ""))[-8:]: stage for child in children}
        return found

    async def _read_progress(self, runs: Collection[UUID]) -> dict[UUID, float]:
        if not runs:
            return {}
        asked = {"flow_run_id": {"any_": list(runs)}, "key": {"any_": [PROGRESS]}}
        artifacts = await self._client.read_artifacts(artifact_filter=ArtifactFilter.model_validate(asked))
        return {one.flow_run_id: float(str(one.data or 0)) for one in artifacts if one.flow_run_id}

    async def run(self, id: UUID) -> FlowRun | None:
        """Return a run that the API started, also one that has ended; None for any other."""
        try:
            run = await self._client.read_flow_run(id)
        except ObjectNotFound:
            return None
        return run if {TAG, API_TAG} <= set(run.tags) else None

    async def last_runs(self, keys: Iterable[str]) -> dict[str, FlowRun]:
        """Return the last run over each of these recordings alone; those without one are left out."""
        whole = list(keys)
        chunks = (whole[begin : begin + _KEYS_AT_ONCE] for begin in range(0, len(whole), _KEYS_AT_ONCE))
        parts = await asyncio.gather(*map(self._last, chunks))
        return {key: run for part in parts for key, run in part.items()}

    async def _last(self, keys: Iterable[str]) -> dict[str, FlowRun]:
        of = {f"{RECORDING_TAG}{encode(key)}": key for key in keys}
        runs = await self._client.read_flow_runs(
            flow_run_filter=FlowRunFilter.model_validate({"tags": {"any_": list(of)}}),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=PAGE,
        )
        found: dict[str, FlowRun] = {}
        for run in runs:
            for tag in run.tags:
                if tag in of:
                    found.setdefault(of[tag], run)
        return found

    async def unfinished_run(self, tag: str) -> FlowRun | None:
        """Return the unfinished run with this tag."""
        runs = await self._client.read_flow_runs(
            flow_run_filter=select_runs(*UNFINISHED, tags=[TAG, API_TAG, tag]), limit=1
        )
        return runs[0] if runs else None

    async def failed_keys(self) -> list[str]:
        """Return the keys of recordings with a recent run that failed."""
        runs = await self._client.read_flow_runs(
            flow_run_filter=select_runs(StateType.FAILED, StateType.CRASHED, tags=[TAG, API_TAG]),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=PAGE,
        )
        return list(dict.fromkeys(entry.name for entry in map(entry_of, runs) if entry.recording))

    async def cancel(self, run: UUID) -> None:
        """Cancel a run. A queued run ends immediately, a run in progress when its worker has stopped it."""
        await self._client.set_flow_run_state(run, Cancelling())
        self.forget_queue()

    async def clear(self) -> int:
        """Cancel all queued runs, and return their number. Runs in progress continue."""
        waiting = await self._read_unfinished(StateType.SCHEDULED)
        for run in waiting:
            await self._client.set_flow_run_state(run.id, Cancelled(message="Cleared from the queue."))
        self.forget_queue()
        return len(waiting)

    async def pause(self, paused: bool) -> None:
        """Pause or resume the queues of `ingest`. Runs in progress continue."""
        for queue in await self._read_parent_queues():
            await self._client.update_work_queue(queue.id, is_paused=paused)
        self.forget_queue()

    async def check_health(self, deployment: str) -> None:
        """Raises an error if the server does not respond or lacks the deployment."""
        error = await self._client.api_healthcheck()
        if error:
            raise error
        await self.deployment_id(deployment)


def entry_of(run: FlowRun) -> QueueEntry:
    """Describe a run, also one that has ended, without its position in the queue."""
    now = datetime.now(UTC)
    # Workers take runs in the order in which they are due: as submitted, unless a run was postponed.
    since = min((moment for moment in (run.created, run.expected_start_time) if moment), default=now)
    selection: dict[str, Any] = run.parameters.get("selection") or {}
    only, prefix = selection.get("only") or [], selection.get("prefix")
    return QueueEntry(
        id=run.id,
        name=str(only[0]) if len(only) == 1 else run.name,
        recording=next((tag.removeprefix(RECORDING_TAG) for tag in run.tags if tag.startswith(RECORDING_TAG)), None),
        prefix=str(prefix) if prefix is not None and API_TAG in run.tags else None,
        state=_state(run),
        queue=run.work_queue_name,
        queued_at=since,
        age=round((now - since).total_seconds(), 1),
    )


def is_over(run: FlowRun) -> bool:
    """Whether a run has ended in any way."""
    return run.state is not None and run.state.is_final()


def _state(run: FlowRun) -> RunState:
    if run.state_type in _ENDS:
        return _ENDS[run.state_type]
    return "running" if run.state_type in IN_PROGRESS else "queued"


def _stage(run: FlowRun, stages: dict[str, RunStage]) -> RunStage:
    if run.state_type is StateType.PENDING:
        return "starting"
    if run.state_type is StateType.CANCELLING:
        return "cancelling"
    return stages.get(str(run.id)[-8:], "ingest")


def _place(run: FlowRun) -> Place:
    """Return the sort key of a run in one of the parents' queues."""
    due = int(run.expected_start_time.timestamp() * 1e6) if run.expected_start_time else 0
    waits = int(run.state_type not in IN_PROGRESS)
    return waits, PARENT_QUEUES.index(str(run.work_queue_name)), due, run.id.hex
