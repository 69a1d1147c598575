"""Shared fixtures: a real S3 server, and settings isolated from the developer's shell."""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from stenopool.settings import get_settings
from tests.support.browser import browser
from tests.support.fault_table import pytest_runtest_makereport
from tests.support.postgres import postgres
from tests.support.prefect_server import prefect_server
from tests.support.redis import redis
from tests.support.seaweedfs import SeaweedFS

__all__ = ["browser", "postgres", "prefect_server", "pytest_runtest_makereport", "redis"]  # for all

# Read when Prefect and the flows are imported: tasks carry their retry policy from then on.
os.environ["STENOPOOL_RETRY__BASE_DELAY"] = "0"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["PREFECT_LOGGING_LEVEL"] = "ERROR"
# As in deployments/embedded.env: on SQLite they delay requests by seconds.
os.environ["PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_ENABLED"] = "false"
os.environ["PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED"] = "false"

# Examples use disks and servers on shared machines, so the time of one example means nothing. In CI, each run has the
# same examples, so that a change is not blamed for a new example. Elsewhere they are random.
hypothesis.settings.register_profile("stenopool", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("stenopool")


@pytest.fixture(autouse=True)
def _fresh_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Settings are read once per process; each test reads its own, with scratch in its own folder."""
    monkeypatch.setenv("STENOPOOL_SCRATCH__DIR", str(tmp_path / "scratch"))
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[None]:
    """A real Prefect server on SQLite, started once per session; clients in this process use it."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """The server, started once per session; the `s3` fixture makes addresses reach it."""
    server = SeaweedFS(tmp_path_factory.mktemp("seaweedfs"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def s3(seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> Iterator[SeaweedFS]:
    """The server, with AWS_* set so that ``s3://`` addresses work here and in child processes."""
    from stenopool.storage.s3 import process_client

    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in seaweedfs.environment.items():
        monkeypatch.setenv(name, value)
    process_client.cache_clear()
    yield seaweedfs
    process_client.cache_clear()


@pytest.fixture
def bucket(s3: SeaweedFS) -> str:
    """Name of a new bucket on the server."""
    return s3.make_bucket()
