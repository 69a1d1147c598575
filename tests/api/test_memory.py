"""A large upload takes little of the API's memory. 2 GB of it: `python -m benchmarks.api_upload`."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.api_service import Installation, until_ready
from benchmarks.api_upload import upload
from stenopool.settings import ApiSettings
from stenopool.storage import open_store
from tests.support.processes import free_port

SIZE = 300 * 1024 * 1024


@pytest.fixture
def process(deployed: None, settings: ApiSettings, s3: object, bucket: str, tmp_path: Path) -> Iterator[Installation]:
    """The API in a process of its own, on S3."""
    import os

    from prefect.settings import PREFECT_API_URL

    port, where = free_port(), {"SOURCE": f"s3://{bucket}/in", "DESTINATION": f"s3://{bucket}/out"}
    environment = {
        **os.environ,
        "PREFECT_API_URL": str(PREFECT_API_URL.value()),
        **{f"STENOPOOL_API__{name}": value for name, value in where.items()},
        "STENOPOOL_API__KEYS": str(settings.keys),
    }
    command = [str(Path(sys.executable).with_name("stenopool")), "serve", f"--port={port}"]
    with (tmp_path / "log.txt").open("wb") as log:
        served = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        until_ready(url, served)
        yield Installation(url, served.pid, open_store(where["SOURCE"]), open_store(where["DESTINATION"]))
    finally:
        served.terminate()
        served.wait(30)


def test_an_upload_takes_a_few_parts_of_memory_whatever_its_size(process: Installation) -> None:
    upload(process, 6 * 1024 * 1024)  # what S3 and the form need is there from now on
    before = process.peak_memory()
    upload(process, SIZE)
    assert process.peak_memory() - before < 50 * 1024 * 1024
    assert process.peak_memory() < 300 * 1000**2
