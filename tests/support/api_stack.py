"""The API as in production: real server, real workers, S3, each in a separate process."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.support.api_server import keys_file, secret
from tests.support.prefect_server import PrefectServer
from tests.support.processes import Server, free_port, without_prefect
from tests.support.seaweedfs import SeaweedFS
from tests.support.worker import ProcessWorker


class Served(Server):
    """``stenopool serve`` in a separate process."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        super().__init__("the API", folder / "stenopool.api.log")
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self._port = port
        self._environment = environment
        self.destination = environment["STENOPOOL_API__DESTINATION"]

    def start(self) -> None:
        command = [str(Path(sys.executable).with_name("stenopool")), "serve", f"--port={self._port}"]
        self.spawn(command, self.answers, environment=self._environment)

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health/ready", timeout=10).status_code == 200
        except httpx.HTTPError:
            return False


class Installation(NamedTuple):
    """All services, each in a separate process."""

    api: Served
    prefect: PrefectServer
    workers: list[ProcessWorker]

    def client(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {secret('boss')}"}
        return httpx.Client(base_url=self.api.url, headers=headers, timeout=60)


@pytest.fixture(scope="module")
def installation(
    prefect_server: PrefectServer, seaweedfs: SeaweedFS, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """Server, API and one worker of each pool, with all deployments."""
    tmp_path = tmp_path_factory.mktemp("installation")
    bucket = seaweedfs.make_bucket()
    cache = os.environ.get("STENOPOOL_MODELS__CACHE", str(Path.home() / ".cache" / "stenopool" / "models"))
    environment = {
        **seaweedfs.environment,
        "STENOPOOL_MODELS__CACHE": cache,
        "STENOPOOL_API__SOURCE": f"s3://{bucket}/in",
        "STENOPOOL_API__DESTINATION": f"s3://{bucket}/out",
        "STENOPOOL_API__KEYS": str(keys_file(tmp_path)),
        "STENOPOOL_API__MODEL": "tiny.en",
    }
    whole = {**without_prefect(), **prefect_server.environment, **environment}
    command = [str(Path(sys.executable).with_name("stenopool")), "deploy", "--target=local"]
    subprocess.run(command, env=whole, check=True, capture_output=True)
    api = Served(tmp_path, whole)
    workers = [ProcessWorker(prefect_server, pool, environment) for pool in ("stenopool-cpu", "stenopool-gpu")]
    try:
        for one in (api, *workers):
            one.start()
        yield Installation(api, prefect_server, workers)
    finally:
        for one in (*workers, api):
            one.stop()
