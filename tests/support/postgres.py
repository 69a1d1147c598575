"""A real PostgreSQL for tests: Debian's programs on a private port, with a password and a separate data folder."""

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import Server, free_port

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


class Postgres(Server):
    """One PostgreSQL with the database ``prefect``. ``url`` reaches it."""

    def __init__(self) -> None:
        # Not below pytest's folders, which the user that PostgreSQL needs cannot enter if we are root.
        self.folder = Path(tempfile.mkdtemp(prefix="stenopool-postgres-"))
        super().__init__("PostgreSQL", self.folder / "log.txt")
        self.data = self.folder / "data"
        self.password = secrets.token_urlsafe(12)
        self.port = free_port()
        self.url = f"postgresql://prefect:{self.password}@127.0.0.1:{self.port}/prefect"
        self.user = _unprivileged()
        if self.user:
            shutil.chown(self.folder, self.user)

    def start(self) -> None:
        """Start it; the first time, create the data folder and the database."""
        new = not self.data.exists()
        if new:
            (self.folder / "password").write_text(self.password)
            self._run(
                "initdb", "--no-sync", "--auth=scram-sha-256", "--username=prefect", "--encoding=UTF8", "--locale=C",
                f"--pwfile={self.folder / 'password'}", f"--pgdata={self.data}",
            )  # fmt: skip
        self.spawn(
            [
                str(PROGRAMS[0] / "postgres"), "-D", str(self.data), "-p", str(self.port),
                "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self.folder}",
                # Safe for the kills in these tests; only a power cut would need it.
                "-c", "fsync=off",
            ],
            lambda: self._try("pg_isready", "--host=127.0.0.1", f"--port={self.port}"),
            user=self.user,
        )  # fmt: skip
        if new:
            self._run("createdb", "--host=127.0.0.1", f"--port={self.port}", "--username=prefect", "prefect")

    def query(self, statement: str) -> str:
        """The result of a statement in psql's format: a line per row, columns divided by ``|``."""
        return self._run("psql", "--no-align", "--tuples-only", f"--command={statement}", self.url)

    def dump(self) -> str:
        """All contents of its tables."""
        return self._run("pg_dump", self.url)

    def remove(self) -> None:
        """Stop it and delete its data."""
        self.stop()
        shutil.rmtree(self.folder)

    def _run(self, program: str, *arguments: str) -> str:
        return subprocess.run(
            [str(PROGRAMS[0] / program), *arguments],
            user=self.user,
            env={"PATH": os.environ["PATH"], "PGPASSWORD": self.password},
            cwd=self.folder,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def _try(self, program: str, *arguments: str) -> bool:
        try:
            self._run(program, *arguments)
        except subprocess.CalledProcessError:
            return False
        return True


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One for the session."""
    if not PROGRAMS:
        pytest.skip("no PostgreSQL: apt-get install postgresql")
    server = Postgres()
    try:
        server.start()
        yield server
    finally:
        server.remove()


def _unprivileged() -> str | None:
    """The user that PostgreSQL runs as: it refuses to be root."""
    if os.getuid() != 0:
        return None
    return next((user.pw_name for user in pwd.getpwall() if user.pw_name == "postgres"), "nobody")
