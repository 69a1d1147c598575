"""Callbacks: list those that are pending or were given up, retry or delete them, and test a URL."""

import asyncio
import time
from datetime import datetime
from typing import Annotated, Literal
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import APIRouter, Path, Query
from pydantic import ConfigDict, Field

from stenopool.api import ids
from stenopool.api.access import CanWrite, GuardedRoute
from stenopool.api.callbacks.events import CallbackTestEvent
from stenopool.api.callbacks.outbox import Callback, PendingCallback, Unreadable, owner_id
from stenopool.api.callbacks.sending import AddressError, DeliveryError
from stenopool.api.keys import Key
from stenopool.api.problems import not_found
from stenopool.api.schema import Described
from stenopool.api.service import CurrentService, Service, refusing_too_many

router = APIRouter(prefix="/v1/callbacks", tags=["callbacks"], route_class=GuardedRoute)

Id = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="The callback's id.")]


class CallbackState(Described):
    """A callback that has not been delivered. Delivered callbacks are deleted."""

    id: str
    """The callback's id."""
    event: str
    """The event's id, which the receiver gets as `webhook-id`."""
    host: str
    """The host of the URL. The rest may contain a secret, and is not shown."""
    recording: str | None
    """The id of the recording that it waits for."""
    run: UUID | None
    """The run that it waits for."""
    asked_at: datetime
    """When it was requested."""
    state: Literal["waiting", "failing", "given_up"]
    """`waiting`: its work has not ended, or it was not tried yet. `given_up`: kept for a week, but not retried."""
    tries: int
    """Number of attempts."""
    failure: str | None
    """Why the last attempt failed."""


class CallbackPage(Described):
    """Callbacks of this key, or with the scope `admin` of all keys, in no particular order."""

    data: list[CallbackState]
    """The callbacks of this page."""
    next_cursor: str | None = None
    """`cursor` of the next page; null on the last."""


class CallbackAddress(Described):
    """A URL to test."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(max_length=2000, repr=False)
    """URL to send the event `callback.test` to."""


class CallbackOutcome(Described):
    """The result of a test."""

    delivered: bool
    """Whether the response was 2xx."""
    failure: str | None
    """Why it failed."""
    seconds: float
    """Duration in seconds."""


@router.get("")
async def list_callbacks(
    service: CurrentService,
    caller: CanWrite,
    cursor: Annotated[
        str | None, Query(pattern="^[0-9a-f]{32}$", description="`next_cursor` of the previous page.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="Maximum number of callbacks per page.")] = 50,
) -> CallbackPage:
    """List callbacks that are waiting or failing, or were given up within a week."""
    found = await asyncio.to_thread(service.outbox.pending, _visible_to(caller))
    found = sorted((each for each in found if each.asked and each.id > (cursor or "")), key=lambda each: each.id)
    shown = await asyncio.gather(*(_state(service, each) for each in found[:limit]))
    return CallbackPage(
        data=[state for state in shown if state], next_cursor=found[limit - 1].id if len(found) > limit else None
    )


@router.post("/test")
async def test_callback(asked: CallbackAddress, service: CurrentService, caller: CanWrite) -> CallbackOutcome:
    """Send the event `callback.test` to a URL, signed like every event, and return the result."""
    await service.check_address(asked.url)
    begin, failure = time.monotonic(), None
    event = Callback(url=asked.url).event
    try:
        async with asyncio.timeout(service.sender.longest), service.sender.turn(asked.url, owner_id(caller.name)):
            await service.sender.send(asked.url, event, CallbackTestEvent().model_dump_json().encode())
    except (AddressError, DeliveryError, TimeoutError) as error:
        failure = str(error) or "The receiver did not respond in time."
    return CallbackOutcome(delivered=failure is None, failure=failure, seconds=round(time.monotonic() - begin, 3))


@router.post("/{id}/retry", status_code=202)
async def retry_callback(id: Id, service: CurrentService, caller: CanWrite) -> CallbackState:
    """Start the attempts again, also for a callback that was given up. The event keeps its id."""
    callback = await _read(service, id, caller)
    with refusing_too_many():
        await asyncio.to_thread(service.outbox.renew, callback)
    return _describe(callback, PendingCallback(id), None)


@router.delete("/{id}", status_code=204)
async def delete_callback(id: Id, service: CurrentService, caller: CanWrite) -> None:
    """Delete a callback. It is not sent."""
    await _read(service, id, caller)
    await asyncio.to_thread(service.outbox.remove, id)


def _visible_to(caller: Key) -> str:
    return "" if caller.may("admin") else owner_id(caller.name)


async def _read(service: Service, id: str, caller: Key) -> Callback:
    callback = None
    if id.startswith(_visible_to(caller)):
        try:
            callback = await asyncio.to_thread(service.outbox.read, id)
        except Unreadable:
            callback = None
    if callback is None:
        raise not_found("Unknown callback.")
    return callback


async def _state(service: Service, pending: PendingCallback) -> CallbackState | None:
    try:
        callback = await asyncio.to_thread(service.outbox.read, pending.id)
    except Unreadable:
        return None
    if callback is None:  # delivered meanwhile
        return None
    return _describe(callback, pending, await asyncio.to_thread(service.outbox.read_failure, pending))


def _describe(callback: Callback, pending: PendingCallback, failure: str | None) -> CallbackState:
    failed = any(one.failed for one in pending.tries)
    return CallbackState(
        id=callback.id,
        event=callback.event,
        host=urlsplit(callback.url).hostname or "",
        recording=ids.encode(callback.key) if callback.key else None,
        run=callback.run,
        asked_at=callback.asked_at,
        state="given_up" if pending.given_up else "failing" if failed else "waiting",
        tries=pending.count,
        failure=failure,
    )
