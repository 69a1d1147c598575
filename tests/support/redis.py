"""A real Redis for tests: Debian's program on a private port, with a password; its data survive a kill."""

import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import Server, free_port

if TYPE_CHECKING:
    from redis import Redis as Client


class Redis(Server):
    """One Redis. ``url`` reaches it."""

    def __init__(self, folder: Path) -> None:
        super().__init__("Redis", folder / "log.txt")
        self.password = secrets.token_urlsafe(12)
        self.port = free_port()
        self.url = f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.spawn(
            [
                "redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--requirepass", self.password,
                "--dir", str(self.log.parent), "--appendonly", "yes", "--save", "",
            ],
            self._answers,
        )  # fmt: skip

    def client(self) -> "Client":
        """A client, to inspect its contents."""
        from redis import Redis as Client

        return Client.from_url(self.url, decode_responses=True)

    def _answers(self) -> bool:
        from redis.exceptions import RedisError

        try:
            return bool(self.client().ping())
        except RedisError:
            return False


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """One for the session."""
    pytest.importorskip("redis", reason="no client for Redis: uv sync --extra server")
    if not shutil.which("redis-server"):
        pytest.skip("no Redis: apt-get install redis-server")
    server = Redis(tmp_path_factory.mktemp("redis"))
    try:
        server.start()
        yield server
    finally:
        server.stop()
