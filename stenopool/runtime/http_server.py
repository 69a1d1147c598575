"""uvicorn with limits for incomplete requests, used by all of Stenopool's HTTP servers.

uvicorn limits connections that have a request, but neither the size of headers (with its C parser) nor the time until
they are complete: incomplete requests would stay open forever.
"""

import asyncio
import json
import resource
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from stenopool.runtime import logs

HEADER_BYTES = 32 * 1024
_HEADERS = 100
_PIPELINED = 8  # requests that wait for the response to an earlier one
_PIECE, _BODY_PIECE = 4 * 1024, 64 * 1024  # bytes that are parsed at a time
_LINGER = 64 * 1024 * 1024  # bytes of a refused body that are discarded
_TURN = 0.002  # seconds per connection between two reads of such a body, so that new connections do not wait
_FILES = 4096


def _answer(status: int, code: str, detail: str, remedy: str, headers: str = "") -> bytes:
    title = HTTPStatus(status).phrase
    problem = {"type": "about:blank", "title": title, "status": status, "detail": detail, "code": code}
    body = json.dumps({**problem, "remedy": remedy}).encode()
    head = (
        f"HTTP/1.1 {status} {title}\r\nContent-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n"
        f"{headers}X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


_LIMITS = f"The headers exceed {HEADER_BYTES:,} bytes or {_HEADERS} lines."
_TOO_LARGE = _answer(431, "HEADERS_TOO_LARGE", _LIMITS, "Reduce the headers.")
_TOO_SLOW = _answer(408, "HEADERS_TOO_SLOW", "The headers arrive too slowly.", "Send the request again.")
_TOO_MANY = _answer(503, "BUSY", "Too many connections.", "Send the request again.", "Retry-After: 1\r\n")
_MALFORMED = _answer(400, "BAD_REQUEST", "The request is not valid HTTP/1.1.", "Correct the request.")


class _Flow(FlowControl):
    """Calls ``resumed`` when the application can read more; it continues after parsing the data received so far."""

    def __init__(self, transport: asyncio.Transport, resumed: Callable[[], None]) -> None:
        super().__init__(transport)
        self._resumed = resumed

    def resume_reading(self) -> None:
        if self.read_paused:
            self.read_paused = False
            self._resumed()


class BoundedProtocol(HttpToolsProtocol):
    """A connection that waits at most ``timeout_keep_alive`` seconds for each action of its client.

    These actions are completing a request's headers, sending the rest of a refused body, and receiving a response. If
    there are too many connections, the one that has waited longest for its client is closed.
    """

    _headers_due = True  # no request has started, or its headers are incomplete
    _received = 0  # bytes since the last request started or was answered
    _held = b""  # data not yet parsed
    _refusal = _MALFORMED  # response to the parser's error
    _waiting: asyncio.TimerHandle | None = None
    _waiting_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = _Flow(transport, self._feed_soon)
        self._watch()
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._held = b""
        self._unset_keepalive_if_required()
        self._stop_waiting()

    def data_received(self, data: bytes) -> None:
        self._held += data
        self._feed()

    def _feed(self) -> None:
        """Parse received data; a body only as fast as it is read, because one-byte chunks cost far more to parse than
        to send.
        """
        while self._held and not self.flow.read_paused and not self.transport.is_closing():
            due = self._headers_due
            size = _PIECE if due else _BODY_PIECE
            piece, self._held = self._held[:size], self._held[size:]
            super().data_received(piece)
            if due == self._headers_due:  # otherwise headers or a body ended in this piece
                self._received += len(piece)
            if self._headers_due and self._received > HEADER_BYTES:
                self._refuse(_TOO_LARGE)
            elif self._is_answered() and self._received > _LINGER:
                self.transport.abort()
            elif not self._is_answered() and self.cycle.body:
                self.flow.pause_reading()  # until the application reads more
        if self.transport.is_closing():
            self._held = b""
        elif self._is_answered() and not self._headers_due:  # the rest of a discarded body is read slowly
            self.transport.pause_reading()
            self.loop.call_later(_TURN * len(self.connections), self._read_more)
        else:
            self._read_more()
        self._watch()

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= _PIPELINED:
            raise ValueError("too many requests at once")  # the parser converts it to its own error
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if len(self.headers) > _HEADERS:
            self._refusal = _TOO_LARGE
            raise ValueError("too many headers")

    def on_headers_complete(self) -> None:
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            self._refusal = _TOO_MANY
            raise ValueError("too many connections")
        super().on_headers_complete()
        self._headers_due, self._received = False, 0

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._headers_due, self._received = True, 0

    def on_response_complete(self) -> None:
        self._received = 0
        if self.cycle.response_complete:
            self.cycle.body = bytearray()  # unread data
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._watch()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 (uvicorn has logged it)
        self._refuse(self._refusal)

    def _read_more(self) -> None:
        if not self.flow.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def _feed_soon(self) -> None:
        self.loop.call_soon(self._feed)

    def _is_answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _watch(self) -> None:
        """Start the timeout if the connection is waiting for its client; otherwise stop it."""
        if not (self._is_answered() or self.flow.write_paused or self.transport.is_closing()):
            self._stop_waiting()
        elif self._waiting is None:
            self._waiting_since = self.loop.time()
            self._waiting = self.loop.call_later(self.timeout_keep_alive, self._give_up)

    def _stop_waiting(self) -> None:
        if self._waiting:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        self._waiting = None
        if self._headers_due and self._received and self._is_answered() and not self.transport.is_closing():
            self._refuse(_TOO_SLOW)
            self._watch()  # until the client has received that
        else:
            self.transport.abort()

    def _make_room(self) -> None:
        others = [one for one in cast("set[BoundedProtocol]", self.connections) if one is not self and one._waiting]
        if others:
            longest = min(others, key=lambda one: one._waiting_since)
            longest._stop_waiting()
            self.connections.discard(longest)
            longest.transport.abort()

    def _refuse(self, answer: bytes) -> None:
        """Respond in place of the application, which has not seen the request, and close the connection."""
        if not self._is_answered():
            if self._headers_due or self.cycle.response_started:  # the client would misread it
                self.transport.abort()
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.write(answer)
        self.transport.close()


def server_options(connections: int = 64, timeout: int = 15, trusted_proxies: str | None = None) -> dict[str, Any]:
    """Options for uvicorn: Stenopool's limits and log format.

    ``timeout``: seconds that a connection waits for its client.
    ``trusted_proxies``: proxies whose ``X-Forwarded-*`` headers are used.
    """
    return {
        "http": BoundedProtocol,
        "ws": "none",
        "limit_concurrency": connections + 1,  # accept one more, to refuse it with a response
        "timeout_keep_alive": timeout,
        "forwarded_allow_ips": trusted_proxies,
        "server_header": False,
        **logs.uvicorn_options(),
    }


def allow_many_files() -> None:
    """Raise the process's limit on open files: connections arrive in bursts, before surplus ones can be closed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(_FILES, hard) if hard >= 0 else _FILES, hard))
