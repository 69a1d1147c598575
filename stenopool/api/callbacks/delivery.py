"""Delivers pending callbacks: sends an event once its work is over."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from stenopool.api import states
from stenopool.api.callbacks.outbox import Callback, PendingCallback
from stenopool.api.callbacks.sending import AddressError, DeliveryError
from stenopool.api.ingest_runs import entry_of
from stenopool.api.problems import Problem
from stenopool.api.service import Service
from stenopool.api.states import RecordingState
from stenopool.runtime.logs import get_logger
from stenopool.settings import CallbackSettings

log = get_logger("stenopool.api")

_AT_ONCE = 16  # events that are on their way
_SETTLED = 60.0  # seconds after which a request without a run has been left behind by one that failed


async def deliver_callbacks(service: Service, settings: CallbackSettings) -> None:
    """Deliver until cancelled. Without a secret nothing is sent, because it could not be signed."""
    if not service.sender.can_sign:
        return
    deliveries = _Deliveries(service, settings)
    async with asyncio.TaskGroup() as group:
        while True:
            try:
                await deliveries.look(group)
            except Exception as error:  # the store or the server is unavailable; nothing is lost
                log.warning("Callbacks wait: %s", error or type(error).__name__)
            await asyncio.sleep(settings.poll)


class _Deliveries:
    def __init__(self, service: Service, settings: CallbackSettings) -> None:
        self._service = service
        self._settings = settings
        self._callbacks: dict[str, Callback] = {}
        self._sending: set[str] = set()
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def look(self, group: asyncio.TaskGroup) -> None:
        """Start the deliveries that are due."""
        pending = await asyncio.to_thread(self._service.outbox.pending)
        self._callbacks = {each.id: self._callbacks[each.id] for each in pending if each.id in self._callbacks}
        for callback in pending:
            if callback.id in self._sending:
                continue
            if callback.is_due(self._settings.pause, self._service.sender.longest):
                self._sending.add(callback.id)
                group.create_task(self._deliver_safely(callback))
            elif not callback.asked:  # its request is gone: a process was killed while it removed the tries
                await asyncio.to_thread(self._service.outbox.sweep, callback.id)

    async def _deliver_safely(self, pending: PendingCallback) -> None:
        try:
            async with self._room:
                await self._deliver(pending)
        except Exception as error:
            log.warning("A callback waits: %s", error or type(error).__name__)
        finally:
            self._sending.discard(pending.id)

    async def _deliver(self, pending: PendingCallback) -> None:
        outbox = self._service.outbox
        callback = self._callbacks.get(pending.id) or await asyncio.to_thread(outbox.read, pending.id)
        if callback is None:
            return
        self._callbacks[pending.id] = callback
        try:
            event = await self._event(callback)
        except Problem as problem:
            if problem.status_code != 404:
                raise
            # The recording was removed: there is no event to send.
            await asyncio.to_thread(outbox.remove, pending.id)
            return
        if event is None or not await asyncio.to_thread(outbox.claim, pending):
            return
        host = urlsplit(callback.url).hostname
        try:
            await self._service.sender.send(callback.url, callback.event, json.dumps(event).encode())
        except (AddressError, DeliveryError) as error:
            tries = len(pending.tries) + 1
            why = str(error) or "its address may not be called"
            if tries < self._settings.tries and not getattr(error, "for_good", False):
                await asyncio.to_thread(outbox.mark_failed, pending, why)
                log.warning("Callback %s to %s: %s; it will be tried again.", callback.event, host, why)
                return
            log.error("Callback %s to %s is given up after %s tries: %s.", callback.event, host, tries, why)
        await asyncio.to_thread(outbox.remove, pending.id)

    async def _event(self, callback: Callback) -> dict[str, Any] | None:
        """The event; None while its work has not ended. The problem 404 if there will never be one."""
        if callback.run:
            return await self._of_run(callback.run, brief=callback.brief)
        key = callback.key or ""
        if (await self._service.runs.queue()).run_for(key):
            return None  # as for most; this needs no request to the stores
        state = await states.read_state(self._service, key, callback.work)
        if state.state in ("queued", "running"):
            return None
        if state.state == "skipped" and (datetime.now(UTC) - callback.asked_at).total_seconds() < _SETTLED:
            return None  # its run is about to be submitted
        kind = state.state if state.state in ("completed", "cancelled") else "failed"
        facts = {"id", "state"} if callback.brief else set(RecordingState.model_fields) - {"queue"}
        return _event_of(f"recording.{kind}", state.model_dump(mode="json", include=facts))

    async def _of_run(self, id: UUID, *, brief: bool) -> dict[str, Any] | None:
        run = await self._service.runs.run(id)
        if run is None:
            raise Problem(404, "OBJECT_NOT_FOUND", "The run is gone.")
        entry = entry_of(run)
        if entry.state in ("queued", "running"):
            return None
        facts = {"id", "state"} if brief else {"id", "prefix", "state", "queued_at"}
        return _event_of(f"batch.{entry.state}", entry.model_dump(mode="json", include=facts))


def _event_of(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "timestamp": datetime.now(UTC).isoformat(), "data": data}
