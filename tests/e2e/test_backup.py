"""Back up and restore Prefect's database with the commands of docs/operations/backup.md."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.exceptions import PrefectHTTPStatusError

from tests.support.markdown import REPOSITORY, blocks
from tests.support.postgres import PROGRAMS, Postgres
from tests.support.prefect_server import PrefectServer
from tests.support.redis import Redis

pytestmark = pytest.mark.slow
GUIDE = REPOSITORY / "docs" / "operations" / "backup.md"


@pytest.fixture
def server(tmp_path: Path, redis: Redis) -> Iterator[PrefectServer]:
    """A server with its own database, which the test deletes."""
    if not PROGRAMS:
        pytest.skip("no PostgreSQL: apt-get install postgresql")
    postgres = Postgres()
    server = PrefectServer(tmp_path, postgres, redis)
    try:
        postgres.start()
        server.start()
        yield server
    finally:
        server.stop()
        postgres.remove()


def run_guides(program: str, server: PrefectServer, folder: Path) -> None:
    """Run the line of the guide that starts with the program."""
    (line,) = [line for block in blocks(GUIDE, "sh") for line in block.splitlines() if line.startswith(program)]
    environment = os.environ | {"DATABASE_URL": server.postgres.url, "PATH": f"{PROGRAMS[0]}:{os.environ['PATH']}"}
    result = subprocess.run(["sh", "-c", line], env=environment, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_saved_data_is_restored(server: PrefectServer, tmp_path: Path) -> None:
    with server.client() as client:
        client._client.post("/variables/", json={"name": "kept", "value": "before"}).raise_for_status()
    run_guides("pg_dump", server, tmp_path)
    with server.client() as client:
        client._client.post("/variables/", json={"name": "later", "value": "after"}).raise_for_status()
    server.stop()
    server.postgres.query("DROP SCHEMA public CASCADE; CREATE SCHEMA public")

    run_guides("pg_restore", server, tmp_path)
    server.start()
    with server.client() as client:
        assert client._client.get("/variables/name/kept").json()["value"] == "before"
        with pytest.raises(PrefectHTTPStatusError, match="404 Not Found"):
            client._client.get("/variables/name/later")
