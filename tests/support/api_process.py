"""The API in a separate process, for measurements of a process."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.api_service import Installation, until_ready
from stenopool.settings import ApiSettings
from stenopool.storage import open_store
from tests.support.processes import free_port


@contextmanager
def serving_process(settings: ApiSettings, log: Path, **more: str) -> Iterator[Installation]:
    """`stenopool serve` with the settings' stores and keys. ``more``: STENOPOOL_API__ settings."""
    from prefect.settings import PREFECT_API_URL

    port = free_port()
    where = {"SOURCE": str(settings.source), "DESTINATION": str(settings.destination), "KEYS": str(settings.keys)}
    environment = {
        **os.environ,
        "PREFECT_API_URL": str(PREFECT_API_URL.value()),
        **{f"STENOPOOL_API__{name}": value for name, value in (where | more).items()},
    }
    command = [str(Path(sys.executable).with_name("stenopool")), "serve", f"--port={port}"]
    with log.open("wb") as output:
        served = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        url = f"http://127.0.0.1:{port}"
        until_ready(url, served)
        yield Installation(url, served.pid, open_store(where["SOURCE"]), open_store(where["DESTINATION"]))
    finally:
        served.terminate()
        served.wait(30)
