"""The state of a recording, derived from receipts (finished work) and from Prefect (submitted work).

The queue is read before the receipts: a run that ends in between has already written its receipt.
"""

import asyncio
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from prefect.client.schemas.objects import FlowRun
from pydantic import BaseModel, Field, computed_field

from stenopool.api.client_data import ClientData, read_client_data
from stenopool.api.ids import encode, text_of
from stenopool.api.ingest_runs import QueueEntry, QueueSnapshot
from stenopool.api.keys import Key
from stenopool.api.problems import invalid
from stenopool.api.schema import Described
from stenopool.api.service import Service
from stenopool.errors import ErrorCode, Failure
from stenopool.orchestration.names import batch_name
from stenopool.pipeline import receipts
from stenopool.pipeline.catalog import Selection
from stenopool.pipeline.receipts import ReceiptName
from stenopool.pipeline.report import BatchReport
from stenopool.speech.renderers.words import clean
from stenopool.storage import ObjectInfo, ObjectStore
from stenopool.storage.base import Walk

StateName = Literal["queued", "running", "completed", "failed", "cancelled", "skipped"]
_ALL = Selection()
_UPLOAD = re.compile(r"(^|/)[0-9a-f]{32}/")
_CHUNK = 200  # keys that a search reads at a time
_MOST_KEYS = 1000  # maximum number of keys that one request reads


class Submitted(Described):
    """A recording or a run, as returned to a key without the scope `read`."""

    id: str
    """The id of the recording or the run."""
    state: str
    """Its state."""


def for_caller(caller: Key, made: BaseModel) -> Any:
    """Reduce a response to id and state for a caller that may submit but not read."""
    return made if caller.may("read") else Submitted.model_validate(made.model_dump(mode="json"))


class RecordingState(ClientData):
    """A recording."""

    id: str
    """The recording's id."""
    name: str
    """The name, without folders."""
    key: str
    """The key in the source."""
    size: int
    """Size in bytes."""
    modified: datetime
    """When it was written to the source."""
    state: StateName
    """`skipped`: neither transcribed nor submitted (a schedule may still submit it)."""
    transcript: bool = False
    """Whether it has a transcript, whatever the state: also while it is transcribed again."""
    formats: list[str] = Field(default_factory=list)
    """The stored formats of its transcript; others are rendered on request."""
    queue: QueueEntry | None = None
    """The run that transcribes it, or that it waits for."""
    failure: Failure | None = None
    """Why it failed. Lists omit this, external_id and metadata, because they read no objects."""


class RecordingPage(Described):
    """A page of recordings, in the order of their keys. In a search it may be short or empty without being the last."""

    data: list[RecordingState]
    """The recordings of this page."""
    next_cursor: str | None = None
    """`cursor` of the next page; null on the last."""

    @computed_field(description="The same as data; removed in 1.0.", json_schema_extra={"deprecated": True})  # type: ignore[prop-decorator]
    @property
    def recordings(self) -> list[RecordingState]:
        return self.data


class RecordingFilter(NamedTuple):
    """Selects the recordings of a list. ``words``: part of the key, case-insensitive."""

    state: StateName | None = None
    words: str | None = None
    since: datetime | None = None
    before: datetime | None = None

    def takes(self, info: ObjectInfo) -> bool:
        """Whether an object passes, apart from its state."""
        modified = datetime.fromtimestamp(info.modified, UTC)
        return (
            (self.words is None or self.words.casefold() in display_key(info.key).casefold())
            and (self.since is None or modified >= self.since)
            and (self.before is None or modified < self.before)
        )


_EVERYTHING = RecordingFilter()


async def read_page(
    service: Service, cursor: str | None, limit: int, wanted: RecordingFilter = _EVERYTHING
) -> RecordingPage:
    """Return the next recordings that pass the filter. Reads at most `_MOST_KEYS` keys."""
    try:
        after: str | None = text_of(cursor or "")
    except ValueError:
        raise invalid("Invalid cursor.") from None
    queue, found = await service.runs.queue(), list[RecordingState]()
    keys_read, at_once = 0, limit if wanted == _EVERYTHING else max(limit, _CHUNK)
    while after is not None and len(found) < limit and keys_read < _MOST_KEYS:
        infos, after = await asyncio.to_thread(_list, service, after, at_once)
        keys_read += at_once
        found += [
            one
            for one in await _states(service, queue, list(filter(wanted.takes, infos)))
            if wanted.state in (None, one.state)
        ]
    if len(found) > limit:  # the keys beyond this page are read again for the next one
        found, after = found[:limit], found[limit - 1].key
    return RecordingPage(data=found, next_cursor=encode(after) if after else None)


