"""A large upload uses little memory. For 2 GB, run `python -m benchmarks.api_upload`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.api_service import Installation
from benchmarks.api_upload import upload
from stenopool.settings import ApiSettings
from tests.support.api_process import serving_process

SIZE = 300 * 1024 * 1024


@pytest.fixture
def process(deployed: None, settings: ApiSettings, s3: object, bucket: str, tmp_path: Path) -> Iterator[Installation]:
    """The API in a separate process, on S3."""
    where = {"source": f"s3://{bucket}/in", "destination": f"s3://{bucket}/out"}
    with serving_process(settings.model_copy(update=where), tmp_path / "log.txt") as served:
        yield served


def test_memory_for_an_upload_does_not_depend_on_its_size(process: Installation) -> None:
    upload(process, 6 * 1024 * 1024)  # loads what S3 and the form need
    before = process.peak_memory()
    upload(process, SIZE)
    assert process.peak_memory() - before < 50 * 1024 * 1024
    assert process.peak_memory() < 300 * 1000**2
