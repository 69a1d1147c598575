"""Recordings: send, list, get, play, retry, delete."""

import mimetypes
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import AwareDatetime, ValidationError

from stenopool.api import ids, lifecycle, states
from stenopool.api.access import CAN_DELETE, CAN_READ, CanWrite, GuardedRoute, require_scope
from stenopool.api.contents import ANSWERS, ConditionalRequest, Content, respond
from stenopool.api.headers import FORM, mark_deprecated, media_type
from stenopool.api.idempotency import IdempotencyKey
from stenopool.api.ingest_runs import QueueEntry, entry_of
from stenopool.api.keys import Key
from stenopool.api.lifecycle import Accepted, FromSource, accept_upload, accept_uri, parse_field, receive_upload
from stenopool.api.problems import Problem, field_errors, invalid
from stenopool.api.routers.batches import NewBatch, start_batch
from stenopool.api.routers.uploads import DirectUpload, PresignedUpload, presign
from stenopool.api.service import CurrentService, Service
from stenopool.api.states import RecordingPage, RecordingState, StateName, Submitted, for_caller

router = APIRouter(prefix="/v1/recordings", tags=["recordings"], route_class=GuardedRoute)
# A browser must never treat a recording as a page, whatever its name.
_KINDS = ("audio/", "video/")
RECORDING_FIELDS = {
    "callback": {"type": "string", "description": "URL that receives an event when the recording has ended."},
    "sha256": {"type": "string", "description": "Expected SHA-256 of the file."},
    "external_id": {"type": "string", "maxLength": 200, "description": "The client's id for the recording."},
    "metadata": {"type": "string", "description": "The client's data, as a JSON object of strings."},
}
"""Fields of every form that sends a recording."""
_FORM: dict[str, Any] = {
    "type": "object",
    "required": ["file"],
    "additionalProperties": False,
    "properties": {
        "file": {"type": "string", "format": "binary", "description": "The recording, with its file name."},
        "options": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/TranscriptionOptions"},
            "description": "TranscriptionOptions as JSON.",
        },
        **RECORDING_FIELDS,
    },
}
_FIELDS = tuple(name for name in _FORM["properties"] if name != "file")
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": _FORM},
            "application/json": {
                "schema": {
                    "anyOf": [
                        {"$ref": "#/components/schemas/FromSource"},
                        {"$ref": "#/components/schemas/DirectUpload", "deprecated": True},
                    ]
                },
                "examples": {
                    "from the source": {"value": {"uri": "s3://calls/2026/a.wav", "options": {"language": "en"}}},
                    "all below (deprecated: POST /v1/batches)": {"value": {"uri": "s3://calls/2026/", "options": {}}},
                    "direct upload (deprecated: POST /v1/uploads)": {"value": {"filename": "a.wav", "size": 480044}},
                },
            },
        },
    }
}


