"""Errors as `application/problem+json` (RFC 9457): status, code, what happened, what to do.

`ProblemDocument` is the body of each response, and its schema in the OpenAPI document.
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
_OPENAI = ("/v1/audio/", "/v1/models")  # the addresses that OpenAI's clients use
_RETRY = {"Retry-After": "5"}

API_CODES: dict[str, str] = {
    "ALREADY_UPLOADED": "The upload URL was used already; submit the recording.",
    "BAD_REQUEST": "The request is malformed: invalid headers, or a body that does not match its Content-Type.",
    "BODY_TOO_SLOW": "The body arrives too slowly.",
    "BUSY": "Too many of these requests are in progress; Retry-After says when to try again.",
    "CALLBACK_REFUSED": "Callbacks to this address are not allowed.",
    "CALLBACKS_PENDING": "The key has the maximum number of pending callbacks.",
    "CHECKSUM_MISMATCH": "The file does not match the SHA-256 of the request.",
    "HEADERS_TOO_LARGE": "The headers are too large, or too numerous.",
    "HEADERS_TOO_SLOW": "The headers arrive too slowly.",
    "FORBIDDEN": "The key lacks a scope; or, without keys, the request is not from this machine.",
    "IDEMPOTENCY_IN_PROGRESS": "The first request with this Idempotency-Key is still being stored.",
    "IDEMPOTENCY_KEY_REUSED": "The Idempotency-Key was used for a different request.",
    "METHOD_NOT_ALLOWED": "The address does not support this method.",
    "MODEL_NOT_FOUND": "No model has this name; GET /v1/models lists the models.",
    "NOT_ACCEPTABLE": "No transcript format matches the Accept header.",
    "NOT_COMPLETED": "The recording has no transcript: it is not finished, has failed, or was never submitted.",
    "NOT_FOUND": "The address does not exist.",
    "PRECONDITION_FAILED": "The content has changed since its ETag was read: `If-Match` does not match.",
    "PREFECT_UNAVAILABLE": "The Prefect server does not respond.",
    "RANGE_NOT_SATISFIABLE": "The requested range is outside the file.",
    "RECORDING_BUSY": "The recording is being transcribed.",
    "RENDER_FAILED": "The transcript could not be rendered in this format.",
    "REQUEST_INVALID": "A parameter or the body does not match the schema; `errors` lists the fields.",
    "STILL_WORKING": "The transcript is not ready within the time limit; GET the address in Location later.",
    "TOO_MANY_REQUESTS": "The rate limit of the key or the address is exceeded; Retry-After says when to try again.",
    "TOO_MANY_UPLOADS": "Too many uploads are in progress; Retry-After says when to try again.",
    "UNAUTHENTICATED": "The key is missing or unknown.",
    "UNKNOWN_FIELD": "The form has an unknown field.",
    "UNSUPPORTED_MEDIA_TYPE": "The Content-Type is not supported.",
}
"""The codes of responses that are not an `ErrorCode`, for docs/errors.md."""

_STATUS: dict[ErrorCode, int] = {
    ErrorCode.OBJECT_NOT_FOUND: 404,
    ErrorCode.SOURCE_CHANGED: 409,
    # Retrying helps only after somebody has changed the object.
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
    # The service's own permissions: neither the caller nor a retry can change them.
    ErrorCode.ACCESS_DENIED: 500,
    ErrorCode.DEPLOYMENT_MISSING: 503,
}


class FieldError(Described):
    """An invalid field of a request."""

    field: str
    """Where it is: body, query, path or header, followed by field names, separated by dots."""
    message: str
    """What is wrong."""
    pointer: str | None = None
    """The same location as a JSON Pointer (RFC 6901)."""


class ProblemDocument(Described):
    """An error (RFC 9457). `code` is for programs; `detail` and `remedy` are for people. There may be more members."""

    model_config = ConfigDict(title="Problem", extra="allow")

    type: str
    """URL of the documentation of the code."""
    title: str
    """The status in words."""
    status: int
    """The HTTP status."""
    detail: str
    """What happened."""
    code: str
    """A stable code; docs/errors.md lists them all."""
    remedy: str
    """What to do."""
    instance: str
    """Path of the request."""
    request_id: str | None
    """The request's id, as in X-Request-Id; include it in reports."""
    errors: list[FieldError] | None = None
    """The invalid fields; absent if there are none."""


class Problem(HTTPException):
    """An error response: ``status``, a stable ``code``, ``detail`` (what happened) and ``remedy`` (what to do).

    An `ErrorCode` has its own remedy.
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
    """Return the problem 422, by default with the code's remedy. ``more``: other members, such as ``errors``."""
    remedy = remedy or getattr(code, "remedy", "Correct the request; see /openapi.json.")
    return Problem(422, code, detail, remedy, **more)


def type_of(code: str) -> str:
    """Return the URL of the documentation of a code."""
    return f"{_ERRORS}#{code.lower()}"


def too_large(what: str, limit: int, headers: dict[str, str] | None = None) -> Problem:
    remedy = "Split or compress the file, or raise STENOPOOL_API__MAX_BYTES."
    return Problem(413, ErrorCode.TOO_LARGE, f"{what} exceeds {limit:,} bytes.", remedy, headers)


def answer(request: Request, problem: Problem) -> JSONResponse:
    """Return the response with the problem's document."""
    document = describe(request, problem)
    headers = {**(problem.headers or {}), "X-Request-Id": str(document["request_id"])}
    return JSONResponse(document, problem.status_code, headers, MEDIA_TYPE)


def describe(request: Request, problem: Problem) -> dict[str, Any]:
    """Return the document. At OpenAI's addresses it also has the member ``error``, which OpenAI's clients read."""
    path = request.scope["path"]  # request.url would parse the Host header, which may be invalid
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
    if path.startswith(_OPENAI):
        message = " ".join(filter(None, (problem.detail, problem.remedy)))
        kind = "invalid_request_error" if problem.status_code < 500 else "server_error"
        param = next((error["field"] for error in problem.more.get("errors", ())), None)
        document["error"] = {"message": message, "type": kind, "param": param, "code": problem.code}
    return document


def install(app: FastAPI) -> None:
    """Turn every error that a route can raise into a problem."""

    async def handle(request: Request, error: Exception) -> JSONResponse:
        return answer(request, problem_of(error))

    errors = (HTTPException, RequestValidationError, StenopoolError, ObjectNotFound, httpx.HTTPError)
    for kind in (*errors, PrefectHTTPStatusError, Exception):
        app.add_exception_handler(kind, handle)


def status_of(code: ErrorCode) -> int:
    """Return the HTTP status of an error with this code."""
    return _STATUS.get(code, 503 if code.retryable else 422)


def problem_of(error: Exception) -> Problem:
    """Return the problem that describes an error to the caller."""
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
            log.warning("The Prefect server does not respond: %s", type(error).__name__)
            return Problem(503, "PREFECT_UNAVAILABLE", "The Prefect server does not respond.", "Try again.", _RETRY)
        case _:  # uvicorn logs it
            remedy = "This is a bug in Stenopool; report it with the request_id."
            return Problem(500, "INTERNAL", "An unexpected error occurred.", remedy)


def field_errors(errors: Any) -> list[dict[str, str]]:
    """Return pydantic's errors without the input that they quote: it may be long, or a secret."""
    return [
        {
            "field": ".".join(map(str, error["loc"])),
            "pointer": "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in error["loc"]),
            "message": str(error["msg"]),
        }
        for error in errors
    ]
