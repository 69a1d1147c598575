"""How things stand with a recording. Receipts say what is done, Prefect what is asked for; nothing else is kept.

The queue is looked at before the receipts: a run that ends in between has written its receipt by then.
"""

import asyncio
import base64
import binascii
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal

from prefect.client.schemas.objects import FlowRun
from pydantic import BaseModel

from api.ids import encode
from api.problems import invalid
from api.runs import QueueEntry
from api.service import Service
from stenopool import receipts
from stenopool.catalog import Selection
from stenopool.errors import REMEDIES, ErrorCode, Failure, SetupError
from stenopool.receipts import ReceiptName
from stenopool.storage import ObjectInfo, ObjectStore
from stenopool.storage.s3 import S3Store

State = Literal["queued", "running", "completed", "failed", "cancelled", "skipped"]
_ALL = Selection()


class RecordingState(BaseModel):
    """One recording. ``skipped``: nothing was made of it and nobody has asked for it here (a schedule may still).

    ``failure`` is given for one recording, not in lists: a list reads no receipt.
    """

    id: str
    name: str
    key: str
    size: int
    modified: datetime
    state: State
    formats: list[str] = []
    queue: QueueEntry | None = None
    failure: Failure | None = None


class RecordingPage(BaseModel):
    """Some recordings, in the order of their keys. Go on with ``next_cursor`` until it is null.

    With a state asked for, a page may hold few or none and yet not be the last.
    """

    recordings: list[RecordingState]
    next_cursor: str | None = None


async def page(house: Service, state: State | None, cursor: str | None, limit: int) -> RecordingPage:
    """One listing of the source, one of the receipts, and the queue."""
    after = _key_after(cursor)
    active = {entry.recording: entry for entry in await house.runs.queue()}
    infos, following = await asyncio.to_thread(_listed, _paged(house.source, limit + 1), after, limit)
    found = await asyncio.to_thread(_receipts, _paged(house.destination, 2 * limit), [info.key for info in infos])
    unknown = [encode(info.key) for info in infos if not found.get(info.key) and encode(info.key) not in active]
    last = await house.runs.last(unknown)
    recordings = [
        _state(info, found.get(info.key, ()), active.get(encode(info.key)), last.get(encode(info.key)))
        for info in infos
    ]
    return RecordingPage(
        recordings=[one for one in recordings if state in (None, one.state)], next_cursor=_cursor(following)
    )


async def one(house: Service, key: str) -> RecordingState:
    """One recording, with why it failed if it did. The problem 404 if it is not there."""
    active = next((entry for entry in await house.runs.queue() if entry.recording == encode(key)), None)
    info, found = await asyncio.gather(house.head(key), house.receipts_of(key))
    last = None
    if not (active or found):
        last = (await house.runs.last([encode(key)])).get(encode(key))
    state = _state(info, found, active, last)
    if state.state == "failed":
        state.failure = await _failure(house, found, last)
    return state


def _state(
    info: ObjectInfo, found: Iterable[ReceiptName], active: QueueEntry | None, last: FlowRun | None
) -> RecordingState:
    done = [name for name in found if name.status == "done"]
    state: State
    if active:
        state = active.state
    elif done:
        state = "completed"
    elif any(found):
        state = "failed"
    elif last is None or last.state is None:
        state = "skipped"
    elif not last.state.is_final():
        state = "queued"  # started after the queue was looked at
    else:
        # A run that completed without a receipt left the recording for the next one.
        state = "cancelled" if last.state.is_cancelled() else "failed"
    return RecordingState(
        id=encode(info.key),
        name=info.key.rpartition("/")[2],
        key=info.key,
        size=info.size,
        modified=datetime.fromtimestamp(info.modified, UTC),
        state=state,
        formats=sorted({format for name in done for format in name.formats}) if state == "completed" else [],
        queue=active,
    )


async def _failure(house: Service, found: list[ReceiptName], last: FlowRun | None) -> Failure:
    for name in found:
        try:
            receipt = await asyncio.to_thread(
                receipts.read, house.destination, name.key, name.fingerprint, "quarantined"
            )
        except SetupError:
            continue
        if receipt.failure:
            return receipt.failure
    message = f"Its run ended as {last.state.name}." if last and last.state else "Its run is gone."
    return Failure(code=ErrorCode.RUN_LOST, message=message, remedy=REMEDIES[ErrorCode.RUN_LOST])


def _paged(store: ObjectStore, size: int) -> ObjectStore:
    """The same store, listed in pages no larger than needed."""
    if isinstance(store, S3Store):
        return S3Store(store.bucket, store.prefix, client=store.client, page_size=min(size, 1000))
    return store


def _listed(source: ObjectStore, after: str, limit: int) -> tuple[list[ObjectInfo], str | None]:
    """The next objects that are recordings, and the last key looked at if there are more."""
    infos: list[ObjectInfo] = []
    reached = None
    for looked_at, info in enumerate(source.list(start_after=after)):
        if looked_at == limit:
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
        for name in receipts.names(destination, start_after=min(map(receipts.receipt_stem, keys))):
            if name.key in found:
                found[name.key].append(name)
            elif receipts.receipt_stem(name.key) > last:
                break
    return found


def _cursor(key: str | None) -> str | None:
    return base64.urlsafe_b64encode(key.encode()).decode() if key else None


def _key_after(cursor: str | None) -> str:
    try:
        return base64.urlsafe_b64decode(cursor or "").decode()
    except (binascii.Error, ValueError):
        raise invalid("This is no cursor that a page gave.") from None
