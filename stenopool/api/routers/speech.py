"""OpenAI's endpoints: transcribe or translate a file in one request, with a response in one of OpenAI's formats."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError

from stenopool.api import kept_alive, states, transcript_files
from stenopool.api.access import CanWrite, GuardedRoute, require_scope
from stenopool.api.headers import prefers
from stenopool.api.idempotency import IdempotencyKey
from stenopool.api.ids import decode, encode
from stenopool.api.keys import Key
from stenopool.api.lifecycle import Accepted, accept_upload, find_same_upload, receive_upload, remember_upload
from stenopool.api.openai_form import FIELDS, FORM, SpeechRequest, Task, check_model, parse_form
from stenopool.api.openai_formats import format_deltas
from stenopool.api.problems import Problem
from stenopool.api.service import CurrentService, Service
from stenopool.api.states import Submitted, for_caller
from stenopool.errors import ObjectNotFound
from stenopool.options import TranscriptionOptions
from stenopool.pipeline.catalog import fingerprint
from stenopool.pipeline.checkpoints import PARTIAL, RECOGNIZED, STREAMED, Checkpoint
from stenopool.pipeline.receipts import work_key
from stenopool.speech.renderers import CONTENT_TYPES
from stenopool.speech.transcript import Transcript
from stenopool.storage import ObjectStore

M = TypeVar("M", bound=BaseModel)

router = APIRouter(prefix="/v1/audio", tags=["openai"], route_class=GuardedRoute)

_PAUSES = (0.5, 5.0)  # the shortest and the longest between two checks of a recording, in seconds
_LARGEST_CHECKPOINT = 8 * 1024 * 1024  # bytes that are parsed for early events, in a thread
_TEXT_TYPES = {"text": CONTENT_TYPES["txt"], "srt": CONTENT_TYPES["srt"], "vtt": CONTENT_TYPES["vtt"]}
_BODY = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": FORM}}}}
_ANSWER: dict[str, Any] = {
    "type": "object",
    "description": "As in OpenAI's API reference: json has text and usage, other formats have more.",
    "required": ["text"],
    "properties": {
        "text": {"type": "string", "description": "The whole text."},
        "usage": {"type": "object", "description": "Seconds of audio."},
        "task": {"type": "string", "description": "transcribe or translate."},
        "language": {"type": "string", "description": "The language's name, in verbose_json."},
        "duration": {"type": "number", "description": "Seconds of audio."},
        "segments": {"type": "array", "items": {"type": "object"}, "description": "Sentences, with times."},
        "words": {"type": "array", "items": {"type": "object"}, "description": "Words, with times."},
        "logprobs": {"type": "array", "items": {"type": "object"}, "description": "Words, with log probabilities."},
    },
}
_EXAMPLES = {"json": {"value": {"text": "Good morning.", "usage": {"type": "duration", "seconds": 1.2}}}}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "application/json": {"schema": _ANSWER, "examples": _EXAMPLES},
            **{kind.partition(";")[0]: {} for kind in (*_TEXT_TYPES.values(), kept_alive.EVENTS)},
        }
    },
    202: {
        "description": "With `Prefer: respond-async`: the recording's id; Location has its address.",
        "model": Accepted | Submitted,
    },
    **{status: {} for status in (404, 409, 504)},
}
_Prefer = Annotated[str | None, Header(description="respond-async: respond with 202 immediately.")]
_CacheControl = Annotated[
    str | None, Header(description="no-cache: transcribe the file again, even if the key has sent it before.")
]


@router.post("/transcriptions", response_class=Response, openapi_extra=_BODY, responses=_ANSWERS)
async def create_transcription(
    request: Request,
    service: CurrentService,
    caller: CanWrite,
    idempotency_key: IdempotencyKey = None,
    prefer: _Prefer = None,
    cache_control: _CacheControl = None,
) -> Response:
    """Transcribe a file, and respond when that is done. The recording is kept; Location has its address.

    If the key sends the same file with the same options again within 7 days, it gets the same transcript.
    """
    is_new = prefers(cache_control, "no-cache")
    return await _create(request, service, caller, "transcribe", idempotency_key, prefer, is_new=is_new)


@router.post("/translations", response_class=Response, openapi_extra=_BODY, responses=_ANSWERS)
async def create_translation(
    request: Request,
    service: CurrentService,
    caller: CanWrite,
    idempotency_key: IdempotencyKey = None,
    prefer: _Prefer = None,
    cache_control: _CacheControl = None,
) -> Response:
    """Translate a file into English, as POST /v1/audio/transcriptions transcribes one."""
    is_new = prefers(cache_control, "no-cache")
    return await _create(request, service, caller, "translate", idempotency_key, prefer, is_new=is_new)


async def _create(
    request: Request,
    service: Service,
    caller: Key,
    task: Task,
    idempotency_key: str | None,
    prefer: str | None,
    *,
    is_new: bool,
) -> Response:
    is_async = prefers(prefer, "respond-async")
    if not is_async:  # the response is a transcript
        require_scope(caller, "read")

    def check(form: Any) -> None:
        check_model(service, form)

    async with receive_upload(request, service, caller, idempotency_key, FIELDS, check) as upload:
        asked = parse_form(service, upload.form, task)
        same = None if is_new else await find_same_upload(service, upload, asked.options)
        accepted = same or await accept_upload(service, upload, asked.options)
    if same is None:
        await remember_upload(service, accepted, asked.options)
    location = {"Location": f"/v1/recordings/{accepted.id}"}
    if is_async:
        headers = {**location, "Preference-Applied": "respond-async"}
        return JSONResponse(for_caller(caller, accepted).model_dump(mode="json"), 202, headers)
    key = decode(accepted.id)
    pause = service.settings.keep_alive
    if asked.is_streamed:
        parts = _stream(request, service, key, asked)
        return await kept_alive.respond(request, parts, kept_alive.EVENTS, location, pause)
    parts = _answer(request, service, key, asked)
    if kind := _TEXT_TYPES.get(asked.format):
        async with aclosing(parts):
            return Response(await anext(parts), media_type=kind, headers=location)
    return await kept_alive.respond(request, parts, kept_alive.JSON, location, pause)


async def _answer(request: Request, service: Service, key: str, asked: SpeechRequest) -> AsyncGenerator[bytes, None]:
    """Yield the whole response, once the transcript is done."""
    await _wait_until_done(request, service, key, asked.options)
    content = await transcript_files.find_product(
        service,
        key,
        "openai",
        format=asked.format,
        granularities=asked.granularities,
        subtitles=asked.subtitles,
        logprobs=asked.logprobs,
    )
    yield await transcript_files.read(content)


async def _stream(request: Request, service: Service, key: str, asked: SpeechRequest) -> AsyncGenerator[bytes, None]:
    """Yield OpenAI's events: the segments as soon as their text is known, then the end."""
    work, sent = fingerprint(await service.head(key), asked.options), 0
    done = asyncio.create_task(_wait_until_done(request, service, key, asked.options))
    try:
        if asked.format == "json":  # with speakers, segments are known at the end only
            async with aclosing(_read_early(service, work, done)) as growing:
                async for transcript in growing:
                    yield "".join(format_deltas(transcript, after=sent, logprobs=asked.logprobs)).encode()
                    sent = len(transcript.segments)
        await done
    finally:
        done.cancel()
    wanted = {"format": asked.format, "logprobs": asked.logprobs}
    yield await transcript_files.read(await transcript_files.find_product(service, key, "deltas", after=sent, **wanted))
    yield await transcript_files.read(await transcript_files.find_product(service, key, "done", **wanted))


