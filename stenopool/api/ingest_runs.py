"""Starts, reads and cancels runs of `ingest` on a Prefect server."""

import asyncio
import time
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Cancelling

from stenopool.api.ids import encode
from stenopool.api.queue_snapshot import QueueSnapshot, read_parent_queues, read_queue, read_unfinished, recording_of
from stenopool.errors import ErrorCode, SetupError
from stenopool.orchestration.flow_runs import PAGE, UNFINISHED, select_runs
from stenopool.orchestration.names import API_TAG, RECORDING_TAG, TAG

_KEYS_AT_ONCE = 50  # in one request for runs: a page holds four of each
_FRESH = 1.0  # seconds that the queue is remembered: it is read once per second, however many ask


class IngestRuns:
    """The runs on a Prefect server. Raises httpx's and Prefect's errors if it does not answer."""

    def __init__(self, client: PrefectClient) -> None:
        self._client = client
        self._deployments: dict[str, UUID] = {}
        self._lock = asyncio.Lock()
        self._queue = QueueSnapshot()
        self._read_at = float("-inf")
        self._changes = 0

    async def deployment_id(self, name: str) -> UUID:
        """`SetupError` DEPLOYMENT_MISSING if the server does not have it."""
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
        """A run, or the one that was started with the same idempotency key."""
        run = await self._client.create_flow_run_from_deployment(
            await self.deployment_id(deployment),
            parameters=parameters,
            tags=[API_TAG, *tags],
            idempotency_key=idempotency_key,
        )
        self.forget_queue()
        return run

    def forget_queue(self) -> None:
        """Discard the remembered queue, and the one that is being read."""
        self._read_at = float("-inf")
        self._changes += 1

    async def queue(self) -> QueueSnapshot:
        """The queue, at most a second old."""
        if time.monotonic() - self._read_at < _FRESH:
            return self._queue
        async with self._lock:
            if time.monotonic() - self._read_at >= _FRESH:
                start, changes = time.monotonic(), self._changes
                self._queue = await read_queue(self._client)
                if changes == self._changes:
                    self._read_at = start
            return self._queue

    async def run(self, id: UUID) -> FlowRun | None:
        """A run that the API started, also one that has ended; None for any other."""
        try:
            run = await self._client.read_flow_run(id)
        except ObjectNotFound:
            return None
        return run if {TAG, API_TAG} <= set(run.tags) else None

    async def last_runs(self, keys: Iterable[str]) -> dict[str, FlowRun]:
        """The last run of each of these recordings, unless it had none of its own."""
        whole = list(keys)
        chunks = (whole[begin : begin + _KEYS_AT_ONCE] for begin in range(0, len(whole), _KEYS_AT_ONCE))
        parts = await asyncio.gather(*map(self._last, chunks))
        return {key: run for part in parts for key, run in part.items()}

    async def _last(self, keys: Iterable[str]) -> dict[str, FlowRun]:
        of = {f"{RECORDING_TAG}{encode(key)}": key for key in keys}
        runs = await self._client.read_flow_runs(
            flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(any_=list(of))),
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
        """The unfinished run with this tag."""
        runs = await self._client.read_flow_runs(
            flow_run_filter=select_runs(*UNFINISHED, tags=[TAG, API_TAG, tag]), limit=1
        )
        return runs[0] if runs else None

    async def failed_recordings(self) -> list[str]:
        """The ids of recordings with a recent run that failed."""
        runs = await self._client.read_flow_runs(
            flow_run_filter=select_runs(StateType.FAILED, StateType.CRASHED, tags=[TAG, API_TAG]),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=PAGE,
        )
        return [recording for recording in dict.fromkeys(map(recording_of, runs)) if recording]

    async def cancel(self, run: UUID) -> None:
        """Cancel a run. A waiting one ends at once, one in progress when its worker has stopped it."""
        await self._client.set_flow_run_state(run, Cancelling())
        self.forget_queue()

    async def clear(self) -> int:
        """Cancel all waiting runs; returns how many. Runs in progress continue."""
        waiting = await read_unfinished(self._client, StateType.SCHEDULED)
        for run in waiting:
            await self._client.set_flow_run_state(run.id, Cancelled(message="Cleared from the queue."))
        self.forget_queue()
        return len(waiting)

    async def pause(self, paused: bool) -> None:
        """Pause or resume the queues of `ingest`. Runs in progress continue."""
        for queue in await read_parent_queues(self._client):
            await self._client.update_work_queue(queue.id, is_paused=paused)
        self.forget_queue()

    async def check_health(self, deployment: str) -> None:
        """Raises if the server does not answer or lacks the deployment."""
        error = await self._client.api_healthcheck()
        if error:
            raise error
        await self.deployment_id(deployment)


def is_over(run: FlowRun) -> bool:
    """Whether a run has ended in any way."""
    return run.state is not None and run.state.is_final()
