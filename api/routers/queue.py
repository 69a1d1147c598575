"""The queue: what waits and what runs, in order."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from api.access import Admin, Reader, Writer
from api.problems import not_found
from api.retries import retry_failed
from api.runs import QueueEntry
from api.service import Service, service

router = APIRouter(prefix="/v1/queue", tags=["queue"])
House = Annotated[Service, Depends(service)]


class Queue(BaseModel):
    """What runs, then what waits, in the order in which it will run."""

    paused: bool
    queued: int
    running: int
    entries: list[QueueEntry]


class Changed(BaseModel):
    """How many runs a request concerned."""

    count: int


class Paused(BaseModel):
    """Whether workers take runs from the queue."""

    paused: bool


@router.get("")
async def get_queue(house: House, caller: Reader) -> Queue:  # noqa: ARG001
    """Everything that waits or runs, with position, age, stage and progress."""
    entries = await house.runs.queue()
    queued = sum(entry.state == "queued" for entry in entries)
    return Queue(paused=await house.runs.paused(), queued=queued, running=len(entries) - queued, entries=entries)


@router.delete("")
async def clear(house: House, caller: Admin) -> Changed:  # noqa: ARG001
    """Cancel all that waits. What runs goes on; recordings stay, and can be retried."""
    return Changed(count=await house.runs.clear())


@router.delete("/{id}", status_code=204)
async def cancel(id: UUID, house: House, caller: Writer) -> None:  # noqa: ARG001
    """Cancel one run, waiting or running. Its recording stays."""
    house.runs.look_again()
    if all(entry.id != id for entry in await house.runs.queue()):
        raise not_found("There is no such run in the queue.")
    await house.runs.cancel(id)


@router.post("/retry", status_code=202)
async def retry_all(house: House, caller: Admin) -> Changed:  # noqa: ARG001
    """Take up again all recordings that failed."""
    return Changed(count=await retry_failed(house))


@router.post("/pause")
async def pause(house: House, caller: Admin) -> Paused:  # noqa: ARG001
    """Let workers take nothing more. What runs goes on, what is sent waits."""
    await house.runs.pause(True)
    return Paused(paused=True)


@router.post("/resume")
async def resume(house: House, caller: Admin) -> Paused:  # noqa: ARG001
    """Let workers take from the queue again."""
    await house.runs.pause(False)
    return Paused(paused=False)
