"""Errors as `application/problem+json` (RFC 9457): status, code, what happened, what to do."""

from http import HTTPStatus
from typing import Any

import httpx
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from starlette.exceptions import HTTPException

from stenopool.errors import ErrorCode, StenopoolError
from stenopool.runtime.logs import get_logger

log = get_logger("stenopool.api")

_RETRY = {"Retry-After": "5"}

_STATUS: dict[ErrorCode, int] = {
    ErrorCode.OBJECT_NOT_FOUND: 404,
    ErrorCode.SOURCE_CHANGED: 409,
    ErrorCode.TOO_LARGE: 413,
    ErrorCode.NOT_AUDIO: 415,
    ErrorCode.KEY_UNUSABLE: 422,
    ErrorCode.LOCATION_INVALID: 422,
    ErrorCode.OPTIONS_INVALID: 422,
    ErrorCode.EMPTY_FILE: 422,
    # The service's own permissions and deployments, which the caller cannot change.
    ErrorCode.ACCESS_DENIED: 503,
    ErrorCode.DEPLOYMENT_MISSING: 503,
}


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


def invalid(detail: str, *, remedy: str = "", **more: Any) -> Problem:
    return Problem(422, ErrorCode.OPTIONS_INVALID, detail, remedy, **more)


def too_large(what: str, limit: int, headers: dict[str, str] | None = None) -> Problem:
    remedy = "Split or compress the file, or raise STENOPOOL_API__MAX_BYTES."
    return Problem(413, ErrorCode.TOO_LARGE, f"{what} exceeds {limit:,} bytes.", remedy, headers)


def answer(request: Request, problem: Problem) -> JSONResponse:
    """The document. Below /v1/audio it has OpenAI's member ``error`` too, where its clients look for the message."""
    path = request.scope["path"]  # request.url would parse the header Host, which may be anything
    document = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status_code).phrase,
        "status": problem.status_code,
        "detail": problem.detail,
        "code": problem.code,
        "remedy": problem.remedy,
        "instance": path,
        "request_id": getattr(request.state, "request_id", None),
        **problem.more,
    }
    request.state.code = problem.code
    if path.startswith("/v1/audio/"):
        message = " ".join(filter(None, (problem.detail, problem.remedy)))
        kind = "invalid_request_error" if problem.status_code < 500 else "server_error"
        document["error"] = {"message": message, "type": kind, "param": None, "code": problem.code}
    headers = {**(problem.headers or {}), "X-Request-Id": str(document["request_id"])}
    return JSONResponse(document, problem.status_code, headers, "application/problem+json")


def install(app: FastAPI) -> None:
    """Every error that a route can raise becomes a problem."""

    async def handle(request: Request, error: Exception) -> JSONResponse:
        return answer(request, _problem_of(error))

    errors = (HTTPException, RequestValidationError, StenopoolError, ObjectNotFound, httpx.HTTPError)
    for kind in (*errors, PrefectHTTPStatusError, Exception):
        app.add_exception_handler(kind, handle)


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
            status = _STATUS.get(error.code, 503 if error.code.retryable else 422)
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
    return [{"field": ".".join(map(str, error["loc"])), "message": str(error["msg"])} for error in errors]
