"""What HEALTHCHECK asks, of real sockets."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from tests.support.processes import free_port
from workers.health import Unhealthy, check


@contextmanager
def server(status: int, answer: Any, heard: dict[str, str] | None = None) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if heard is not None:
                heard.update(self.headers)
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


class TestAddress:
    def test_that_answers(self) -> None:
        with server(200, "ok") as url:
            check(f"{url}/health/ready")

    def test_that_answers_with_an_error(self) -> None:
        with server(503, "no") as url, pytest.raises(Unhealthy, match="503"):
            check(url)

    def test_where_nobody_listens(self) -> None:
        with pytest.raises(Unhealthy, match="refused"):
            check(f"http://127.0.0.1:{free_port()}")


class TestWorker:
    def workers(self, status: str) -> list[dict[str, str]]:
        return [
            {"name": f"{socket.gethostname()}-cpu", "status": status},
            {"name": "elsewhere-cpu", "status": "ONLINE"},
        ]

    def test_online(self, monkeypatch: pytest.MonkeyPatch) -> None:
        heard: dict[str, str] = {}
        with server(200, self.workers("ONLINE"), heard) as url:
            monkeypatch.setenv("PREFECT_API_URL", f"{url}/api")
            monkeypatch.setenv("PREFECT_API_AUTH_STRING", "user:password")
            check("worker:cpu")
        assert heard["Authorization"] == "Basic dXNlcjpwYXNzd29yZA=="

    def test_offline(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with server(200, self.workers("OFFLINE")) as url:
            monkeypatch.setenv("PREFECT_API_URL", f"{url}/api")
            with pytest.raises(Unhealthy, match=r"no worker .*-cpu is online"):
                check("worker:cpu")


def test_nothing_to_ask_is_healthy_and_nonsense_is_not() -> None:
    check("")
    with pytest.raises(Unhealthy, match="neither"):
        check("cpu")
