"""Errors as `application/problem+json` (RFC 9457): status, code, what happened, what to do.

`ProblemDocument` is the body of each of them, and what the OpenAPI document says of them.
"""

from http import HTTPStatus
from typing import Any

import httpx
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from pydantic import ConfigDict
from starlette.exceptions import HTTPException

from stenopool.api.schema import Described
from stenopool.errors import ErrorCode, StenopoolError
from stenopool.runtime.logs import get_logger

log = get_logger("stenopool.api")

MEDIA_TYPE = "application/problem+json"
_ERRORS = "https://github.com/stenopool/stenopool/blob/main/docs/errors.md"
_RETRY = {"Retry-After": "5"}

API_CODES: dict[str, str] = {
    "ALREADY_UPLOADED": "The address was used: the recording is there, and can be submitted.",
    "BAD_REQUEST": "The request is malformed: its headers, or a body that is not what its Content-Type says.",
    "BODY_TOO_SLOW": "The body arrives too slowly.",
    "BUSY": "Too much of this is being done at once; Retry-After says when to try again.",
    "CALLBACK_REFUSED": "Callbacks may not be sent to this address.",
    "CALLBACKS_PENDING": "This key waits for as many callbacks as one key may.",
    "CHECKSUM_MISMATCH": "The file is not the one whose SHA-256 was given.",
    "HEADERS_TOO_LARGE": "The headers are too large, or too many.",
    "HEADERS_TOO_SLOW": "The headers arrive too slowly.",
    "FORBIDDEN": "The key lacks a scope, or without keys the request is not from this machine.",
    "IDEMPOTENCY_IN_PROGRESS": "The first request with this Idempotency-Key is being stored.",
    "IDEMPOTENCY_KEY_REUSED": "The Idempotency-Key was used for something else.",
    "METHOD_NOT_ALLOWED": "The address has no such method.",
    "NOT_ACCEPTABLE": "There is no transcript of the media type in Accept.",
    "NOT_COMPLETED": "The recording has no transcript yet, or will have none.",
    "NOT_FOUND": "There is no such address.",
    "PRECONDITION_FAILED": "It has been changed since its ETag was read; `If-Match` names another.",
    "PREFECT_UNAVAILABLE": "The Prefect server does not answer.",
    "RANGE_NOT_SATISFIABLE": "The file does not have the bytes in Range.",
    "RECORDING_BUSY": "The recording is being transcribed.",
    "RENDER_FAILED": "The transcript could not be rendered in this format.",
    "REQUEST_INVALID": "A parameter or the body does not match the schema; `errors` names the fields.",
    "STILL_WORKING": "The transcript takes longer than the request may; it is at the address in Location later.",
    "TOO_MANY_REQUESTS": "The key, or the address, has used its rate; Retry-After says when to go on.",
    "TOO_MANY_UPLOADS": "Too many uploads are being read; Retry-After says when to try again.",
    "UNAUTHENTICATED": "The key is missing or unknown.",
    "UNKNOWN_FIELD": "The form has a field that is not known here.",
    "UNSUPPORTED_MEDIA_TYPE": "The body is of a Content-Type that is not taken here.",
}
"""The codes of answers that are no `ErrorCode`, for docs/errors.md."""

_STATUS: dict[ErrorCode, int] = {
    ErrorCode.OBJECT_NOT_FOUND: 404,
    ErrorCode.SOURCE_CHANGED: 409,
    # Another try helps only when somebody has changed something about the object.
    ErrorCode.OBJECT_ARCHIVED: 409,
    ErrorCode.OBJECT_DENIED: 422,
    ErrorCode.OBJECT_ENCRYPTED: 422,
    ErrorCode.OBJECT_GONE: 404,
    ErrorCode.OBJECT_UNREADABLE: 422,
    ErrorCode.OUTPUT_DENIED: 500,
    ErrorCode.TOO_LARGE: 413,
    ErrorCode.NOT_AUDIO: 415,
    ErrorCode.KEY_UNUSABLE: 422,
    ErrorCode.LOCATION_INVALID: 422,
    ErrorCode.OPTIONS_INVALID: 422,
    ErrorCode.EMPTY_FILE: 422,
    # The service's own permissions, which neither the caller nor another try changes.
    ErrorCode.ACCESS_DENIED: 500,
    ErrorCode.DEPLOYMENT_MISSING: 503,
}


class FieldError(Described):
    """What is wrong with one field of a request."""

    field: str
    """Where it is: body, query, path or header, and the names of fields, with dots between."""
    message: str
    """What is wrong."""
    pointer: str | None = None
    """The same as a JSON Pointer (RFC 6901)."""


