# ruff: noqa: ARG001 (a dependency whose parameters document headers)
"""Responses with content: conditional requests, ranges and HEAD for files, audio and JSON alike (RFC 9110)."""

import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

from fastapi import Depends, Header, Request, Response
from fastapi.responses import StreamingResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stenopool.api.headers import byte_range, is_known
from stenopool.api.problems import Problem
from stenopool.storage import ObjectInfo, ObjectStore

_IS_HEAD = "stenopool.head"  # key in the ASGI scope


class ByteSource(Protocol):
    """Bytes that can be read in parts."""

    @property
    def size(self) -> int:
        """Number of bytes."""

    def read(self, first: int, last: int) -> Iterator[bytes]:
        """Read from ``first`` to ``last``, both inclusive."""


class Stored:
    """The content of a stored object, in the version that was looked up."""

    def __init__(self, store: ObjectStore, info: ObjectInfo) -> None:
        self._store, self._info, self.size = store, info, info.size

    def read(self, first: int, last: int) -> Iterator[bytes]:
        """Raises SOURCE_CHANGED if the object has been replaced since."""
        if first > last:  # an empty object: S3 rejects empty ranges
            return iter(())
        end = None if last == self.size - 1 else last
        return self._store.stream(self._info.key, first=first, last=end, etag=self._info.etag)


@dataclass(frozen=True)
class Content:
    """The current content of a URL. It is opened only if the client does not have it yet."""

    etag: str
    """A strong entity tag, including the quotation marks."""
    open: Callable[[], Awaitable[ByteSource]]

    @classmethod
    def of_object(cls, store: ObjectStore, info: ObjectInfo) -> "Content":
        """The content of an object in a store, as it was listed."""

        async def open() -> ByteSource:
            return Stored(store, info)

        return cls(make_etag(info.etag), open)


def make_etag(*parts: object) -> str:
    """Return a strong entity tag for content that depends on exactly these parts."""
    return f'"{hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:32]}"'


def require_match(if_match: str | None, etag: str) -> None:
    """Raises the problem 412 if an If-Match header does not contain this entity tag. Weak tags never match."""
    if if_match is not None and not {etag, "*"} & {tag.strip() for tag in if_match.split(",")}:
        remedy = "GET it again, and repeat the change with the new ETag in If-Match."
        raise Problem(412, "PRECONDITION_FAILED", "The content has changed since it was read.", remedy, {"ETag": etag})


def _header(description: str) -> Any:
    return Header(description=description)


async def _conditions(
    request: Request,
    range: Annotated[str | None, _header("One range: bytes=FIRST-LAST.")] = None,
    if_range: Annotated[str | None, _header("An ETag: the range is sent only if this is current.")] = None,
    if_none_match: Annotated[str | None, _header("ETags that the client has: 304 if one matches.")] = None,
    if_match: Annotated[str | None, _header("ETags that the client expects: 412 if none matches.")] = None,
) -> Request:
    """Dependency that returns the request, and documents the headers that `respond` reads."""
    return request


ConditionalRequest = Annotated[Request, Depends(_conditions)]
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {"description": "Not modified: If-None-Match contains the current ETag."}
}
# Responses of `respond` in addition to 200.
ANSWERS: dict[int | str, dict[str, Any]] = {
    206: {"description": "The requested range."},
    **NOT_MODIFIED,
    412: {"description": "If-Match does not contain the current ETag."},
    416: {"description": "The range is outside the content; Content-Range has the size."},
}


async def respond(request: Request, content: Content, headers: Mapping[str, str]) -> Response:
    """Return the content, the requested range, or 304 for a client that has it. ``headers``: of the whole content.

    Raises the problems 412 and 416. A Range header that is malformed, uses another unit or has several ranges is
    ignored.
    """
    asked = request.headers
    known = {"ETag": content.etag, **{name: value for name, value in headers.items() if name == "Vary"}}
    require_match(asked.get("if-match"), content.etag)
    if is_known(asked.get("if-none-match"), content.etag):
        return Response(status_code=304, headers=known)
    body = await content.open()
    whole = {**known, **headers, "Accept-Ranges": "bytes"}
    if request.scope.get(_IS_HEAD):
        return Response(headers={**whole, "Content-Length": str(body.size)})
    current = asked.get("if-range", content.etag).strip() == content.etag
    part = _part(asked.get("range"), body.size) if current else None
    first, last = part or (0, body.size - 1)
    whole["Content-Length"] = str(last - first + 1)
    if part:
        whole["Content-Range"] = f"bytes {first}-{last}/{body.size}"
    return StreamingResponse(body.read(first, last), 206 if part else 200, whole)


def _part(asked: str | None, size: int) -> tuple[int, int] | None:
    """The first and last byte of the request; None for all of them, also if the header is unknown (RFC 9110, 14.2)."""
    written = byte_range(asked)
    if written is None:
        return None
    begin, end = written
    first, last = (int(begin), int(end or size - 1)) if begin else (size - int(end), size - 1)
    first, last = max(0, first), min(last, size - 1)
    if first > last:
        detail, remedy = "The requested range is outside the content.", f"The content has {size} bytes."
        raise Problem(416, "RANGE_NOT_SATISFIABLE", detail, remedy, {"Content-Range": f"bytes */{size}"})
    return first, last


class ConditionalRequests:
    """Middleware: HEAD wherever GET is allowed, an ETag for every JSON response, and 304 for a client that has it.

    Routes see GET. The server sees HEAD again when the response starts, and sends no body.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        method, known, begin = scope["method"], Headers(scope=scope).get("if-none-match"), list[Message]()

        async def send_tagged(message: Message) -> None:
            scope["method"] = method
            if message["type"] == "http.response.start" and _is_untagged_json(message):
                begin.append(message)  # held until the body is known
                return
            if begin and not message.get("more_body"):
                start = begin.pop()
                message = _tag(start, message, known)
                await send(start)
            elif begin:
                await send(begin.pop())  # a body in several parts is not buffered
            await send(message)

        scope["method"] = "GET"
        scope[_IS_HEAD] = method == "HEAD"
        try:
            await self._app(scope, receive, send_tagged)
        finally:
            scope["method"] = method


def _is_untagged_json(start: Message) -> bool:
    headers = Headers(raw=start["headers"])
    is_json = headers.get("content-type", "").startswith("application/json")
    return start["status"] == 200 and is_json and "etag" not in headers


def _tag(start: Message, message: Message, known: str | None) -> Message:
    """Add an ETag to a response. Returns the body to send, which is empty if the client has it."""
    etag, headers = make_etag(hashlib.sha256(message.get("body", b"")).hexdigest()), MutableHeaders(scope=start)
    headers["ETag"] = etag
    if not is_known(known, etag):
        return message
    start["status"] = 304
    for name in ("content-length", "content-type"):
        del headers[name]
    return {**message, "body": b""}
