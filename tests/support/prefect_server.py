"""A real Prefect server for tests, with our profile, on PostgreSQL and Redis, with a password."""

import secrets
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stenopool.orchestration.deploy.server import addresses, settings
from tests.support.postgres import Postgres
from tests.support.processes import Server, free_port, without_prefect
from tests.support.redis import Redis

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient


class PrefectServer(Server):
    """One Prefect server. ``kill`` and ``start`` restart it on the same port with the same database."""

    def __init__(self, folder: Path, postgres: Postgres, redis: Redis) -> None:
        super().__init__("the Prefect server", folder / "server.log")
        self.folder = folder
        self.postgres = postgres
        self.redis = redis
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.auth = f"stenopool:{secrets.token_urlsafe(12)}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables that make Prefect's client, workers and flow runs use this server."""
        return {
            "PREFECT_API_URL": self.url,
            "PREFECT_API_AUTH_STRING": self.auth,
            # Its folder for settings and results, so that the developer's own is not changed.
            "PREFECT_HOME": str(self.folder),
            "DO_NOT_TRACK": "1",
        }

    def start(self) -> None:
        """Start it and wait until it answers: 10-20 s, because the first start creates the tables."""
        environment = {
            **without_prefect(),
            **settings(),
            **addresses(database=self.postgres.url, redis=self.redis.url),
            "PREFECT_SERVER_API_AUTH_STRING": self.auth,
            "PREFECT_HOME": str(self.folder),
        }
        command = [sys.executable, "-m", "prefect", "server", "start", "--host=127.0.0.1", f"--port={self.port}"]
        self.spawn(command, self.answers, environment=environment)

    def answers(self) -> bool:
        """Whether it is healthy; needs no password."""
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.read() == b"true")
        except OSError:
            return False

    def client(self) -> "SyncPrefectClient":
        """Prefect's own client, for preparations and checks."""
        from prefect.client.orchestration import SyncPrefectClient

        return SyncPrefectClient(self.url, auth_string=self.auth)


@pytest.fixture(scope="session")
def prefect_server(
    tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, redis: Redis
) -> Iterator[PrefectServer]:
    """One for the session."""
    server = PrefectServer(tmp_path_factory.mktemp("prefect-server"), postgres, redis)
    try:
        server.start()
        yield server
    finally:
        server.stop()
