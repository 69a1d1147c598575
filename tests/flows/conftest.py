"""A real Prefect server for the flows, started once; pauses between retries cut short."""

import os
from collections.abc import Iterator

import pytest

# Read when the flows are imported: tasks carry their retry policy from then on.
os.environ["STENOPOOL_RETRY__BASE_DELAY"] = "0"
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["PREFECT_LOGGING_LEVEL"] = "ERROR"


@pytest.fixture(scope="session", autouse=True)
def prefect_server() -> Iterator[None]:
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield
