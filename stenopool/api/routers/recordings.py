"""Recordings: send, list, get, play, retry, remove."""

import mimetypes
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from prefect.client.schemas.objects import FlowRun
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stenopool.api import ids, lifecycle, states
from stenopool.api.access import CAN_DELETE, CAN_READ, CanWrite, GuardedRoute, require_scope
from stenopool.api.contents import ANSWERS, ConditionalRequest, Content, respond
from stenopool.api.guard import parse_json
from stenopool.api.headers import FORM, media_type
from stenopool.api.ingest_runs import QueueEntry, entry_of
from stenopool.api.keys import Key
from stenopool.api.lifecycle import Accepted, accept_upload, check_size, receive_upload
from stenopool.api.problems import Problem, field_errors, invalid
from stenopool.api.service import CurrentService, Service, token_of
from stenopool.api.states import RecordingPage, RecordingState, StateName, Submitted, for_caller
from stenopool.api.uploads import Form
from stenopool.pipeline.catalog import fingerprint

router = APIRouter(prefix="/v1/recordings", tags=["recordings"], route_class=GuardedRoute)
# A browser must never treat a recording as a page, whatever its name.
_KINDS = ("audio/", "video/")
IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=255, description="Requests with the same key create one recording."),
]


class FromSource(BaseModel):
    """A recording that is already below the source, or was sent to a presigned address.

    An address that ends with "/" means everything below it.
    """

    model_config = ConfigDict(extra="forbid")

    uri: Annotated[
        str, Field(min_length=1, max_length=4096, description="The recording's address, below the API's source.")
    ]
    options: dict[str, Any] = Field(default_factory=dict, description="Fields of TranscriptionOptions.")
    callback: Annotated[
        str | None, Field(max_length=2000, description="Where to send an event when it has ended.", repr=False)
    ] = None


class DirectUpload(BaseModel):
    """A recording that will be sent directly to the store."""

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
        "callback": {"type": "string", "description": "Where to send an event when it has ended."},
        "sha256": {"type": "string", "description": "The file's expected SHA-256."},
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


@router.post(
    "", status_code=202, openapi_extra=_BODY, response_model=Accepted | PresignedUpload | QueueEntry | Submitted
)
async def send(
    request: Request,
    response: Response,
    service: CurrentService,
    caller: CanWrite,
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """Send a recording, name one below the source, or request an address to send one to; it is queued.

    For a form or the address of one recording, the answer is the recording. For an address that ends with "/", it is
    the run over everything below, which needs the scope batch. Location has the address of either. For a key without
    the scope read, the answer has the id and the state only.
    """
    if media_type(request.headers) == FORM:
        async with receive_upload(request, service, caller, idempotency_key) as form:
            options = service.options(_options(form))
            accepted = await accept_upload(service, form, options, form.value("callback"))
    else:
        asked = await _json(request)
        if isinstance(asked, DirectUpload):
            return _presign(service, asked, caller, idempotency_key)
        if asked.uri.endswith("/"):
            require_scope(caller, "batch")
            run = entry_of(await _submit_all(service, asked, caller, idempotency_key))
            response.headers["Location"] = f"/v1/queue/{run.id}"
            return for_caller(caller, run)
        accepted = await _submit_one(service, asked)
    response.headers["Location"] = f"/v1/recordings/{accepted.id}"
    return for_caller(caller, accepted)


async def _json(request: Request) -> FromSource | DirectUpload:
    kind = media_type(request.headers)
    if kind != "application/json":
        raise Problem(
            415, "UNSUPPORTED_MEDIA_TYPE", f"A recording cannot be sent as {kind or 'this'}.", "Send a form or JSON."
        )
    body = await request.json()
    model = DirectUpload if isinstance(body, dict) and "filename" in body else FromSource
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise invalid("The request does not match the schema.", errors=field_errors(error.errors())) from None


def _presign(service: Service, asked: DirectUpload, caller: Key, idempotency_key: str | None) -> PresignedUpload:
    check_size(service, asked.size)
    key = service.new_key(asked.filename, token_of(caller, idempotency_key))
    lifetime = service.settings.link_lifetime
    url = service.source.presigned_put(key, asked.size, lifetime)
    return PresignedUpload(id=ids.encode(key), uri=service.source.uri_of(key), url=url, expires_in=lifetime)


async def _submit_all(service: Service, asked: FromSource, caller: Key, idempotency_key: str | None) -> FlowRun:
    options, prefix = service.options(asked.options), service.prefix_of(asked.uri)
    await service.require_recordings(prefix)
    await service.check_callback(asked.callback)
    run = await service.submit_all(prefix, options, token_of(caller, idempotency_key))
    await service.add_callback(asked.callback, run=run.id)
    return run


async def _submit_one(service: Service, asked: FromSource) -> Accepted:
    options = service.options(asked.options)
    info = await service.head(service.key_of(asked.uri))
    check_size(service, info.size)
    await service.check_callback(asked.callback)
    await service.add_callback(asked.callback, key=info.key, work=fingerprint(info, options))
    await service.submit(info, options)
    state = await states.read_state(service, info.key)
    return Accepted(id=state.id, uri=service.source.uri_of(info.key), state=state.state, size=info.size)


def _options(form: Form) -> Any:
    try:
        return parse_json(form.value("options") or "{}")
    except ValueError:
        raise invalid("The field options is not JSON.") from None


@router.get("", dependencies=[CAN_READ])
async def list_recordings(
    service: CurrentService,
    state: Annotated[StateName | None, Query(description="Only those in this state.")] = None,
    q: Annotated[
        str | None,
        Query(min_length=1, max_length=200, description="Only those with this text in their names or folders."),
    ] = None,
    cursor: Annotated[str | None, Query(max_length=2000, description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="Maximum number of recordings per page.")] = 100,
) -> RecordingPage:
    """A page of the recordings below the source, newest upload first.

    A search reads about a thousand recordings at a time, so a page may be short or empty; `next_cursor` continues.
    """
    return await states.read_page(service, cursor, limit, state=state, words=q)


@router.get("/{id}", dependencies=[CAN_READ])
async def get_recording(id: str, service: CurrentService) -> RecordingState:
    """A recording's state; if it failed, why, and what to do."""
    return await states.read_state(service, ids.decode(id))


@router.get(
    "/{id}/audio",
    response_class=Response,
    responses={200: {"content": {"audio/*": {}, "video/*": {}}}, **ANSWERS},
    dependencies=[CAN_READ],
)
async def audio(request: ConditionalRequest, id: str, service: CurrentService) -> Response:
    """The recording as it was sent."""
    info = await service.head(ids.decode(id))
    kind = mimetypes.guess_type(info.key)[0] or ""
    headers = {
        "Content-Type": kind if kind.startswith(_KINDS) else "application/octet-stream",
        "Content-Disposition": "inline",
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }
    return await respond(request, Content.of_object(service.source, info), headers)


@router.post("/{id}/retry", status_code=202, response_model=RecordingState | Submitted)
async def retry(id: str, service: CurrentService, caller: CanWrite) -> Any:
    """Transcribe a recording that failed, was cancelled or was never submitted, with its last options."""
    await lifecycle.retry(service, ids.decode(id))
    return for_caller(caller, await states.read_state(service, ids.decode(id)))


@router.delete("/{id}", status_code=204, dependencies=[CAN_DELETE])
async def delete(id: str, service: CurrentService) -> None:
    """Remove a recording with its transcripts, receipts and checkpoints; 409 while it is being transcribed."""
    await lifecycle.remove(service, ids.decode(id))
