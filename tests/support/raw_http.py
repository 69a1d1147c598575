"""Raw HTTP: requests that a client library would correct, refuse or never send."""

import json
import socket
import time
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import urlsplit


class Answer(NamedTuple):
    """Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def connect(url: str) -> socket.socket:
    where = urlsplit(url)
    return socket.create_connection((where.hostname or "", where.port or 80), timeout=10)


def exchange(url: str, request: bytes) -> Answer:
    """Send exactly these bytes and return the first response; the connection stays open for it."""
    with connect(url) as connection:
        connection.sendall(request)
        return read_answer(connection)


def read_answer(connection: socket.socket) -> Answer:
    """The next response. Raises ConnectionError if the connection ends before it is complete."""
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):
        head += _some(connection, 1)
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = bytearray()
    while len(body) < int(headers.get("content-length", 0)):
        body += _some(connection, int(headers["content-length"]) - len(body))
    return Answer(int(first.split()[1]), headers, bytes(body))


def seconds_until_closed(connection: socket.socket) -> float:
    """The time until the other side closes; its data are dropped. Raises TimeoutError after 30 s."""
    begin = time.monotonic()
    connection.settimeout(30)
    try:
        while connection.recv(65536):
            pass
    except ConnectionError:
        pass
    return time.monotonic() - begin


def send_slowly(connection: socket.socket, pieces: Iterable[bytes], pause: float) -> float:
    """Send one piece after the other until the other side closes; returns the seconds. 15 s at most."""
    begin = time.monotonic()
    for piece in pieces:
        try:
            connection.sendall(piece)
        except OSError:
            break
        time.sleep(pause)
        if time.monotonic() - begin > 15:
            break
    return time.monotonic() - begin


def _some(connection: socket.socket, count: int) -> bytes:
    data = connection.recv(count)
    if not data:
        raise ConnectionError("the connection was closed")
    return data
