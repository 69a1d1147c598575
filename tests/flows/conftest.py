"""The flows' tests need a Prefect server."""

import pytest


@pytest.fixture(autouse=True)
def _server(prefect_api: None) -> None:
    pass
