"""`stenopool worker` on a real Prefect server: it serves its pool, and its pages show its health."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.processes import Server, free_port
from tests.support.prometheus import lint, needs_prometheus
from tests.support.waiting import wait_until


class Worker(Server):
    def __init__(self, folder: Path, pool: str, prefect: str) -> None:
        super().__init__("the worker", folder / "worker.log")
        self.port = free_port()
        self._command = [str(Path(sys.executable).with_name("stenopool")), "worker", "--pool", pool]
        self._environment = os.environ | {"PREFECT_API_URL": prefect, "PREFECT_WORKER_QUERY_SECONDS": "1"}

    def start(self) -> None:
        self.spawn([*self._command, "--port", str(self.port)], self._ready, environment=self._environment)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=30)

    def _ready(self) -> bool:
        try:
            return self.get("/health/ready").is_success
        except httpx.TransportError:
            return False


@pytest.fixture
def prefect(prefect_api: None) -> str:
    from prefect.settings import get_current_settings

    return str(get_current_settings().api.url)


@pytest.fixture
def pool(prefect: str) -> Iterator[str]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate

    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="serve-test", type="process"))
        yield "serve-test"
        client.delete_work_pool("serve-test")


@needs_prometheus
def test_a_worker_reports_its_health_and_stops_cleanly(pool: str, prefect: str, tmp_path: Path) -> None:
    from prefect.client.orchestration import get_client

    worker = Worker(tmp_path, pool, prefect)
    try:
        worker.start()
        assert worker.get("/health/ready").json() == {
            "status": "ok",
            "dependencies": {"polling": "ok", "prefect": "ok"},
        }
        assert worker.get("/health/live").json()["status"] == "ok"
        with get_client(sync_client=True) as client:
            seen = wait_until(lambda: client.read_workers_for_work_pool(pool), "the worker's heartbeat", seconds=60)
            assert seen[0].name.endswith(f"-{pool}")
        page = worker.get("/metrics").text
        figures = dict(line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
        assert float(figures[f'stenopool_worker_last_poll_timestamp_seconds{{pool="{pool}"}}']) > time.time() - 60
        assert figures[f'stenopool_worker_runs_in_progress{{pool="{pool}"}}'] == "0.0"
        assert figures['stenopool_dependency_up{dependency="prefect"}'] == "1.0"
        assert lint(page) == ""
        assert worker.process is not None
        worker.process.send_signal(signal.SIGTERM)
        worker.process.wait(30)
    finally:
        worker.kill()


def test_a_missing_pool_is_named(prefect: str) -> None:
    command = [str(Path(sys.executable).with_name("stenopool")), "worker", "--pool", "none"]
    run = subprocess.run(command, env=os.environ | {"PREFECT_API_URL": prefect}, capture_output=True, text=True)
    assert run.returncode == 2
    assert "has no work pool none" in run.stderr
    assert "stenopool deploy" in run.stderr
