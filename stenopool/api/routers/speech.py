"""OpenAI's endpoint: transcribe a file in one request, with a response in one of OpenAI's formats."""

import asyncio
import time
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from stenopool.api import states, transcript_files
from stenopool.api.access import CanWrite, GuardedRoute, require_scope
from stenopool.api.headers import prefers
from stenopool.api.idempotency import IdempotencyKey
from stenopool.api.ids import decode, encode
from stenopool.api.lifecycle import Accepted, accept_upload, receive_upload
from stenopool.api.openai_formats import RESPONSE_FORMATS, ResponseFormat
from stenopool.api.problems import Problem, invalid
from stenopool.api.routers.recordings import RECORDING_FIELDS
from stenopool.api.service import CurrentService, Service
from stenopool.api.states import Submitted, for_caller
from stenopool.api.uploads import Form
from stenopool.options import SubtitleOptions, TranscriptionOptions
from stenopool.pipeline.catalog import fingerprint
from stenopool.speech.renderers import CONTENT_TYPES

router = APIRouter(prefix="/v1/audio", tags=["openai"], route_class=GuardedRoute)

# Names that mean this installation's default. OpenAI's other names are refused: what they promise is unknown.
OPENAI_MODELS = ("whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe", "gpt-4o-transcribe-diarize")
_PAUSES = (0.5, 5.0)  # the shortest and the longest between two checks of a recording, in seconds
_TEXT_TYPES = {"text": CONTENT_TYPES["txt"], "srt": CONTENT_TYPES["srt"], "vtt": CONTENT_TYPES["vtt"]}
_FORM: dict[str, Any] = {
    "type": "object",
    "required": ["file"],
    "additionalProperties": False,
    "properties": {
        "file": {"type": "string", "format": "binary", "description": "The recording, with its file name."},
        "model": {
            "type": "string",
            "description": "A name from GET /v1/models. OpenAI's names mean the default, as does no name.",
        },
        "language": {"type": "string", "description": "A code such as en; detected if it is missing."},
        "prompt": {"type": "string", "description": "Text that sets style and spelling."},
        "response_format": {
            "type": "string",
            "enum": list(RESPONSE_FORMATS),
            "default": "json",
            "description": "Format of the response; diarized_json identifies speakers.",
        },
        "temperature": {"type": "number", "enum": [0], "description": "Only 0."},
        "stream": {"type": "boolean", "enum": [False], "description": "Not supported."},
        **RECORDING_FIELDS,
        **SubtitleOptions.model_json_schema()["properties"],
        "timestamp_granularities[]": {
            "type": "array",
            "items": {"type": "string", "enum": ["word", "segment"]},
            "description": "Which items have times in verbose_json.",
        },
    },
}
_FIELDS = tuple(name for name in _FORM["properties"] if name != "file")
_BODY = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}}
_ANSWER: dict[str, Any] = {
    "type": "object",
    "description": "As in OpenAI's API reference: json has text and usage, other formats have more.",
    "required": ["text"],
    "properties": {
        "text": {"type": "string", "description": "The whole text."},
        "usage": {"type": "object", "description": "Seconds of audio."},
        "task": {"type": "string", "description": "Always transcribe."},
        "language": {"type": "string", "description": "The language's name, in verbose_json."},
        "duration": {"type": "number", "description": "Seconds of audio."},
        "segments": {"type": "array", "items": {"type": "object"}, "description": "Sentences, with times."},
        "words": {"type": "array", "items": {"type": "object"}, "description": "Words, with times."},
    },
}
_EXAMPLES = {"json": {"value": {"text": "Good morning.", "usage": {"type": "duration", "seconds": 1.2}}}}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "application/json": {"schema": _ANSWER, "examples": _EXAMPLES},
            **{kind.partition(";")[0]: {} for kind in _TEXT_TYPES.values()},
        }
    },
    202: {
        "description": "With `Prefer: respond-async`: the recording's id; Location has its address.",
        "model": Accepted | Submitted,
    },
    **{status: {} for status in (404, 409, 504)},
}


