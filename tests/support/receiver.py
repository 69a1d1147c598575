"""A receiver of callbacks: a web server that stores requests and answers as configured."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from standardwebhooks import Webhook


class Call(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """``answers``: the next statuses, one per call; 204 when there are none left."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/events"
        self.calls: list[Call] = []
        self.answers: list[int] = []

    def wait_for(self, calls: int, seconds: float = 20) -> list[Call]:
        """Wait for this many calls, and check that no more come within half a second."""
        deadline = time.monotonic() + seconds
        while len(self.calls) < calls:
            assert time.monotonic() < deadline, f"{len(self.calls)} calls instead of {calls}"
            time.sleep(0.02)
        time.sleep(0.5)
        assert len(self.calls) == calls
        return self.calls

    def events(self, secret: str) -> list[dict[str, Any]]:
        """The received events; each signature is checked by the library that receivers use."""
        for call in self.calls:
            Webhook(secret).verify(call.body, call.headers)
        return [json.loads(call.body) for call in self.calls]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """One on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.calls.append(Call(self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            status = receiver.answers.pop(0) if receiver.answers else 204
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            receiver.calls.append(Call(self.path, {}, b""))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(server.server_address[1])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