@router.post(
    "",
    status_code=202,
    openapi_extra=_BODY,
    response_model=Accepted | PresignedUpload | QueueEntry | Submitted,
    responses={404: {}, 409: {}},
)
async def send_recording(
    request: Request,
    response: Response,
    service: CurrentService,
    caller: CanWrite,
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """Send a recording, or submit one that is below the source. It is queued; Location has its address.

    For a key without the scope read, the response has only the id and the state. Deprecated: an address that ends with
    "/" (use POST /v1/batches), and `filename` with `size` (use POST /v1/uploads).
    """
    if media_type(request.headers) == FORM:
        async with receive_upload(request, service, caller, idempotency_key, _FIELDS) as upload:
            accepted = await accept_upload(service, upload, service.options(parse_field(upload.form, "options")))
    else:
        asked = await _json(request)
        if isinstance(asked, DirectUpload):
            mark_deprecated(response, "/v1/uploads")
            return await presign(service, asked, caller, idempotency_key)
        if asked.uri.endswith("/"):
            mark_deprecated(response, "/v1/batches")
            require_scope(caller, "batch")
            return for_caller(caller, await _send_folder(service, asked, caller, idempotency_key, response))
        accepted = await accept_uri(service, asked, caller, idempotency_key)
    response.headers["Location"] = f"/v1/recordings/{accepted.id}"
    return for_caller(caller, accepted)


async def _json(request: Request) -> FromSource | DirectUpload:
    kind = media_type(request.headers)
    if kind != "application/json":
        raise Problem(
            415, "UNSUPPORTED_MEDIA_TYPE", f"Unsupported Content-Type: {kind or 'none'}.", "Send a form or JSON."
        )
    body = await request.json()
    model = DirectUpload if isinstance(body, dict) and "filename" in body else FromSource
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise invalid("The request does not match the schema.", errors=field_errors(error.errors())) from None


async def _send_folder(
    service: Service, asked: FromSource, caller: Key, idempotency_key: str | None, response: Response
) -> QueueEntry:
    if asked.sha256:
        raise invalid("A folder has no SHA-256.", errors=[{"field": "sha256", "message": "Not allowed for a folder"}])
    given = asked.model_dump(include={"options", "callback", "external_id", "metadata"})
    batch = NewBatch(prefix=service.prefix_of(asked.uri), **given)
    run = entry_of(await start_batch(service, batch, caller, idempotency_key))
    response.headers["Location"] = f"/v1/queue/{run.id}"
    return run


@router.get("", dependencies=[CAN_READ])
async def list_recordings(
    service: CurrentService,
    state: Annotated[StateName | None, Query(description="Only recordings in this state.")] = None,
    q: Annotated[
        str | None,
        Query(min_length=1, max_length=200, description="Only recordings with this text in the name or folder."),
    ] = None,
    modified_since: Annotated[
        AwareDatetime | None, Query(description="Only recordings written at or after this time, with a time zone.")
    ] = None,
    modified_before: Annotated[
        AwareDatetime | None, Query(description="Only recordings written before this time, with a time zone.")
    ] = None,
    cursor: Annotated[str | None, Query(max_length=2000, description="`next_cursor` of the previous page.")] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="Maximum number of recordings per page.")] = 100,
) -> RecordingPage:
    """List the recordings below the source, newest upload first.

    With a filter, each request reads about a thousand recordings, so a page may be short or empty; `next_cursor`
    continues. Failures, external_id and metadata are returned only for single recordings.
    """
    wanted = states.RecordingFilter(state, q, modified_since, modified_before)
    return await states.read_page(service, cursor, limit, wanted)


@router.get("/{id}", dependencies=[CAN_READ])
async def get_recording(id: str, service: CurrentService) -> RecordingState:
    """Return the state of a recording; if it failed, also the reason and what to do."""
    return await states.read_state(service, ids.decode(id))


@router.get(
    "/{id}/audio",
    response_class=Response,
    responses={200: {"content": {"audio/*": {}, "video/*": {}, "application/octet-stream": {}}}, **ANSWERS},
    dependencies=[CAN_READ],
)
async def get_audio(request: ConditionalRequest, id: str, service: CurrentService) -> Response:
    """Return the recording as it was sent."""
    info = await service.head(ids.decode(id))
    kind = mimetypes.guess_type(info.key)[0] or ""
    headers = {
        "Content-Type": kind if kind.startswith(_KINDS) else "application/octet-stream",
        "Content-Disposition": "inline",
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }
    return await respond(request, Content.of_object(service.source, info), headers)


@router.post(
    "/{id}/retry",
    status_code=202,
    response_model=RecordingState | Submitted,
    responses={
        200: {
            "model": RecordingState | Submitted,
            "description": "The recording already has a transcript with these options.",
        }
    },
)
async def retry_recording(id: str, service: CurrentService, caller: CanWrite, response: Response) -> Any:
    """Transcribe a recording that failed, was cancelled or was never submitted, with its last options.

    A recording that is in the queue stays unchanged.
    """
    if await lifecycle.retry(service, ids.decode(id)) is None:
        response.status_code = 200
    response.headers["Location"] = f"/v1/recordings/{id}"
    return for_caller(caller, await states.read_state(service, ids.decode(id)))


@router.delete("/{id}", status_code=204, responses={409: {}}, dependencies=[CAN_DELETE])
async def delete_recording(id: str, service: CurrentService) -> None:
    """Delete a recording with its transcripts, receipts and checkpoints; 409 while it is being transcribed."""
    await lifecycle.remove(service, ids.decode(id))
