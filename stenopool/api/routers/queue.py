"""The queue: runs in progress, then waiting ones in their order."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel

from stenopool.api.access import CAN_DELETE, CAN_READ, IS_ADMIN, AnyCaller, GuardedRoute, require_scope
from stenopool.api.ingest_runs import QueueEntry
from stenopool.api.lifecycle import retry_failed
from stenopool.api.problems import not_found
from stenopool.api.service import CurrentService

router = APIRouter(prefix="/v1/queue", tags=["queue"], route_class=GuardedRoute)


class QueuePage(BaseModel):
    """Runs in progress, then waiting ones in their order. The counts are of all runs, not of this page."""

    paused: bool
    queued: int
    running: int
    entries: list[QueueEntry]
    next_cursor: str | None = None


class Changed(BaseModel):
    """How many runs a request affected."""

    count: int


class Paused(BaseModel):
    """Whether workers take runs from the queue."""

    paused: bool


@router.get("", response_model=QueuePage, dependencies=[CAN_READ])
async def get_queue(
    service: CurrentService,
    cursor: Annotated[
        str | None, Query(pattern="^[0-9]{1,9}$", description="`next_cursor` of the page before.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000, description="Maximum number of entries per page.")] = 200,
) -> Response:
    """All unfinished runs, with position, age, stage and progress."""
    queue, begin = await service.queue(), int(cursor or 0)
    answer = queue.answers.get((begin, limit))
    if answer is None:
        page = QueuePage(
            paused=queue.paused,
            queued=queue.queued,
            running=len(queue.entries) - queue.queued,
            entries=queue.entries[begin : begin + limit],
            next_cursor=str(begin + limit) if begin + limit < len(queue.entries) else None,
        )
        answer = page.model_dump_json().encode()
        queue.keep((begin, limit), answer)
    return Response(answer, media_type="application/json")


@router.get("/{id}", dependencies=[CAN_READ])
async def get_run(id: UUID, service: CurrentService) -> QueueEntry:
    """One run that was submitted here: its place in the queue, or how it ended."""
    return await service.run(id)


@router.delete("", dependencies=[IS_ADMIN])
async def clear(service: CurrentService) -> Changed:
    """Cancel all waiting runs. Runs in progress continue; recordings are kept and can be retried."""
    return Changed(count=await service.runs.clear())


@router.delete("/{id}", status_code=204, dependencies=[CAN_DELETE])
async def cancel(id: UUID, service: CurrentService, caller: AnyCaller) -> None:
    """Cancel one run. Its recordings are kept. For a run over many recordings, the key needs the scope batch too."""
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
    """Retry all recordings that failed."""
    return Changed(count=await retry_failed(service))


@router.post("/pause", dependencies=[IS_ADMIN])
async def pause(service: CurrentService) -> Paused:
    """Pause the queue. Runs in progress continue; new recordings wait."""
    await service.runs.pause(True)
    return Paused(paused=True)


@router.post("/resume", dependencies=[IS_ADMIN])
async def resume(service: CurrentService) -> Paused:
    """Resume the queue."""
    await service.runs.pause(False)
    return Paused(paused=False)
