"""Recordings: sent, listed, looked at, tried again, removed."""

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from prefect.client.schemas.objects import FlowRun
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stenopool.api import ids, removal, states
from stenopool.api.access import Reader, Writer
from stenopool.api.headers import FORM, media_type
from stenopool.api.intake import Accepted, accept, small_enough, taken
from stenopool.api.keys import Key
from stenopool.api.problems import Problem, invalid, told
from stenopool.api.queue import QueueEntry, entry_of
from stenopool.api.retries import retry as try_again
from stenopool.api.service import Service, service, token_of
from stenopool.api.states import RecordingPage, RecordingState, State
from stenopool.api.uploads import Form

router = APIRouter(prefix="/v1/recordings", tags=["recordings"])
House = Annotated[Service, Depends(service)]
IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=255, description="The same key again is the same recording, not another one."),
]


class FromSource(BaseModel):
    """A recording that lies below the source already, or one that was sent to a presigned address.

    An address that ends with "/" means everything below it.
    """

    model_config = ConfigDict(extra="forbid")

    uri: Annotated[str, Field(min_length=1, max_length=4096, description="Its address below the API's source.")]
    options: dict[str, Any] = Field(default_factory=dict, description="Fields of TranscriptionOptions.")
    callback: Annotated[
        str | None, Field(max_length=2000, description="An address that is told when it is over, once.", repr=False)
    ] = None


class DirectUpload(BaseModel):
    """A recording that is going to be sent straight to the store."""

    model_config = ConfigDict(extra="forbid")

    filename: Annotated[str, Field(min_length=1, max_length=255, description="Its name, without folders.")]
    size: Annotated[int, Field(gt=0, description="Its size in bytes; the address takes no other.")]


class PresignedUpload(BaseModel):
    """PUT the bytes to ``url``, then POST ``{"uri": ...}`` here."""

    id: str
    uri: str
    method: Literal["PUT"] = "PUT"
    url: str
    expires_in: int


_FORM = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "options": {"type": "string", "description": "TranscriptionOptions as JSON."},
        "callback": {"type": "string", "description": "An address that is told when it is over, once."},
        "sha256": {"type": "string", "description": "What the file's SHA-256 must be."},
    },
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": _FORM},
            "application/json": {
                "schema": {"anyOf": [FromSource.model_json_schema(), DirectUpload.model_json_schema()]},
                "examples": {
                    "from the source": {"value": {"uri": "s3://calls/2026/a.wav", "options": {"language": "en"}}},
                    "all below": {"value": {"uri": "s3://calls/2026/", "options": {}}},
                    "direct upload": {"value": {"filename": "a.wav", "size": 480044}},
                },
            },
        },
    }
}


@router.post("", status_code=202, openapi_extra=_BODY, response_model=Accepted | PresignedUpload | QueueEntry)
async def send(
    request: Request, response: Response, house: House, caller: Writer, idempotency_key: IdempotencyKey = None
) -> Accepted | PresignedUpload | QueueEntry:
    """Send a recording, name one below the source, or ask for an address to send one to. It waits in the queue then.

    A form or the address of one recording: the recording's id, its address in Location. An address that ends with "/":
    the run that takes all below it, its address in Location.
    """
    if media_type(request.headers) == FORM:
        async with taken(request, house, caller, idempotency_key) as upload:
            options = house.options(_options(upload.form))
            accepted = await accept(house, upload, options, upload.form.one("callback"))
    else:
        asked = await _json(request)
        if isinstance(asked, DirectUpload):
            return _direct(house, asked, caller, idempotency_key)
        if asked.uri.endswith("/"):
            run = entry_of(await _all_below(house, asked, caller, idempotency_key))
            response.headers["Location"] = f"/v1/queue/{run.id}"
            return run
        accepted = await _named(house, asked)
    response.headers["Location"] = f"/v1/recordings/{accepted.id}"
    return accepted


async def _json(request: Request) -> FromSource | DirectUpload:
    kind = media_type(request.headers)
    if kind != "application/json":
        raise Problem(
            415, "UNSUPPORTED_MEDIA_TYPE", f"A recording is not sent as {kind or 'this'}.", "Send a form or JSON."
        )
    try:
        body = json.loads(await request.body())
    except ValueError:
        raise Problem(400, "BAD_REQUEST", "The body is not JSON.", "See /openapi.json.") from None
    model = DirectUpload if isinstance(body, dict) and "filename" in body else FromSource
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise invalid("The request is not what the schema asks for.", errors=told(error.errors())) from None


def _direct(house: Service, asked: DirectUpload, caller: Key, idempotency_key: str | None) -> PresignedUpload:
    small_enough(house, asked.size)
    key = house.new_key(asked.filename, token_of(caller.name, idempotency_key) if idempotency_key else None)
    lifetime = house.settings.link_lifetime
    url = house.source.presigned_put(key, asked.size, lifetime)
    return PresignedUpload(id=ids.encode(key), uri=house.source.uri_of(key), url=url, expires_in=lifetime)


async def _all_below(house: Service, asked: FromSource, caller: Key, idempotency_key: str | None) -> FlowRun:
    options, prefix = house.options(asked.options), house.prefix_of(asked.uri)
    await house.must_have(prefix)
    await house.may_call(asked.callback)
    run = await house.submit_all(prefix, options, token_of(caller.name, idempotency_key) if idempotency_key else None)
    await house.will_call(asked.callback, run=run.id)
    return run


async def _named(house: Service, asked: FromSource) -> Accepted:
    options = house.options(asked.options)
    info = await house.head(house.key_of(asked.uri))
    small_enough(house, info.size)
    await house.may_call(asked.callback)
    await house.will_call(asked.callback, key=info.key, work=house.fingerprint(info, options))
    await house.submit(info, options)
    state = await states.one(house, info.key)
    return Accepted(id=state.id, uri=house.source.uri_of(info.key), state=state.state, size=info.size)


def _options(form: Form) -> Any:
    try:
        return json.loads(form.one("options") or "{}")
    except ValueError:
        raise invalid("The field options is not JSON.") from None


@router.get("")
async def list_recordings(
    house: House,
    caller: Reader,  # noqa: ARG001
    state: Annotated[State | None, Query(description="Only those in this state.")] = None,
    q: Annotated[
        str | None, Query(min_length=1, max_length=200, description="Only those with this in their names or folders.")
    ] = None,
    cursor: Annotated[str | None, Query(max_length=2000, description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="Most recordings of a page.")] = 100,
) -> RecordingPage:
    """A page of the recordings below the source, newest upload first.

    A search looks at some thousand recordings at a time: a page may hold few or none, and `next_cursor` goes on.
    """
    return await states.page(house, cursor, limit, state=state, words=q)


@router.get("/{id}")
async def get_recording(id: str, house: House, caller: Reader) -> RecordingState:  # noqa: ARG001
    """How things stand with a recording; where it failed, why, and what to do."""
    return await states.one(house, ids.decode(id))


@router.post("/{id}/retry", status_code=202)
async def retry(id: str, house: House, caller: Writer) -> RecordingState:  # noqa: ARG001
    """Have a recording transcribed that failed, was cancelled or was never asked for, with the options it had."""
    await try_again(house, ids.decode(id))
    return await states.one(house, ids.decode(id))


@router.delete("/{id}", status_code=204)
async def delete(id: str, house: House, caller: Writer) -> None:  # noqa: ARG001
    """Remove a recording with its transcripts, receipts and work files. One that is being transcribed is not (409)."""
    await removal.remove(house, ids.decode(id))
