"""An API to measure: a real store, a real Prefect server with the deployments, `stenopool serve` in a process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx

from stenopool.storage import ObjectStore, open_store
from tests.support.api_server import keys_file, secret
from tests.support.processes import free_port
from tests.support.seaweedfs import SeaweedFS


class Installation(NamedTuple):
    """The API under measurement, and direct access to its stores."""

    url: str
    pid: int
    source: ObjectStore
    destination: ObjectStore

    def client(self, who: str = "boss") -> httpx.Client:
        headers = {"Authorization": f"Bearer {secret(who)}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=600)

    def peak_memory(self) -> int:
        """Peak memory of the API's process, in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])


@contextmanager
def installation(kind: str, folder: Path) -> Iterator[Installation]:
    """``kind`` of the store: s3 or folder. There is no worker, so recordings stay queued."""
    # Read when Prefect is imported, which `embedded` does.
    os.environ |= {"PREFECT_HOME": str(folder / "prefect")}
    os.environ.pop("PREFECT_API_URL", None)
    from stenopool.orchestration import embedded

    embedded.begin()
    embedded.ready()
    with _store(kind, folder) as where:
        port = free_port()
        os.environ |= {
            "STENOPOOL_API__SOURCE": f"{where}/in",
            "STENOPOOL_API__DESTINATION": f"{where}/out",
            "STENOPOOL_API__KEYS": str(keys_file(folder)),
            "STENOPOOL_API__RATE": "1000000",
        }
        with (folder / "log.txt").open("wb") as log:
            subprocess.run([_program(), "deploy", "--target=local"], check=True, stdout=log, stderr=log)
            serving = subprocess.Popen([_program(), "serve", f"--port={port}"], stdout=log, stderr=log)
        url = f"http://127.0.0.1:{port}"
        try:
            until_ready(url, serving)
            yield Installation(url, serving.pid, open_store(f"{where}/in"), open_store(f"{where}/out"))
        finally:
            serving.send_signal(signal.SIGTERM)
            serving.wait(60)


@contextmanager
def _store(kind: str, folder: Path) -> Iterator[str]:
    if kind == "folder":
        yield str(folder)
        return
    server = SeaweedFS(folder / "seaweedfs")
    server.start()
    try:
        os.environ |= server.environment
        yield f"s3://{server.make_bucket()}"
    finally:
        server.stop()


def _program() -> str:
    return str(Path(sys.executable).with_name("stenopool"))


def until_ready(url: str, process: "subprocess.Popen[bytes]") -> None:
    while process.poll() is None:
        try:
            if httpx.get(f"{url}/health/ready", timeout=10).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    raise RuntimeError("the API did not start")
