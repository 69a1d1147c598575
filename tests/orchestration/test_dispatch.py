"""A parent run when the server delays the start of its child, or does not report the child's state."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from stenopool.errors import ErrorCode, SetupError
from stenopool.options import STORED, ExecutionOptions, TranscriptionOptions
from stenopool.orchestration.dispatch import ByDeployment
from stenopool.settings import DispatchSettings

NOW = "2026-11-30T04:00:00Z"
DEPLOYMENT = {"id": str(uuid4()), "name": "cpu", "flow_id": str(uuid4()), "created": NOW, "updated": NOW}
CLOSE = 0  # in place of a status: the connection ends without a response


class Server:
    """The API of a Prefect server that a parent uses. ``starting``, ``looking``: its next responses; the later ones
    succeed.
    """

    def __init__(self) -> None:
        self.starting: list[int] = []
        self.looking: list[int] = []
        self.deployed = True
        self.keys: list[str] = []
        self.looks = 0
        self._run = str(uuid4())

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if path.startswith("/api/deployments/name/"):
            return 200 if self.deployed else 404, DEPLOYMENT
        if path.endswith("/create_flow_run"):
            self.keys.append(body["idempotency_key"])
            return self._next(self.starting), self._state("SCHEDULED")
        if path == f"/api/flow_runs/{self._run}":
            self.looks += 1
            return self._next(self.looking), self._state("COMPLETED")
        return 404, None  # other requests of Prefect's client: CSRF tokens, versions

    def _next(self, answers: list[int]) -> int:
        return answers.pop(0) if answers else 200

    def _state(self, kind: str) -> dict[str, Any]:
        state = {"id": str(uuid4()), "type": kind, "name": kind.title(), "timestamp": NOW}
        return {"id": self._run, "name": "a child", "flow_id": DEPLOYMENT["flow_id"], "state": state}


@pytest.fixture
def server() -> Iterator[Server]:
    known = Server()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            status, document = known.answer(self.path, json.loads(self.rfile.read(length) or b"{}"))
            if status == CLOSE:
                self.close_connection = True
                return
            content = json.dumps(document if status == 200 else {"detail": f"said {status}"}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _answer

        def log_message(self, *_: object) -> None: ...

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, args=(0.05,), daemon=True).start()
    url = f"http://127.0.0.1:{listening.server_port}/api"
    # Prefect's client retries some statuses itself, with pauses of seconds; here each response must reach the parent.
    with temporary_settings({PREFECT_API_URL: url, PREFECT_CLIENT_MAX_RETRIES: 0}):
        yield known
    listening.shutdown()
    listening.server_close()


def carry() -> None:
    by_deployment = ByDeployment(DispatchSettings(by="deployment", poll=0.01))
    asyncio.run(asyncio.wait_for(by_deployment._run("prepare/cpu", batch="b", shard=1), 20))


@pytest.mark.parametrize(
    "options",
    [{"model": "turbo", "task": "translate"}, {"language": "lo", "word_timestamps": "alignment"}],
)
def test_options_that_no_worker_can_honour_start_no_child(options: dict[str, Any]) -> None:
    by_deployment = ByDeployment(DispatchSettings(by="deployment"))
    stored = TranscriptionOptions.model_validate(options, context=STORED)
    with pytest.raises(SetupError) as raised:
        asyncio.run(by_deployment.check(stored, ExecutionOptions()))
    assert raised.value.code is ErrorCode.OPTIONS_INVALID
    asyncio.run(by_deployment.check(TranscriptionOptions(model="large-v3"), ExecutionOptions()))


PASSING = (500, 504, 408, CLOSE)
REFUSALS = {
    400: ErrorCode.OPTIONS_INVALID,
    401: ErrorCode.ACCESS_DENIED,
    403: ErrorCode.ACCESS_DENIED,
    409: ErrorCode.OPTIONS_INVALID,
    422: ErrorCode.OPTIONS_INVALID,
}


@pytest.mark.parametrize("status", PASSING)
def test_an_unreachable_server_is_waited_for(server: Server, status: int) -> None:
    server.starting, server.looking = [status, status], [status]
    carry()
    assert len(server.keys) == 3
    assert len(set(server.keys)) == 1
    assert server.looks == 2


@pytest.mark.parametrize(("status", "code"), REFUSALS.items())
def test_a_refused_start_ends_the_run(server: Server, status: int, code: ErrorCode) -> None:
    server.starting = [status]
    with pytest.raises(SetupError) as caught:
        carry()
    assert caught.value.code is code
    assert len(server.keys) == 1


def test_a_missing_deployment_ends_the_run(server: Server) -> None:
    server.deployed = False
    with pytest.raises(SetupError) as caught:
        carry()
    assert caught.value.code is ErrorCode.DEPLOYMENT_MISSING


@pytest.mark.parametrize(("status", "code"), REFUSALS.items())
def test_a_refused_status_query_ends_the_run(server: Server, status: int, code: ErrorCode) -> None:
    server.looking = [status]
    with pytest.raises(SetupError) as caught:
        carry()
    assert caught.value.code is code
    assert server.looks == 1


def test_a_deleted_child_is_not_waited_for(server: Server) -> None:
    server.looking = [404]
    carry()
    assert server.looks == 1