@router.post("/transcriptions", response_class=Response, openapi_extra=_BODY, responses=_ANSWERS)
async def create_transcription(
    request: Request,
    service: CurrentService,
    caller: CanWrite,
    idempotency_key: IdempotencyKey = None,
    prefer: Annotated[str | None, Header(description="respond-async: respond with 202 immediately.")] = None,
) -> Response:
    """Transcribe a file, and respond when that is done. The recording is kept; Location has its address."""
    is_async = prefers(prefer, "respond-async")
    if not is_async:  # the response is a transcript
        require_scope(caller, "read")
    async with receive_upload(request, service, caller, idempotency_key, _FIELDS) as upload:
        format, granularities, options = _parse(service, upload.form)
        subtitles = _subtitles(upload.form)
        accepted = await accept_upload(service, upload, options)
    location = {"Location": f"/v1/recordings/{accepted.id}"}
    if is_async:
        headers = {**location, "Preference-Applied": "respond-async"}
        return JSONResponse(for_caller(caller, accepted).model_dump(mode="json"), 202, headers)
    key = decode(accepted.id)
    await _wait_until_done(request, service, key, options)
    wanted = {"format": format, "granularities": sorted(set(granularities)), "subtitles": subtitles}
    content = await transcript_files.find_product(service, key, "openai", **wanted)
    body = await transcript_files.read(content)
    return Response(body, media_type=_TEXT_TYPES.get(format, "application/json"), headers=location)


def _parse(service: Service, form: Form) -> tuple[ResponseFormat, list[str], TranscriptionOptions]:
    """Translate OpenAI's fields. What is not supported is refused, not ignored."""
    format = form.value("response_format") or "json"
    if format not in RESPONSE_FORMATS:
        raise invalid(f"response_format must be one of {', '.join(RESPONSE_FORMATS)}.")
    if (form.value("stream") or "false").lower() != "false":
        raise invalid("stream is not supported.")
    if form.value("temperature") not in (None, "0", "0.0"):
        raise invalid("temperature must be 0.")
    granularities = form.fields.get("timestamp_granularities[]", [])
    if set(granularities) - {"word", "segment"}:
        raise invalid("timestamp_granularities[] must be word or segment.")
    if granularities and format != "verbose_json":
        raise invalid("timestamp_granularities[] requires response_format=verbose_json.")
    options: dict[str, Any] = {"diarization": "senko" if format == "diarized_json" else "off"}
    model = form.value("model")
    if model and model not in OPENAI_MODELS:
        options["model"] = model
    options |= {name: value for name in ("language", "prompt") if (value := form.value(name))}
    return format, granularities, service.options(options)


def _subtitles(form: Form) -> SubtitleOptions:
    """Parse Stenopool's additional fields: the style of srt and vtt."""
    given = {name: value for name in SubtitleOptions.model_fields if (value := form.value(name))}
    try:
        return SubtitleOptions.model_validate(given)
    except ValidationError as error:
        raise invalid("; ".join(f"{fault['loc'][0]}: {fault['msg']}" for fault in error.errors()) + ".") from error


async def _wait_until_done(request: Request, service: Service, key: str, options: TranscriptionOptions) -> None:
    """Wait for the transcript with these options. Raises the problem that prevents it."""
    work = fingerprint(await service.head(key), options)
    begin = time.monotonic()
    deadline = begin + service.settings.wait
    while True:
        state = await states.read_state(service, key, work)
        if state.state == "completed":
            return
        if state.state not in ("queued", "running"):
            if failure := state.failure:
                raise Problem(422, failure.code, failure.message, failure.remedy, _headers(key))
            message = f"The recording is {state.state}."
            raise Problem(422, "NOT_COMPLETED", message, "Send it again.", _headers(key))
        if time.monotonic() > deadline or await request.is_disconnected():
            raise Problem(
                504, "STILL_WORKING", "The transcript is not ready yet.", "GET the address in Location.", _headers(key)
            )
        await asyncio.sleep(min(pause_after(time.monotonic() - begin), max(0.0, deadline - time.monotonic())))


def pause_after(waited: float) -> float:
    """Return the seconds until the next check: a tenth of those waited, so a response is late by at most that much."""
    shortest, longest = _PAUSES
    return min(longest, max(shortest, waited / 10))


def _headers(key: str) -> dict[str, str]:
    # Otherwise OpenAI's clients would send the file again.
    return {"Location": f"/v1/recordings/{encode(key)}", "x-should-retry": "false"}
