"""Limits before a connection has sent a request: each limit alone, on a server with short timeouts."""

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import repeat

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from stenopool.runtime.http_server import HEADER_BYTES, server_options
from tests.support.raw_http import connect, exchange, read_answer, seconds_until_closed, send_slowly

SECONDS = 1
GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
seen: list[str] = []


async def _answer(request: Request) -> Response:
    seen.append(request.url.path)
    return PlainTextResponse("fine")


async def _read(request: Request) -> Response:
    try:
        return PlainTextResponse(str(len(await request.body())))
    except ClientDisconnect:  # like that of a client that has gone away
        return PlainTextResponse("nothing reads this")


async def _slow(request: Request) -> Response:
    await asyncio.sleep(2 * SECONDS)
    return PlainTextResponse("at last")


async def _large(request: Request) -> Response:
    return PlainTextResponse(b"x" * 50_000_000)


@contextmanager
def _serve(connections: int) -> Iterator[str]:
    app = Starlette(
        routes=[
            Route("/", _answer, methods=["GET", "POST"]),
            Route("/read", _read, methods=["POST"]),
            Route("/slow", _slow),
            Route("/large", _large),
        ]
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(app, lifespan="off", **(server_options(connections, SECONDS) | {"log_config": None}))
        server = uvicorn.Server(config)
        thread = threading.Thread(target=asyncio.run, args=(server.serve([listening]),), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with _serve(connections=50) as served:
        yield served


@pytest.mark.parametrize(
    "headers",
    [
        b"X: " + b"x" * (2 * HEADER_BYTES) + b"\r\n\r\n",
        b"X: " + b"x" * (2 * HEADER_BYTES),
        b"X" * (2 * HEADER_BYTES),
        b"".join(b"X-%d: %s\r\n" % (number, b"x" * 900) for number in range(60)) + b"\r\n",
        b"a:\r\n" * 101 + b"\r\n",
        b"a:\r\n" * 3000,
    ],
    ids=["one value", "an endless value", "an endless name", "many values", "many lines", "endless lines"],
)
def test_headers_are_limited(url: str, headers: bytes) -> None:
    seen.clear()
    answer = exchange(url, GET + headers)
    assert (answer.status, answer.headers["content-type"]) == (431, "application/problem+json")
    assert answer.json()["code"] == "HEADERS_TOO_LARGE"
    assert answer.headers["connection"] == "close"
    assert seen == []


def test_an_endless_address_is_refused(url: str) -> None:
    assert exchange(url, b"GET /" + b"a" * (2 * HEADER_BYTES)).status == 431


def test_headers_within_the_limits_are_accepted(url: str) -> None:
    headers = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 250) for number in range(95))
    assert exchange(url, GET + headers + b"\r\n").status == 200


@pytest.mark.parametrize("sent", [b"", b"GE", b"\r\n" * 10, GET, GET + b"X: y", GET + b"\r\n" + GET])
def test_a_half_request_times_out(url: str, sent: bytes) -> None:
    with connect(url) as connection:
        connection.sendall(sent)
        assert seconds_until_closed(connection) < 2 * SECONDS + 1


def test_slow_single_bytes_do_not_keep_a_connection_open(url: str) -> None:
    with connect(url) as connection:
        assert send_slowly(connection, (bytes([byte]) for byte in GET * 100), 0.1) < 2 * SECONDS + 1


def test_a_request_that_is_too_slow_gets_an_error_response(url: str) -> None:
    with connect(url) as connection:
        connection.sendall(GET)
        answer = read_answer(connection)
    assert (answer.status, answer.json()["code"]) == (408, "HEADERS_TOO_SLOW")


@pytest.mark.parametrize(
    "sent",
    [b"nonsense\r\n\r\n", b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", GET + b"A b: c\r\n\r\n", GET + b"A: \0\r\n\r\n",
     b"GET http:// HTTP/1.1\r\nHost: x\r\n\r\n", b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
     GET + b"Content-Length: x\r\n\r\n", GET + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
     b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
)  # fmt: skip
def test_other_protocols_are_a_client_error(url: str, sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        answer = exchange(url, sent)
    assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")
    assert [record for record in caplog.records if record.exc_info] == []


def test_the_rest_of_an_unread_body_is_dropped(url: str) -> None:
    size = 5_000_000
    with connect(url) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
        assert read_answer(connection).status == 200
        connection.sendall(bytes(size) + GET + b"\r\n")
        assert read_answer(connection).status == 200  # the next request on this connection


def test_an_unread_body_cannot_continue_forever(url: str) -> None:
    with connect(url) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
        assert send_slowly(connection, repeat(bytes(1000)), 0.05) < 2 * SECONDS + 1


def test_a_client_that_does_not_read_its_response_is_disconnected(url: str) -> None:
    with connect(url) as connection:
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(2 * SECONDS + 0.5)
        received = 0
        with suppress(ConnectionError):
            while data := connection.recv(1_000_000):
                received += len(data)
    assert received < 50_000_000


def test_a_response_may_take_longer_than_a_request(url: str) -> None:
    answer = exchange(url, b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (answer.status, answer.body) == (200, b"at last")


def test_pipelined_requests_are_answered_in_order_and_limited(url: str) -> None:
    with connect(url) as connection:
        connection.sendall((GET + b"\r\n") * 5)
        assert [read_answer(connection).status for _ in range(5)] == [200] * 5
    seen.clear()
    with connect(url) as connection:
        connection.sendall((GET + b"\r\n") * 5000)
        seconds_until_closed(connection)
    assert len(seen) < 50


def test_bodies_arrive_complete(url: str) -> None:
    size = 10_000_000
    head = b"POST /read HTTP/1.1\r\nHost: x\r\n"
    chunks = (b"%x\r\n" % 100_000 + bytes(100_000) + b"\r\n") * 100 + b"0\r\n\r\n"
    tiny = b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n"
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n"
    with connect(url) as connection:
        for request, expected in (
            (head + b"Content-Length: %d\r\n\r\n" % size + bytes(size), size),
            (chunked + chunks, size),
            (chunked + tiny, 20_000),
            (head + b"Content-Length: 0\r\n\r\n", 0),
        ):
            connection.sendall(request)
            assert read_answer(connection).body == b"%d" % expected


def test_idle_connections_are_closed_for_new_ones() -> None:
    with _serve(connections=5) as url:
        idle = [connect(url) for _ in range(20)]
        for connection in idle:
            connection.sendall(GET)
        begin = time.monotonic()
        assert exchange(url, GET + b"\r\n").status == 200
        assert time.monotonic() - begin < SECONDS / 2
        assert sum(_is_closed(connection) for connection in idle) >= 15
        for connection in idle:
            connection.close()


def test_active_connections_are_kept() -> None:
    with _serve(connections=3) as url:
        working = [connect(url) for _ in range(3)]
        for connection in working:
            connection.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.2)
        refusal = exchange(url, GET + b"\r\n")
        assert refusal.status == 503
        assert refusal.headers["retry-after"] == "1"
        assert refusal.json()["code"] == "BUSY"
        assert [read_answer(connection).body for connection in working] == [b"at last"] * 3
        assert exchange(url, GET + b"\r\n").status == 200
        for connection in working:
            connection.close()


def _is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
