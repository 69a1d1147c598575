"""Looks after what is owed: sends an event once its work is over."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from stenopool.api import states
from stenopool.api.callbacks.addresses import AddressError
from stenopool.api.callbacks.outbox import Callback, Owed
from stenopool.api.callbacks.sending import DeliveryError
from stenopool.api.problems import Problem
from stenopool.api.queue import entry_of
from stenopool.api.service import Service
from stenopool.runtime.logs import get_logger
from stenopool.settings import CallbackSettings

log = get_logger("stenopool.api")

_AT_ONCE = 16  # events that are on their way
_SETTLED = 60.0  # seconds after which a request without a run has been left behind by one that failed


async def tend(house: Service, settings: CallbackSettings) -> None:
    """Until it is cancelled. Without a secret nothing is sent: it could not be signed."""
    if not house.sender.can_sign:
        return
    tending = _Tending(house, settings)
    async with asyncio.TaskGroup() as group:
        while True:
            try:
                await tending.look(group)
            except Exception as error:  # the store or the server is away; nothing is lost
                log.warning("Callbacks wait: %s", error or type(error).__name__)
            await asyncio.sleep(settings.poll)


class _Tending:
    def __init__(self, house: Service, settings: CallbackSettings) -> None:
        self._house = house
        self._settings = settings
        self._callbacks: dict[str, Callback] = {}
        self._sending: set[str] = set()
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def look(self, group: asyncio.TaskGroup) -> None:
        """One look at all that is owed."""
        owed = await asyncio.to_thread(self._house.outbox.owed)
        self._callbacks = {one.id: self._callbacks[one.id] for one in owed if one.id in self._callbacks}
        for one in owed:
            if one.id in self._sending:
                continue
            if one.is_due(self._settings.pause, self._house.sender.longest_turn):
                self._sending.add(one.id)
                group.create_task(self._guarded(one))
            elif not one.asked:  # its request is gone: a process was killed while it removed the tries
                await asyncio.to_thread(self._house.outbox.sweep, one.id)

    async def _guarded(self, owed: Owed) -> None:
        try:
            async with self._room:
                await self._one(owed)
        except Exception as error:
            log.warning("A callback waits: %s", error or type(error).__name__)
        finally:
            self._sending.discard(owed.id)

    async def _one(self, owed: Owed) -> None:
        outbox = self._house.outbox
        callback = self._callbacks.get(owed.id) or await asyncio.to_thread(outbox.read, owed.id)
        if callback is None:
            return
        self._callbacks[owed.id] = callback
        try:
            event = await self._event(callback)
        except Problem as problem:
            if problem.status_code != 404:
                raise
            # The recording was removed: there is nothing to tell.
            await asyncio.to_thread(outbox.remove, owed.id)
            return
        if event is None or not await asyncio.to_thread(outbox.claim, owed):
            return
        host = urlsplit(callback.url).hostname
        try:
            await self._house.sender.send(callback.url, callback.event, json.dumps(event).encode())
        except (AddressError, DeliveryError) as error:
            tries = len(owed.tries) + 1
            why = str(error) or "its address may not be called"
            if tries < self._settings.tries and not getattr(error, "for_good", False):
                await asyncio.to_thread(outbox.failed, owed, why)
                log.warning("Callback %s to %s: %s; it will be tried again.", callback.event, host, why)
                return
            log.error("Callback %s to %s is given up after %s turns: %s.", callback.event, host, tries, why)
        await asyncio.to_thread(outbox.remove, owed.id)

    async def _event(self, callback: Callback) -> dict[str, Any] | None:
        """What there is to tell; None while it is not over. The problem 404 if there never will be anything."""
        if callback.run:
            return await self._of_run(callback.run)
        key = callback.key or ""
        if (await self._house.runs.queue()).of(key):  # most of them wait: nothing is asked of the stores for these
            return None
        state = await states.one(self._house, key, callback.work)
        if state.state in ("queued", "running"):
            return None
        if state.state == "skipped" and (datetime.now(UTC) - callback.asked_at).total_seconds() < _SETTLED:
            return None  # its run is about to be asked for
        kind = state.state if state.state in ("completed", "cancelled") else "failed"
        return _told(f"recording.{kind}", state.model_dump(mode="json", exclude={"queue"}))

    async def _of_run(self, id: UUID) -> dict[str, Any] | None:
        run = await self._house.runs.run(id)
        if run is None:
            raise Problem(404, "OBJECT_NOT_FOUND", "The run is gone.")
        entry = entry_of(run)
        if entry.state in ("queued", "running"):
            return None
        facts = {"id", "prefix", "state", "queued_at"}
        return _told(f"batch.{entry.state}", entry.model_dump(mode="json", include=facts))


def _told(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "timestamp": datetime.now(UTC).isoformat(), "data": data}
