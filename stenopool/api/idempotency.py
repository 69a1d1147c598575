"""Idempotency keys: the destination keeps the first request with each key for a week.

    <destination>/.api/requests/<digest of the caller and the key>.json

A record is written only if it is absent, so only one of several simultaneous requests is the first, in any process.
"""

import asyncio
import hashlib
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Header
from pydantic import BaseModel, Field

from stenopool.api.keys import Key
from stenopool.api.problems import Problem
from stenopool.pipeline.receipts import REQUESTS, REQUESTS_KEPT, read_model
from stenopool.storage import ObjectStore

_ATTEMPTS = 3

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        description="For 7 days, the same request with the same key has no further effect. A different request "
        "with this key, i.e. another file (name, size, SHA-256), options, external_id or metadata, is refused: 422 "
        "IDEMPOTENCY_KEY_REUSED.",
    ),
]


class FirstRequest(BaseModel):
    """The first request with a key. ``request``: digest of the request. ``key``: the recording's key."""

    request: str
    key: str = ""
    nonce: str = Field(default_factory=lambda: secrets.token_hex(16))
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))


class Claim(FirstRequest):
    """The first request with a key. ``repeated``: whether that was an earlier request."""

    repeated: bool = False


def token_of(caller: Key, idempotency_key: str | None) -> str | None:
    """The name of a key's record, which depends only on the caller and the key."""
    if idempotency_key is None:
        return None
    return hashlib.sha256(f"{caller.name}\0{idempotency_key}".encode()).hexdigest()[:32]


async def find_first(destination: ObjectStore, token: str | None) -> FirstRequest | None:
    """Return the first request with this key, if it is stored."""
    return await asyncio.to_thread(_read, destination, token) if token else None


async def remember(destination: ObjectStore, token: str | None, key: str) -> None:
    """Store a recording as that of the last request with this token."""
    if token:
        record = FirstRequest(request="", key=key).model_dump_json().encode()
        await asyncio.to_thread(destination.put_bytes, _name(token), record)


@asynccontextmanager
async def claimed(
    destination: ObjectStore, token: str | None, request: dict[str, Any], key: str = ""
) -> AsyncIterator[Claim]:
    """Store a request as the first with its key, or return the earlier one. If the block fails, the record is deleted.

    Raises the problem 422 IDEMPOTENCY_KEY_REUSED if the earlier request differs. Without a key, each is the first.
    """
    digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
    mine = FirstRequest(request=digest, key=key)
    first = await asyncio.to_thread(_claim, destination, token, mine) if token else mine
    if first.request != digest:
        message = "This Idempotency-Key was used for a different request: another file, options or metadata."
        raise Problem(422, "IDEMPOTENCY_KEY_REUSED", message, "Use a new key for each request.")
    repeated = first.nonce != mine.nonce
    try:
        yield Claim(**first.model_dump(), repeated=repeated)
    except BaseException:
        if token and not repeated:
            await asyncio.to_thread(destination.delete, _name(token))
        raise


def in_progress() -> Problem:
    """The problem 409: the first request with this key has not stored its recording yet."""
    message = "A request with this Idempotency-Key is in progress."
    return Problem(409, "IDEMPOTENCY_IN_PROGRESS", message, "Try again in a second.", {"Retry-After": "1"})


def _claim(destination: ObjectStore, token: str, mine: FirstRequest) -> FirstRequest:
    for _ in range(_ATTEMPTS):
        if destination.put_bytes(_name(token), mine.model_dump_json().encode(), if_absent=True):
            return mine
        if first := _read(destination, token):
            return first
        destination.delete(_name(token))  # expired, or invalid
    raise in_progress()


def _read(destination: ObjectStore, token: str) -> FirstRequest | None:
    first = read_model(destination, _name(token), FirstRequest)
    return first if first and datetime.now(UTC) - first.created_at < REQUESTS_KEPT else None


def _name(token: str) -> str:
    return f"{REQUESTS}{token}.json"
