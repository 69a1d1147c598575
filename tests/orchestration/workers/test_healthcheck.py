"""What HEALTHCHECK asks, of real sockets."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from stenopool.orchestration.workers.healthcheck import check
from tests.support.processes import free_port


@contextmanager
def server(status: int) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


class TestAddress:
    def test_that_answers(self) -> None:
        with server(200) as url:
            check(f"{url}/health/ready")

    def test_that_answers_with_an_error(self) -> None:
        with server(503) as url, pytest.raises(SystemExit, match="503"):
            check(url)

    def test_where_nobody_listens(self) -> None:
        with pytest.raises(SystemExit, match="refused"):
            check(f"http://127.0.0.1:{free_port()}")


def test_nothing_to_ask_is_healthy_and_nonsense_is_not() -> None:
    check("")
    with pytest.raises(SystemExit, match="not an address"):
        check("cpu")