async def read_state(service: Service, key: str, work: str | None = None) -> RecordingState:
    """Return a recording, with its failure if it failed. Raises the problem 404 if it does not exist.

    ``work``: a fingerprint; results of other options are ignored.
    """
    queue = await service.runs.queue()
    info, found, client = await asyncio.gather(
        service.head(key), service.receipts_of(key), asyncio.to_thread(read_client_data, service.destination, key)
    )
    found = [name for name in found if work in (None, name.fingerprint)]
    done = work and any(name.status == "done" for name in found)
    # This work is done, even if the recording is queued with other options.
    active, last = None if done else _active(queue, key, found), None
    if not (active or found):
        last = (await service.runs.last_runs([key])).get(key)
    state = _state(service, info, found, active, last)
    state.external_id, state.metadata = client.external_id, client.metadata
    if state.state == "failed":
        state.failure = await _failure(service, key, found, last)
    return state


def display_key(key: str) -> str:
    """Return a key as people know it: without the folder of an upload."""
    return _UPLOAD.sub(r"\1", key, count=1)


async def _states(service: Service, queue: QueueSnapshot, infos: list[ObjectInfo]) -> list[RecordingState]:
    """Read the states with one listing of receipts. Prefect is queried only for recordings without one."""
    found = await asyncio.to_thread(_receipts, service.destination, [info.key for info in infos])
    active = {info.key: _active(queue, info.key, found[info.key]) for info in infos}
    last = await service.runs.last_runs(key for key, entry in active.items() if not (entry or found[key]))
    return [_state(service, info, found[info.key], active[info.key], last.get(info.key)) for info in infos]


def _active(queue: QueueSnapshot, key: str, found: list[ReceiptName]) -> QueueEntry | None:
    """Return the unfinished run of a recording. A run over a prefix skips recordings that have a receipt."""
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
        # A run that completed without a receipt deferred the recording to the next one.
        state = "cancelled" if last.state.is_cancelled() else "failed"
    return RecordingState(
        id=encode(info.key),
        name=clean(info.key.rpartition("/")[2]) or "?",
        key=info.key,
        size=info.size,
        modified=datetime.fromtimestamp(info.modified, UTC),
        state=state,
        transcript=bool(done),
        formats=sorted({format for name in done for format in name.formats}),
        queue=active if active and active.is_below(service.caller.prefix) else None,
    )


async def _failure(service: Service, key: str, found: list[ReceiptName], last: FlowRun | None) -> Failure:
    for name in found:
        receipt = await asyncio.to_thread(receipts.read, service.destination, name)
        if receipt and receipt.failure:
            return receipt.failure
    # A deferred recording has no receipt, but the run's report lists it.
    if last and (failure := await asyncio.to_thread(_reported, service.destination, last, key)):
        return failure
    message = f"Its run ended as {last.state.name}." if last and last.state else "Its run no longer exists."
    return Failure(code=ErrorCode.RUN_LOST, message=message, remedy=ErrorCode.RUN_LOST.remedy)


def _reported(destination: ObjectStore, run: FlowRun, key: str) -> Failure | None:
    if run.expected_start_time is None:
        return None
    name = f"{receipts.BATCHES}{batch_name(run.expected_start_time, run.id)}/report.json"
    report = receipts.read_model(destination, name, BatchReport)
    return next((one.failure for one in report.failed if one.key == key), None) if report else None


def _list(service: Service, after: str, limit: int) -> tuple[list[ObjectInfo], str | None]:
    """Return the next objects that are recordings, and the last key that was read if there are more."""
    infos: list[ObjectInfo] = []
    reached = None
    # Folders that cannot be read are skipped here; runs report them.
    listed = service.source.list(service.caller.prefix, start_after=after, page_size=limit + 1, walk=Walk())
    for keys_read, info in enumerate(listed):
        if keys_read == limit:
            return infos, reached
        reached = info.key
        if _ALL.takes(info.key, info.modified):
            infos.append(info)
    return infos, None


def _receipts(destination: ObjectStore, keys: list[str]) -> dict[str, list[ReceiptName]]:
    """Return the receipts of these keys, with one listing from the first key to the last."""
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
