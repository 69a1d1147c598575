"""The queue: runs in progress, then queued runs in order."""

from bisect import bisect_right
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import ConfigDict, computed_field

from stenopool.api.access import CAN_DELETE, CAN_READ, IS_ADMIN, AnyCaller, GuardedRoute, require_scope
from stenopool.api.headers import deprecated_for
from stenopool.api.ingest_runs import QueueEntry
from stenopool.api.lifecycle import retry_failed
from stenopool.api.problems import not_found
from stenopool.api.schema import Described
from stenopool.api.service import CurrentService

router = APIRouter(prefix="/v1/queue", tags=["queue"], route_class=GuardedRoute)
_CURSOR = "^[01][.][0-9][.][0-9]{1,17}[.][0-9a-f]{32}$"


class QueuePage(Described):
    """Runs in progress, then queued runs in order. The counts cover all runs, not just this page."""

    paused: bool
    """Whether the queue is paused."""
    queued: int
    """Number of queued runs."""
    running: int
    """Number of runs in progress."""
    data: list[QueueEntry]
    """The runs of this page."""
    next_cursor: str | None = None
    """`cursor` of the next page; null on the last."""

    @computed_field(description="The same as data; removed in 1.0.", json_schema_extra={"deprecated": True})  # type: ignore[prop-decorator]
    @property
    def entries(self) -> list[QueueEntry]:
        return self.data


class Changed(Described):
    """Number of runs that a request changed."""

    count: int
    """Number of runs."""


class Paused(Described):
    """Whether the queue is paused. Runs in progress continue; new recordings wait."""

    model_config = ConfigDict(extra="forbid")

    paused: bool
    """If true, workers take no new runs."""


@router.get("", response_model=QueuePage, dependencies=[CAN_READ])
async def get_queue(
    service: CurrentService,
    state: Annotated[Literal["queued", "running"] | None, Query(description="Only runs in this state.")] = None,
    cursor: Annotated[str | None, Query(pattern=_CURSOR, description="`next_cursor` of the previous page.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Maximum number of entries per page.")] = 200,
) -> Response:
    """List all unfinished runs, with position, age, stage and progress.

    A page starts after the last run of the previous page, even if that run has left the queue.
    """
    queue, asked = await service.queue(), (state, cursor, limit)
    answer = queue.answers.get(asked)
    if answer is None:
        begin, end = queue.running if state == "queued" else 0, queue.running if state == "running" else None
        if cursor:
            waits, queue_number, due, id = cursor.split(".")
            begin = max(begin, bisect_right(queue.places, (int(waits), int(queue_number), int(due), id)))
        found = queue.entries[begin:end]
        more = len(found) > limit
        page = QueuePage(
            paused=queue.paused,
            queued=queue.queued,
            running=queue.running,
            data=found[:limit],
            next_cursor=".".join(map(str, queue.places[begin + limit - 1])) if more else None,
        )
        answer = page.model_dump_json().encode()
        queue.keep(asked, answer)
    return Response(answer, media_type="application/json")


@router.patch("", dependencies=[IS_ADMIN])
async def change_queue(asked: Paused, service: CurrentService) -> Paused:
    """Pause or resume the queue. Runs in progress continue; new recordings wait."""
    await service.runs.pause(asked.paused)
    return asked


@router.get("/{id}", dependencies=[CAN_READ])
async def get_run(id: UUID, service: CurrentService) -> QueueEntry:
    """Return a run that was submitted here: its place in the queue, or how it ended."""
    return await service.run(id)


@router.delete("", dependencies=[IS_ADMIN])
async def clear_queue(service: CurrentService) -> Changed:
    """Cancel all queued runs. Runs in progress continue; recordings are kept and can be retried."""
    return Changed(count=await service.runs.clear())


@router.delete("/{id}", status_code=204, dependencies=[CAN_DELETE])
async def cancel_run(id: UUID, service: CurrentService, caller: AnyCaller) -> None:
    """Cancel a run, and keep its recordings. For a run over many recordings, the key needs the scope batch too."""
    service.runs.forget_queue()
    entry = next((entry for entry in (await service.queue()).entries if entry.id == id), None)
    if entry is None:
        raise not_found("The run is not in the queue.")
    service.notes.recording = entry.name if entry.recording else entry.prefix or entry.name
    if not entry.recording:
        require_scope(caller, "batch")
    await service.runs.cancel(id)


@router.post("/retry", status_code=202, dependencies=[IS_ADMIN])
async def retry_all(service: CurrentService) -> Changed:
    """Retry all failed recordings."""
    return Changed(count=await retry_failed(service))


@router.post("/pause", deprecated=True, dependencies=[IS_ADMIN, deprecated_for("/v1/queue")])
async def pause_queue(service: CurrentService) -> Paused:
    """Pause the queue: `PATCH /v1/queue {"paused": true}`."""
    return await change_queue(Paused(paused=True), service)


@router.post("/resume", deprecated=True, dependencies=[IS_ADMIN, deprecated_for("/v1/queue")])
async def resume_queue(service: CurrentService) -> Paused:
    """Resume the queue: `PATCH /v1/queue {"paused": false}`."""
    return await change_queue(Paused(paused=False), service)
