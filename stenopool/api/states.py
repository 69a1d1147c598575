"""The state of a recording, derived from receipts (what is done) and from Prefect (what is submitted).

The queue is read before the receipts: a run that ends in between has written its receipt by then.
"""

import asyncio
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal

from prefect.client.schemas.objects import FlowRun
from pydantic import BaseModel

from stenopool.api.ids import encode, text_of
from stenopool.api.ingest_runs import QueueEntry, QueueSnapshot
from stenopool.api.keys import Key
from stenopool.api.problems import invalid
from stenopool.api.service import Service
from stenopool.errors import ErrorCode, Failure
from stenopool.pipeline import receipts
from stenopool.pipeline.catalog import Selection
from stenopool.pipeline.receipts import ReceiptName
from stenopool.speech.renderers.words import clean
from stenopool.storage import ObjectInfo, ObjectStore

StateName = Literal["queued", "running", "completed", "failed", "cancelled", "skipped"]
_ALL = Selection()
_UPLOAD = re.compile(r"(^|/)[0-9a-f]{32}/")
_CHUNK = 200  # keys that a search reads together
_MOST_KEYS = 1000  # that one request reads, whatever it finds


class Submitted(BaseModel):
    """A recording or a run, as a key without the scope `read` gets to know it."""

    id: str
    state: str


def for_caller(caller: Key, made: BaseModel) -> Any:
    """An answer to a caller, who may submit a recording or a run without the right to read."""
    return made if caller.may("read") else Submitted.model_validate(made.model_dump(mode="json"))


class RecordingState(BaseModel):
    """One recording. ``skipped``: not transcribed and not submitted (a schedule may still submit it).

    ``failure``: only where one recording is requested, because a list reads no receipts.
    """

    id: str
    name: str
    key: str
    size: int
    modified: datetime
    state: StateName
    formats: list[str] = []
    queue: QueueEntry | None = None
    failure: Failure | None = None


class RecordingPage(BaseModel):
    """Some recordings, in the order of their keys; request ``next_cursor`` until it is null.

    A page of a search may be short or empty without being the last.
    """

    recordings: list[RecordingState]
    next_cursor: str | None = None


async def read_page(
    service: Service, cursor: str | None, limit: int, *, state: StateName | None = None, words: str | None = None
) -> RecordingPage:
    """The next recordings that are in that state and have these words in their keys, `_MOST_KEYS` keys at most."""
    try:
        after: str | None = text_of(cursor or "")
    except ValueError:
        raise invalid("Invalid cursor.") from None
    queue, found = await service.runs.queue(), list[RecordingState]()
    keys_read, at_once = 0, limit if state is words is None else max(limit, _CHUNK)
    while after is not None and len(found) < limit and keys_read < _MOST_KEYS:
        infos, after = await asyncio.to_thread(_list, service, after, at_once)
        keys_read += at_once
        infos = [info for info in infos if words is None or words.casefold() in display_key(info.key).casefold()]
        found += [one for one in await _states(service, queue, infos) if state in (None, one.state)]
    if len(found) > limit:  # the keys beyond this page are read again for the next one
        found, after = found[:limit], found[limit - 1].key
    return RecordingPage(recordings=found, next_cursor=encode(after) if after else None)


async def read_state(service: Service, key: str, work: str | None = None) -> RecordingState:
    """One recording, with its failure if it failed. The problem 404 if it does not exist.

    ``work``: a fingerprint; results of other options do not count.
    """
    queue = await service.runs.queue()
    info, found = await asyncio.gather(service.head(key), service.receipts_of(key))
    found = [name for name in found if work in (None, name.fingerprint)]
    done = work and any(name.status == "done" for name in found)
    # This work is done, even if the recording is queued with other options.
    active, last = None if done else _active(queue, key, found), None
    if not (active or found):
        last = (await service.runs.last_runs([key])).get(key)
    state = _state(service, info, found, active, last)
    if state.state == "failed":
        state.failure = await _failure(service, found, last)
    return state


def display_key(key: str) -> str:
    """A key as people know it: an upload's without its own folder."""
    return _UPLOAD.sub(r"\1", key, count=1)


async def _states(service: Service, queue: QueueSnapshot, infos: list[ObjectInfo]) -> list[RecordingState]:
    """One listing of receipts; Prefect is asked about those without one."""
    found = await asyncio.to_thread(_receipts, service.destination, [info.key for info in infos])
    active = {info.key: _active(queue, info.key, found[info.key]) for info in infos}
    last = await service.runs.last_runs(key for key, entry in active.items() if not (entry or found[key]))
    return [_state(service, info, found[info.key], active[info.key], last.get(info.key)) for info in infos]


def _active(queue: QueueSnapshot, key: str, found: list[ReceiptName]) -> QueueEntry | None:
    """The unfinished run of a recording. A run over a prefix skips recordings that have a receipt."""
    return queue.run_for(key) or (None if found else queue.run_covering(key))


def _state(
    service: Service, info: ObjectInfo, found: Iterable[ReceiptName], active: QueueEntry | None, last: FlowRun | None
) -> RecordingState:
    done = [name for name in found if name.status == "done"]
    state: StateName
    if active:
        state = "running" if active.state == "running" else "queued"
    elif done:
        state = "completed"
    elif any(found):
        state = "failed"
    elif last is None or last.state is None:
        state = "skipped"
    elif not last.state.is_final():
        state = "queued"  # started after the queue was read
    else:
        # A run that completed without a receipt left the recording for the next one.
        state = "cancelled" if last.state.is_cancelled() else "failed"
    return RecordingState(
        id=encode(info.key),
        name=clean(info.key.rpartition("/")[2]) or "?",
        key=info.key,
        size=info.size,
        modified=datetime.fromtimestamp(info.modified, UTC),
        state=state,
        formats=sorted({format for name in done for format in name.formats}) if state == "completed" else [],
        queue=active if active and active.is_below(service.caller.prefix) else None,
    )


async def _failure(service: Service, found: list[ReceiptName], last: FlowRun | None) -> Failure:
    for name in found:
        receipt = await asyncio.to_thread(receipts.read, service.destination, name)
        if receipt and receipt.failure:
            return receipt.failure
    message = f"Its run ended as {last.state.name}." if last and last.state else "Its run is gone."
    return Failure(code=ErrorCode.RUN_LOST, message=message, remedy=ErrorCode.RUN_LOST.remedy)


def _list(service: Service, after: str, limit: int) -> tuple[list[ObjectInfo], str | None]:
    """The next objects that are recordings, and the last key read if there are more."""
    infos: list[ObjectInfo] = []
    reached = None
    listed = service.source.list(service.caller.prefix, start_after=after, page_size=limit + 1)
    for keys_read, info in enumerate(listed):
        if keys_read == limit:
            return infos, reached
        reached = info.key
        if _ALL.takes(info.key, info.modified):
            infos.append(info)
    return infos, None


def _receipts(destination: ObjectStore, keys: list[str]) -> dict[str, list[ReceiptName]]:
    """The receipts of these keys: one listing, from the first key to the last."""
    found: dict[str, list[ReceiptName]] = {key: [] for key in keys}
    if keys:
        last = max(map(receipts.receipt_stem, keys))
        first = min(map(receipts.receipt_stem, keys))
        for name in receipts.list_receipts(destination, start_after=first, page_size=2 * len(keys)):
            if name.key in found:
                found[name.key].append(name)
            elif receipts.receipt_stem(name.key) > last:
                break
    return found
