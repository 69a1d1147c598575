"""Delivers pending callbacks: sends an event once its work has ended."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import BaseModel

from stenopool.api import states
from stenopool.api.batch_states import read_batch
from stenopool.api.callbacks.events import BatchEvent, RecordingEnded, RecordingEvent
from stenopool.api.callbacks.outbox import Callback, PendingCallback, Unreadable
from stenopool.api.callbacks.sending import AddressError, DeliveryError
from stenopool.api.problems import Problem
from stenopool.api.service import Service
from stenopool.api.states import Submitted
from stenopool.pipeline import receipts
from stenopool.runtime.logs import get_logger
from stenopool.settings import CallbackSettings

log = get_logger("stenopool.api")

_UNSENT = {"data": {"queue", "truncated"}}  # fields of a state that are meaningless once its work has ended
_AT_ONCE = 16  # events being sent
_SETTLED = 60.0  # seconds after which a request without a run is a leftover of a failed submission


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
                log.warning("Callbacks are delayed: %s", error or type(error).__name__)
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
            if callback.is_old:
                await asyncio.to_thread(self._service.outbox.remove, callback.id)
            elif callback.is_due(self._settings.pause, self._service.sender.longest):
                self._sending.add(callback.id)
                group.create_task(self._deliver_safely(callback))
            elif not callback.asked:  # its request is gone: a process was killed while it deleted the attempts
                await asyncio.to_thread(self._service.outbox.sweep, callback.id)

    async def _deliver_safely(self, pending: PendingCallback) -> None:
        try:
            await self._deliver(pending)
        except Exception as error:
            log.warning("A callback is delayed: %s", error or type(error).__name__)
        finally:
            self._sending.discard(pending.id)

    async def _deliver(self, pending: PendingCallback) -> None:
        outbox, sender = self._service.outbox, self._service.sender
        try:
            async with self._room:
                callback = self._callbacks.get(pending.id) or await asyncio.to_thread(outbox.read, pending.id)
                if callback is None:
                    return
                self._callbacks[pending.id] = callback
                event = await self._event(callback)
        except Unreadable:
            if await asyncio.to_thread(outbox.claim, pending):
                await self._fail(
                    pending,
                    "a callback",
                    "it was encrypted with a secret that was removed, or was not written by Stenopool",
                )
            return
        except Problem as problem:
            if problem.status_code != 404:
                raise
            # The recording was removed: there is no event to send.
            await asyncio.to_thread(outbox.remove, pending.id)
            return
        if event is None:
            return
        # A slow host, or a key with many callbacks, uses no more than its share of the slots.
        async with sender.turn(callback.url, pending.owner), self._room:
            if not await asyncio.to_thread(outbox.claim, pending):
                return
            try:
                await sender.send(callback.url, callback.event, event.model_dump_json(exclude=_UNSENT).encode())
            except (AddressError, DeliveryError) as error:
                what = f"Callback {callback.event} to {urlsplit(callback.url).hostname}"
                why = str(error) or "callbacks to its address are not allowed"
                await self._fail(pending, what, why, for_good=getattr(error, "for_good", False))
                return
            await asyncio.to_thread(outbox.remove, pending.id)

    async def _fail(self, pending: PendingCallback, what: str, why: str, *, for_good: bool = False) -> None:
        """Record that the claimed attempt failed. The next one is made after a pause, or the callback is given up."""
        tries = len(pending.tries) + 1
        if tries < self._settings.tries and not for_good:
            await asyncio.to_thread(self._service.outbox.mark_failed, pending, why)
            log.warning("%s: %s; it will be retried.", what, why)
        else:
            await asyncio.to_thread(self._service.outbox.give_up, pending, why)
            log.error("%s was given up after %s attempts: %s.", what, tries, why)

    async def _event(self, callback: Callback) -> RecordingEvent | BatchEvent | None:
        """Return the event; None while its work has not ended. Raises the problem 404 if there will never be one."""
        if callback.run:
            return await self._of_run(callback.run, brief=callback.brief)
        key = callback.key or ""
        if (await self._service.runs.queue()).run_for(key):
            return None  # the usual case, which needs no request to the stores
        state = await states.read_state(self._service, key, callback.work)
        if state.state in ("queued", "running"):
            return None
        if state.state == "skipped" and (datetime.now(UTC) - callback.asked_at).total_seconds() < _SETTLED:
            return None  # its run is about to be submitted
        kind = state.state if state.state in ("completed", "cancelled") else "failed"
        data: BaseModel = Submitted(id=state.id, state=state.state)
        if not callback.brief:
            found = await self._read_duration_and_language(key, callback.work) if kind == "completed" else {}
            data = RecordingEnded.model_validate(state.model_dump() | found)
        return RecordingEvent.model_validate({"type": f"recording.{kind}", "data": data})

    async def _read_duration_and_language(self, key: str, work: str | None) -> dict[str, Any]:
        for name in await self._service.receipts_of(key):
            if name.status == "done" and work in (None, name.fingerprint):
                receipt = await asyncio.to_thread(receipts.read, self._service.destination, name)
                return receipt.model_dump(include={"duration", "language"}) if receipt else {}
        return {}

    async def _of_run(self, id: UUID, *, brief: bool) -> BatchEvent | None:
        batch = await read_batch(self._service, id)  # raises the problem 404 if it is gone
        if batch.state in ("queued", "running"):
            return None
        data = Submitted(id=str(batch.id), state=batch.state) if brief else batch
        return BatchEvent.model_validate({"type": f"batch.{batch.state}", "data": data})
