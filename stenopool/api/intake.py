"""An upload on its way to being a recording."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import Request
from prefect.client.schemas.objects import StateType
from pydantic import BaseModel

from stenopool.api import ids, states
from stenopool.api.keys import Key
from stenopool.api.problems import Problem
from stenopool.api.service import Service, token_of
from stenopool.api.states import StateName
from stenopool.api.upload_writer import UploadWriter
from stenopool.api.uploads import Form, receive_form
from stenopool.errors import ErrorCode
from stenopool.options import TranscriptionOptions


class Accepted(BaseModel):
    """A recording that was taken. ``sha256`` is of what arrived, for an upload."""

    id: str
    uri: str
    state: StateName
    size: int
    sha256: str | None = None


@dataclass
class Upload:
    """A form that was read, and the key that its file will have."""

    form: Form
    key: str


@asynccontextmanager
async def receive_upload(
    request: Request, service: Service, caller: Key, idempotency_key: str | None
) -> AsyncIterator[Upload]:
    """Read an upload. What is not accepted inside the block leaves nothing behind.

    With an idempotency key that was used before, the file is read and dropped: its recording is there.
    """
    await service.runs.deployment_id(service.settings.deployment)  # before gigabytes are read for nothing
    token = token_of(caller.name, idempotency_key) if idempotency_key else None
    there = await asyncio.to_thread(_first, service, token) if token else None
    key = ""

    def opener(filename: str) -> UploadWriter | None:
        nonlocal key
        key = service.new_key(filename, token)
        if there is None:
            return UploadWriter(service.source, key)
        if there != key:
            raise Problem(
                422, "IDEMPOTENCY_KEY_REUSED", "This Idempotency-Key was another file's.", "Use a key per file."
            )
        return None

    async with service.room, receive_form(request, opener, service.settings.max_bytes) as form:
        yield Upload(form, key)


async def accept_upload(
    service: Service, upload: Upload, options: TranscriptionOptions, callback: str | None
) -> Accepted:
    """Make an upload a recording of the source and have it transcribed; if that cannot be asked for, neither.

    ``callback``: the address to which an event is sent when it is over.
    """
    key, file, wanted = upload.key, upload.form.file, upload.form.value("sha256")
    await service.check_callback(callback)
    if file:
        if wanted and wanted.lower() != file.sha256:
            raise Problem(422, "CHECKSUM_MISMATCH", "The file is not what its SHA-256 says.", "Send it again.")
        await file.commit()
        upload.form.file = None
    try:
        info = await service.head(key)
        await service.add_callback(callback, key=key, work=service.fingerprint(info, options))
        run = await service.submit(info, options)
    except BaseException:
        if file:
            await asyncio.to_thread(service.source.delete, key)
        raise
    # A look at the queue for each of two hundred uploads at once would take longer than they do.
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
        message = f"The file exceeds {service.settings.max_bytes:,} bytes."
        raise Problem(413, ErrorCode.TOO_LARGE, message, ErrorCode.TOO_LARGE.remedy)


def _first(service: Service, token: str) -> str | None:
    info = next(service.source.list(f"{token}/"), None)
    return info.key if info else None
