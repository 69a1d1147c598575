"""Responses that take long: meaningless bytes keep the connection alive, so that proxies do not close it.

Proxies close connections without traffic: nginx and AWS's load balancers after 60 seconds. JSON may start with blanks,
and server-sent events may have comments between them.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping

from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Send

from stenopool.api.problems import describe, problem_of
from stenopool.runtime.logs import get_logger

JSON, EVENTS = "application/json", "text/event-stream"
_FILLERS = {JSON: b" ", EVENTS: b": still working\n\n"}
# Otherwise nginx would buffer the bytes.
_HEADERS = {"X-Accel-Buffering": "no"}
_FIRST_EVENT = 0.2  # seconds before a stream starts, so that immediate errors get their status

log = get_logger("stenopool.api")


async def respond(
    request: Request, parts: AsyncGenerator[bytes, None], media_type: str, headers: Mapping[str, str], pause: float
) -> Response:
    """Return a response with the body ``parts``, of which the first may come late.

    ``pause``: maximum seconds without a byte. Raises the error of the parts if it comes before the response starts,
    which is after ``pause`` seconds for JSON, and immediately for events.
    """
    kept = _KeptAlive(parts, _FILLERS[media_type], pause)
    try:
        is_ready = await kept.wait(_FIRST_EVENT if media_type == EVENTS else pause)
        if is_ready and media_type == JSON:
            body = b"".join([part async for part in kept])
            return Response(body, media_type=media_type, headers=dict(headers))
    except BaseException:
        await kept.aclose()
        raise
    return _LateResponse(kept, request, media_type=media_type, headers={**headers, **_HEADERS})


class _KeptAlive:
    """The parts of an iterator, with a filler whenever none comes for ``pause`` seconds."""

    def __init__(self, parts: AsyncGenerator[bytes, None], filler: bytes, pause: float) -> None:
        self._parts = parts
        self._filler = filler
        self._pause = pause
        self._next: asyncio.Task[bytes | None] | None = None

    async def wait(self, seconds: float) -> bool:
        """Wait for the next part; return whether it has come. Raises the errors of the parts."""
        self._next = self._next or asyncio.create_task(self._read())
        done, _ = await asyncio.wait({self._next}, timeout=seconds)
        if done:
            self._next.result()
        return bool(done)

    async def _read(self) -> bytes | None:
        return await anext(self._parts, None)

    def __aiter__(self) -> "_KeptAlive":
        return self

    async def __anext__(self) -> bytes:
        if not await self.wait(self._pause):
            return self._filler
        assert self._next is not None  # noqa: S101 (for mypy)
        part, self._next = self._next.result(), None
        if part is None:
            raise StopAsyncIteration
        return part

    async def aclose(self) -> None:
        """Stop the iterator."""
        if self._next:
            self._next.cancel()
            await asyncio.wait({self._next})
        await self._parts.aclose()


class _LateResponse(StreamingResponse):
    """A response whose status is sent before its result is known.

    An error ends it with the problem's document, as JSON or as an event. JSON then ends without its last chunk, so that
    clients do not take it for a transcript.
    """

    def __init__(self, kept: _KeptAlive, request: Request, *, media_type: str, headers: Mapping[str, str]) -> None:
        super().__init__(kept, 200, headers, media_type)
        self._kept = kept
        self._request = request

    async def stream_response(self, send: Send) -> None:
        try:
            await super().stream_response(send)
        except OSError:  # the client has gone away
            raise
        except Exception as error:
            log.info("A response failed after its start: %s", type(error).__name__)
            await self._end(error, send)
        finally:
            await self._kept.aclose()

    async def _end(self, error: Exception, send: Send) -> None:
        response = describe(self._request, problem_of(error))
        body, is_whole = json.dumps(response, ensure_ascii=False), self.media_type == EVENTS
        if is_whole:
            body = f"event: error\ndata: {body}\n\n"
        await send({"type": "http.response.body", "body": body.encode(), "more_body": not is_whole})