class ProblemDocument(Described):
    """An error (RFC 9457). Programs look at `code`, people read `detail` and `remedy`. There may be more members."""

    model_config = ConfigDict(title="Problem", extra="allow")

    type: str
    """Address of what is known about this code."""
    title: str
    """The status in words."""
    status: int
    """The HTTP status."""
    detail: str
    """What happened."""
    code: str
    """A stable name; docs/errors.md lists them."""
    remedy: str
    """What to do."""
    instance: str
    """Path of the request."""
    request_id: str | None
    """The request's id, as in X-Request-Id: for a report."""
    errors: list[FieldError] | None = None
    """The fields that are wrong; absent where none is."""


class Problem(HTTPException):
    """A refusal: ``status``, a stable ``code``, ``detail`` (what happened) and ``remedy`` (what to do).

    An `ErrorCode` brings its own remedy.
    """

    def __init__(
        self, status: int, code: str, detail: str, remedy: str = "", headers: dict[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(status, detail, headers)
        self.code = code
        self.remedy = remedy or getattr(code, "remedy", "")
        self.more = more


def not_found(detail: str) -> Problem:
    return Problem(404, "OBJECT_NOT_FOUND", detail, "Check the id; GET /v1/recordings lists the recordings.")


def invalid(detail: str, code: str = "REQUEST_INVALID", *, remedy: str = "", **more: Any) -> Problem:
    """The problem 422, whose remedy is the code's. ``more``: members of the document, e.g. ``errors`` by field."""
    remedy = remedy or getattr(code, "remedy", "Change what is named; see /openapi.json.")
    return Problem(422, code, detail, remedy, **more)


def type_of(code: str) -> str:
    """The address that says what a code means."""
    return f"{_ERRORS}#{code.lower()}"


def too_large(what: str, limit: int, headers: dict[str, str] | None = None) -> Problem:
    remedy = "Split or compress the file, or raise STENOPOOL_API__MAX_BYTES."
    return Problem(413, ErrorCode.TOO_LARGE, f"{what} exceeds {limit:,} bytes.", remedy, headers)


def answer(request: Request, problem: Problem) -> JSONResponse:
    """The document. Below /v1/audio it has OpenAI's member ``error`` too, where its clients look for the message."""
    path = request.scope["path"]  # request.url would parse the header Host, which may be anything
    document = ProblemDocument(
        type=type_of(problem.code),
        title=HTTPStatus(problem.status_code).phrase,
        status=problem.status_code,
        detail=problem.detail,
        code=problem.code,
        remedy=problem.remedy,
        instance=path,
        request_id=getattr(request.state, "request_id", None),
        **problem.more,
    ).model_dump(mode="json", exclude_unset=True)
    request.state.code = problem.code
    if path.startswith("/v1/audio/"):
        message = " ".join(filter(None, (problem.detail, problem.remedy)))
        kind = "invalid_request_error" if problem.status_code < 500 else "server_error"
        document["error"] = {"message": message, "type": kind, "param": None, "code": problem.code}
    headers = {**(problem.headers or {}), "X-Request-Id": str(document["request_id"])}
    return JSONResponse(document, problem.status_code, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Every error that a route can raise becomes a problem."""

    async def handle(request: Request, error: Exception) -> JSONResponse:
        return answer(request, _problem_of(error))

    errors = (HTTPException, RequestValidationError, StenopoolError, ObjectNotFound, httpx.HTTPError)
    for kind in (*errors, PrefectHTTPStatusError, Exception):
        app.add_exception_handler(kind, handle)


def status_of(code: ErrorCode) -> int:
    """The HTTP status of an error with this code."""
    return _STATUS.get(code, 503 if code.retryable else 422)


def _problem_of(error: Exception) -> Problem:
    match error:
        case Problem():
            return error
        case HTTPException():
            code, headers = HTTPStatus(error.status_code).name, dict(error.headers or {})
            return Problem(error.status_code, code, str(error.detail), "See /openapi.json.", headers)
        case RequestValidationError():
            return invalid("The request does not match the schema.", errors=field_errors(error.errors()))
        case StenopoolError():
            status = status_of(error.code)
            return Problem(status, error.code, error.message, error.remedy, _RETRY if error.code.retryable else None)
        case ObjectNotFound():
            message = "Stenopool's deployments were not found on the Prefect server."
            return Problem(503, ErrorCode.DEPLOYMENT_MISSING, message, "Run `stenopool deploy` for this server.")
        case httpx.HTTPError() | PrefectHTTPStatusError():
            log.warning("The Prefect server does not answer: %s", type(error).__name__)
            return Problem(503, "PREFECT_UNAVAILABLE", "The Prefect server does not answer.", "Try again.", _RETRY)
        case _:  # uvicorn logs it
            remedy = "This is a fault of Stenopool; report it with the request_id."
            return Problem(500, "INTERNAL", "An unexpected error occurred.", remedy)


def field_errors(errors: Any) -> list[dict[str, str]]:
    """pydantic's errors, without the input that they quote: it may be long, or a secret."""
    return [
        {
            "field": ".".join(map(str, error["loc"])),
            "pointer": "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in error["loc"]),
            "message": str(error["msg"]),
        }
        for error in errors
    ]
