# ruff: noqa: ARG001 (a dependency whose parameters are for the document)
"""Answers with content: conditional requests, ranges and HEAD, the same for files, sound and JSON (RFC 9110)."""

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

_IS_HEAD = "stenopool.head"  # in a scope


class ByteSource(Protocol):
    """Bytes that can be read in parts."""

    @property
    def size(self) -> int:
        """How many there are."""

    def read(self, first: int, last: int) -> Iterator[bytes]:
        """From ``first`` to ``last``, both included."""


class Stored:
    """The body of an object in a store, as it was when it was looked up."""

    def __init__(self, store: ObjectStore, info: ObjectInfo) -> None:
        self._store, self._info, self.size = store, info, info.size

    def read(self, first: int, last: int) -> Iterator[bytes]:
        """Fails with SOURCE_CHANGED if the object has been replaced since."""
        if first > last:  # an empty object: S3 has no empty range
            return iter(())
        end = None if last == self.size - 1 else last
        return self._store.stream(self._info.key, first=first, last=end, etag=self._info.etag)


@dataclass(frozen=True)
class Content:
    """What an address has now. It is opened only if the client does not have it yet."""

    etag: str
    """A strong entity tag, with its quotation marks."""
    open: Callable[[], Awaitable[ByteSource]]

    @classmethod
    def of_object(cls, store: ObjectStore, info: ObjectInfo) -> "Content":
        """An object of a store, as it was listed."""

        async def open() -> ByteSource:
            return Stored(store, info)

        return cls(make_etag(info.etag), open)


def make_etag(*parts: object) -> str:
    """A strong entity tag for content that is made from these parts and nothing else."""
    return f'"{hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:32]}"'


def require_match(if_match: str | None, etag: str) -> None:
    """The problem 412 if an If-Match header does not name this entity tag; weak tags match nothing."""
    if if_match is not None and not {etag, "*"} & {tag.strip() for tag in if_match.split(",")}:
        remedy = "GET it again, and repeat the change with the new ETag in If-Match."
        raise Problem(412, "PRECONDITION_FAILED", "It has been changed meanwhile.", remedy, {"ETag": etag})


def _header(description: str) -> Any:
    return Header(description=description)


async def _conditions(
    request: Request,
    range: Annotated[str | None, _header("bytes=FIRST-LAST: one range.")] = None,
    if_range: Annotated[str | None, _header("An ETag: the range only if it is still this content's.")] = None,
    if_none_match: Annotated[str | None, _header("ETags of what the client has: 304 if it is one of them.")] = None,
    if_match: Annotated[str | None, _header("ETags of what the client expects: 412 if it is none of them.")] = None,
) -> Request:
    """Dependency: the request, with the headers that `respond` reads in the document."""
    return request


ConditionalRequest = Annotated[Request, Depends(_conditions)]
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {"description": "The client has it: If-None-Match names its ETag."}
}
# Answers of `respond` in addition to 200.
ANSWERS: dict[int | str, dict[str, Any]] = {
    206: {"description": "The requested range."},
    **NOT_MODIFIED,
    412: {"description": "It has another ETag than If-Match names."},
    416: {"description": "There is no such range; Content-Range says how many bytes there are."},
}


async def respond(request: Request, content: Content, headers: Mapping[str, str]) -> Response:
    """The content or the part that is requested; 304 for a client that has it. ``headers``: of the whole content.

    Raises the problems 412 and 416. A Range header that is malformed, of another unit or has several ranges is ignored.
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
    """The first and the last byte requested; None for all, also if the header is unknown (RFC 9110, 14.2)."""
    written = byte_range(asked)
    if written is None:
        return None
    begin, end = written
    first, last = (int(begin), int(end or size - 1)) if begin else (size - int(end), size - 1)
    first, last = max(0, first), min(last, size - 1)
    if first > last:
        detail, remedy = "There is no such range.", f"The content has {size} bytes."
        raise Problem(416, "RANGE_NOT_SATISFIABLE", detail, remedy, {"Content-Range": f"bytes */{size}"})
    return first, last


class ConditionalRequests:
    """Middleware: HEAD wherever GET is; an ETag for every JSON document, and 304 for a client that has it.

    Routes see GET. The server sees HEAD again when the answer begins, and sends no body.
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
                begin.append(message)  # it waits for its body
                return
            if begin and not message.get("more_body"):
                start = begin.pop()
                message = _tag(start, message, known)
                await send(start)
            elif begin:
                await send(begin.pop())  # in several parts: not to be gathered
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
    """Give an answer its ETag; the body to send, which is empty if the client has it."""
    etag, headers = make_etag(hashlib.sha256(message.get("body", b"")).hexdigest()), MutableHeaders(scope=start)
    headers["ETag"] = etag
    if not is_known(known, etag):
        return message
    start["status"] = 304
    for name in ("content-length", "content-type"):
        del headers[name]
    return {**message, "body": b""}
