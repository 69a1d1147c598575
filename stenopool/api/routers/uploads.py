"""Direct uploads: the API returns a presigned URL, and the client sends the file to the store."""

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from stenopool.api import ids
from stenopool.api.access import CanWrite, GuardedRoute
from stenopool.api.idempotency import IdempotencyKey, claimed, token_of
from stenopool.api.keys import Key
from stenopool.api.lifecycle import Sha256, check_size
from stenopool.api.problems import Problem
from stenopool.api.service import CurrentService, Service

router = APIRouter(prefix="/v1/uploads", tags=["uploads"], route_class=GuardedRoute)


class DirectUpload(BaseModel):
    """A recording to be uploaded directly to the store."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    filename: Annotated[str, Field(min_length=1, max_length=255)]
    """The file name, without folders."""
    size: Annotated[int, Field(gt=0)]
    """Size in bytes; the URL accepts no other size."""
    sha256: Sha256 | None = None
    """SHA-256. Servers that check it (AWS, MinIO) refuse other content. With `uri`, it is checked on any server."""


class PresignedUpload(BaseModel):
    """PUT the file to ``url`` with these headers, then POST ``{"uri": ...}`` to /v1/recordings."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    id: str
    """The id that the recording will have."""
    uri: str
    """The address to submit after the upload."""
    method: Literal["PUT"] = "PUT"
    """Always PUT."""
    url: str
    """Where to send the file. It works once: an existing object is not replaced."""
    headers: dict[str, str]
    """Send exactly these headers, in addition to Content-Length. They are signed."""
    expires_in: int
    """Seconds within which the upload must start."""


@router.post("", status_code=201, responses={409: {}})
async def create_upload(
    asked: DirectUpload, service: CurrentService, caller: CanWrite, idempotency_key: IdempotencyKey = None
) -> PresignedUpload:
    """Request a URL to send a recording to. It is transcribed once its `uri` is sent to POST /v1/recordings."""
    return await presign(service, asked, caller, idempotency_key)


async def presign(service: Service, asked: DirectUpload, caller: Key, idempotency_key: str | None) -> PresignedUpload:
    """Return a URL for this upload. Raises the problem 409 if it was used already."""
    check_size(service, asked.size)
    sha256 = asked.sha256 and asked.sha256.lower()
    key, lifetime = service.new_key(asked.filename), service.settings.link_lifetime
    service.source.presigned_put(key, asked.size, lifetime)  # fails before the request is stored
    same = {"filename": asked.filename, "size": asked.size, "upload": sha256}
    async with claimed(service.destination, token_of(caller, idempotency_key), same, key) as first:
        if first.repeated and await asyncio.to_thread(service.source.exists, first.key):
            remedy = f"POST its uri to /v1/recordings: {service.source.uri_of(first.key)}"
            raise Problem(409, "ALREADY_UPLOADED", "The recording was uploaded already.", remedy)
        put = service.source.presigned_put(first.key, asked.size, lifetime, sha256)
    return PresignedUpload(
        id=ids.encode(first.key),
        uri=service.source.uri_of(first.key),
        url=put.url,
        headers=put.headers,
        expires_in=lifetime,
    )
