"""What happens to a recording in the API: it is uploaded and submitted, perhaps submitted again, perhaps removed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import islice

from fastapi import Request
from prefect.client.schemas.objects import StateType
from pydantic import BaseModel

from stenopool.api import ids, states
from stenopool.api.ingest_runs import entry_of
from stenopool.api.keys import Key
from stenopool.api.problems import Problem, too_large
from stenopool.api.service import Service, token_of
from stenopool.api.states import StateName
from stenopool.api.uploads import Form, UploadWriter, receive_form
from stenopool.options import STORED, TranscriptionOptions
from stenopool.pipeline import receipts
from stenopool.pipeline.catalog import fingerprint
from stenopool.pipeline.receipts import WORK
from stenopool.pipeline.speaker_names import names_key

_AT_ONCE = 500  # recordings that one request retries at most


class Accepted(BaseModel):
    """A recording that was accepted. ``sha256``: of an upload, as it arrived."""

    id: str
    uri: str
    state: StateName
    size: int
    sha256: str | None = None


@asynccontextmanager
async def receive_upload(
    request: Request, service: Service, caller: Key, idempotency_key: str | None
) -> AsyncIterator[Form]:
    """Read an upload. What is not accepted inside the block leaves nothing behind.

    With an idempotency key that was used before, the file is read and dropped: its recording exists.
    """
    await service.runs.deployment_id(service.settings.deployment)  # before gigabytes are read for nothing
    token = token_of(caller, idempotency_key)
    folder = f"{service.caller.prefix}{token}/"
    first = await asyncio.to_thread(next, service.source.list(folder), None) if token else None

    def opener(filename: str) -> tuple[str, UploadWriter | None]:
        key = service.new_key(filename, token)
        if first is None:
            return key, UploadWriter(service.source, key)
        if first.key != key:
            raise Problem(
                422, "IDEMPOTENCY_KEY_REUSED", "This Idempotency-Key was used for another file.", "Use a key per file."
            )
        return key, None

    async with service.slots.take(caller.name), receive_form(request, opener, service.settings.max_bytes) as form:
        yield form


async def accept_upload(service: Service, form: Form, options: TranscriptionOptions, callback: str | None) -> Accepted:
    """Store an upload in the source and submit it; if it cannot be submitted, it is not stored.

    ``callback``: where to send an event when the recording is finished.
    """
    key, file, wanted = form.key, form.file, form.value("sha256")
    await service.check_callback(callback)
    if file:
        if wanted and wanted.lower() != file.sha256:
            raise Problem(422, "CHECKSUM_MISMATCH", "The file does not match its SHA-256.", "Send it again.")
        await file.commit()
        form.file = None
    try:
        info = await service.head(key)
        await service.add_callback(callback, key=key, work=fingerprint(info, options))
        run = await service.submit(info, options)
    except BaseException:
        if file:
            await asyncio.to_thread(service.source.delete, key)
        raise
    # Reading the queue for each of two hundred simultaneous uploads would take longer than the uploads.
    waits = run is not None and run.state_type is StateType.SCHEDULED
    return Accepted(
        id=ids.encode(key),
        uri=service.source.uri_of(key),
        state="queued" if waits else (await states.read_state(service, key)).state,
        size=info.size,
        sha256=file.sha256 if file else None,
    )


def check_size(service: Service, size: int) -> None:
    """The problem 413 for a file larger than the API takes."""
    if size > service.settings.max_bytes:
        raise too_large("The file", service.settings.max_bytes)


async def retry(service: Service, key: str) -> None:
    """Submit one recording again, unless it is done or in the queue."""
    info = await service.head(key)
    last = await options_of(service, key)
    # What an earlier version stored may have no bounds.
    await service.submit(info, service.options(last.model_dump(mode="json", exclude_unset=True)), again=True)


async def retry_failed(service: Service) -> int:
    """Submit quarantined recordings and those whose run was lost; returns how many (some hundred at a time)."""
    named = (name.key for name in receipts.list_receipts(service.destination) if name.status == "quarantined")
    found = await asyncio.to_thread(lambda: list(islice(named, _AT_ONCE)))
    lost = await service.runs.last_runs(await service.runs.failed_keys())
    queue = await service.runs.queue()
    submitted = 0
    for key in dict.fromkeys([*found, *(key for key, run in lost.items() if entry_of(run).state == "failed")]):
        if queue.run_for(key):
            continue
        try:
            await retry(service, key)
        except Problem as problem:
            if problem.status_code not in (404, 422):  # removed meanwhile, or its options are no longer allowed
                raise
            continue
        submitted += 1
    service.notes.recording = ""  # not the last of them alone
    return submitted


async def options_of(service: Service, key: str) -> TranscriptionOptions:
    """The options of the recording's last run, as they are stored; the defaults if Prefect has none."""
    last = (await service.runs.last_runs([key])).get(key)
    return service.options(last.parameters.get("options") if last else None, STORED)


async def remove(service: Service, key: str) -> None:
    """Remove the recording, its transcripts, receipts and checkpoints. If interrupted, it can be repeated.

    The problem 404 if it does not exist, 409 while it is transcribed: the worker would write again what was removed.
    """
    info = await service.head(key)
    service.runs.forget_queue()
    queue = await service.runs.queue()
    active, others = queue.run_for(key), queue.run_covering(key)
    if busy := next((entry for entry in (active, others) if entry and entry.state == "running"), None):
        others_run = not busy.is_below(service.caller.prefix)
        remedy = "Try again when it is done." if others_run else f"DELETE /v1/queue/{busy.id}, then again."
        raise Problem(409, "RECORDING_BUSY", "The recording is being transcribed.", remedy)
    if active:
        await service.runs.cancel(active.id)
    # A run that failed or was cancelled left checkpoints, and no receipt that names them.
    works: set[str] = set()
    with suppress(Problem):  # options that this version does not know
        works.add(fingerprint(info, await options_of(service, key)))
    await asyncio.to_thread(_remove, service, key, works)


def _remove(service: Service, key: str, works: set[str]) -> None:
    named = [info.key for info in service.destination.list(receipts.receipt_stem(key))]
    works |= {name.fingerprint for name in map(receipts.parse_receipt_key, named) if name}
    for prefix in (f"{key}/transcript.", f"{key}/audio.", names_key(key)):
        for info in list(service.destination.list(prefix)):
            # Below "a/" there may be files made from "a/b".
            if "/" not in info.key[len(prefix) :]:
                service.destination.delete(info.key)
    for work in works:
        for info in list(service.destination.list(f"{WORK}{work}/")):
            service.destination.delete(info.key)
    for receipt in named:
        service.destination.delete(receipt)
    # Last, because a repeated request looks for it.
    service.source.delete(key)
