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


def invalid(detail: str, **more: Any) -> Problem:
    return Problem(422, ErrorCode.OPTIONS_INVALID, detail, **more)


def too_large(what: str, limit: int, headers: dict[str, str] | None = None) -> Problem:
    remedy = "Split or compress the file, or raise STENOPOOL_API__MAX_BYTES."
    return Problem(413, ErrorCode.TOO_LARGE, f"{what} exceeds {limit:,} bytes.", remedy, headers)


def from_error(error: StenopoolError) -> Problem:
    """One of Stenopool's errors as a refusal."""
    status = 503 if error.retryable else 422
    headers = {"Retry-After": "5"} if error.retryable else None
    return Problem(_STATUS.get(error.code, status), error.code, error.message, error.remedy, headers)


def answer(request: Request, problem: Problem) -> JSONResponse:
    """The document. Below /v1/audio it has OpenAI's member ``error`` too, where its clients look for the message."""
    document = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status_code).phrase,
        "status": problem.status_code,
        "detail": problem.detail,
        "code": problem.code,
        "remedy": problem.remedy,
        "instance": request.url.path,
        **problem.more,
    }
    if request.url.path.startswith("/v1/audio/"):
        said = " ".join(filter(None, (problem.detail, problem.remedy)))
        kind = "invalid_request_error" if problem.status_code < 500 else "server_error"
        document["error"] = {"message": said, "type": kind, "param": None, "code": problem.code}
    return JSONResponse(document, problem.status_code, problem.headers, "application/problem+json")


def install(app: FastAPI) -> None:
    """Every error that a route can raise becomes a problem."""

    @app.exception_handler(HTTPException)
    async def _answer_problem(request: Request, error: HTTPException) -> JSONResponse:
        if not isinstance(error, Problem):
            code = HTTPStatus(error.status_code).name
            error = Problem(error.status_code, code, str(error.detail), "See /openapi.json.", dict(error.headers or {}))
        return answer(request, error)

    @app.exception_handler(RequestValidationError)
    async def _answer_invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return answer(request, invalid("The request does not match the schema.", errors=field_errors(error.errors())))

    @app.exception_handler(StenopoolError)
    async def _answer_error(request: Request, error: StenopoolError) -> JSONResponse:
        return answer(request, from_error(error))

    @app.exception_handler(ObjectNotFound)
    async def _answer_not_deployed(request: Request, error: ObjectNotFound) -> JSONResponse:  # noqa: ARG001
        message, remedy = (
            "Stenopool's deployments were not found on the Prefect server.",
            "Run `stenopool deploy` for this server.",
        )
        return answer(request, Problem(503, ErrorCode.DEPLOYMENT_MISSING, message, remedy))

    @app.exception_handler(httpx.HTTPError)
    @app.exception_handler(PrefectHTTPStatusError)
    async def _answer_unavailable(request: Request, error: Exception) -> JSONResponse:
        log.warning("The Prefect server does not answer: %s", type(error).__name__)
        problem = Problem(
            503, "PREFECT_UNAVAILABLE", "The Prefect server does not answer.", "Try again.", {"Retry-After": "5"}
        )
        return answer(request, problem)

    @app.exception_handler(Exception)
    async def _answer_unexpected(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001 (uvicorn logs it)
        remedy = "This is a fault of Stenopool; report it with the time of the request."
        return answer(request, Problem(500, "INTERNAL", "An unexpected error occurred.", remedy))


def field_errors(errors: Any) -> list[dict[str, str]]:
    """pydantic's errors, without the input that they quote: it may be long, or a secret."""
    return [{"field": ".".join(map(str, error["loc"])), "message": str(error["msg"])} for error in errors]
