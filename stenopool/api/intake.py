"""Uploads received, checked and submitted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request
from prefect.client.schemas.objects import StateType
from pydantic import BaseModel

from stenopool.api import ids, states
from stenopool.api.keys import Key
from stenopool.api.problems import Problem, too_large
from stenopool.api.service import Service, token_of
from stenopool.api.states import StateName
from stenopool.api.uploads import Form, UploadWriter, receive_form
from stenopool.options import TranscriptionOptions


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
    first = await asyncio.to_thread(next, service.source.list(f"{token}/"), None) if token else None

    def opener(filename: str) -> tuple[str, UploadWriter | None]:
        key = service.new_key(filename, token)
        if first is None:
            return key, UploadWriter(service.source, key)
        if first.key != key:
            raise Problem(
                422, "IDEMPOTENCY_KEY_REUSED", "This Idempotency-Key was used for another file.", "Use a key per file."
            )
        return key, None

    async with service.room, receive_form(request, opener, service.settings.max_bytes) as form:
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
        await service.add_callback(callback, key=key, work=service.fingerprint(info, options))
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