async def _read_early(service: Service, work: str, done: asyncio.Task[None]) -> AsyncGenerator[Transcript, None]:
    """Yield the transcript as it grows: its beginning, then all of it, before the work is done."""

    def read() -> tuple[Transcript | None, bool]:
        if recognized := _read_checkpoint(service.destination, work, RECOGNIZED):
            return recognized.channels[0], True
        partial = _read_checkpoint(service.destination, work, PARTIAL)
        return partial.transcript if partial else None, False

    # A repeated request is answered without a worker.
    if (await asyncio.wait({done}, timeout=_PAUSES[0] / 2))[0]:
        return
    marker = work_key(work, STREAMED)
    await asyncio.to_thread(service.destination.put_bytes, marker, b"")
    grown, count = time.monotonic(), 0
    try:
        while not done.done():
            transcript, is_whole = await asyncio.to_thread(read)
            if transcript and len(transcript.segments) > count:
                grown, count = time.monotonic(), len(transcript.segments)
                yield transcript
            if is_whole:
                return
            await asyncio.wait({done}, timeout=pause_after(time.monotonic() - grown))
    finally:
        await asyncio.to_thread(service.destination.delete, marker)


def _read_checkpoint(store: ObjectStore, work: str, checkpoint: Checkpoint[M]) -> M | None:
    """Return a checkpoint, if it exists and is not too long to parse here."""
    name = work_key(work, checkpoint.file_name)
    with suppress(ObjectNotFound, ValidationError):
        if store.head(name).size <= _LARGEST_CHECKPOINT:
            return checkpoint.model.model_validate_json(store.get_bytes(name))
    return None


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
