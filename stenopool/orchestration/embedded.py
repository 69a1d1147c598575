"""A Prefect server that starts and ends with this process, for runs on one machine. Imports Prefect only on start."""

import atexit
import os
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing, suppress
from pathlib import Path

from stenopool import shipped
from stenopool.orchestration import prefect_server
from stenopool.runtime import processes
from stenopool.runtime.network import Address
from stenopool.runtime.scratch import Scratch
from stenopool.settings import ScratchSettings

_server: "subprocess.Popen[bytes] | None" = None
_database: Path | None = None
_empty: Path | None = None


def set_environment() -> None:
    """Configure Prefect for a run on one machine, before it is imported. The user's settings take precedence."""
    for name, value in shipped.read_variables("deployments/embedded.env").items():
        os.environ.setdefault(name, value)


def begin() -> None:
    """Start the server's process without waiting for it, unless PREFECT_API_URL sets another server.

    It needs a few seconds of another core until it is `ready`. Prefect's `SubprocessASGIServer` does the same but
    waits, and it imports the whole server into this process, which costs 3 s and 70 MB.
    """
    set_environment()
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if settings.api.url:
        return
    if not settings.server.database.model_fields_set & {"connection_url", "driver"}:
        _make_database(settings.home)
    password = settings.server.api.auth_string
    _spawn((password and password.get_secret_value()) or prefect_server.make_password())


def ready() -> None:
    """Wait until the server started by `begin` responds. Raises RuntimeError if it does not."""
    if _server is None:
        return
    import httpx
    from prefect.settings import get_current_settings

    deadline = time.monotonic() + get_current_settings().server.ephemeral.startup_timeout_seconds
    with httpx.Client(timeout=1) as client:
        while time.monotonic() < deadline:
            if _server.poll() is not None:
                raise RuntimeError(f"The Prefect server exited during startup with code {_server.returncode}.")
            with suppress(httpx.TransportError):
                if client.get(f"{os.environ['PREFECT_API_URL']}/health").is_success:
                    _keep_empty_database()
                    return
            time.sleep(0.05)
    raise RuntimeError("The Prefect server did not respond in time. The machine may be overloaded.")


def _spawn(password: str) -> None:
    """Start the server on a free port, and configure this process and its children as clients."""
    global _server
    from prefect.context import refresh_global_settings_context

    own = {"PREFECT_SERVER_API_AUTH_STRING": password}
    if _database:
        own["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = f"sqlite+aiosqlite:///{_database}"
    with Address("127.0.0.1", 0).listen() as listening:
        command, port = prefect_server.make_command(listening), listening.getsockname()[1]
        environment = processes.safe_environment() | own
        _server = processes.spawn(command, env=environment, pass_fds=[listening.fileno()])
    atexit.register(processes.end, _server, 5)
    os.environ |= {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "PREFECT_API_AUTH_STRING": password}
    refresh_global_settings_context()


def _make_database(home: Path) -> None:
    """Create a database for this server only, deleted with this process: two servers on one SQLite file block each
    other.
    """
    global _database, _empty
    import prefect

    _empty = home / f"stenopool-empty-{prefect.__version__}.db"
    # Not on the runs' scratch disk, which may be small and full. It is deleted when the process ends.
    _database = Scratch(ScratchSettings(dir=home)).__enter__().path / "prefect.db"
    with suppress(FileNotFoundError):
        shutil.copyfile(_empty, _database)


def _keep_empty_database() -> None:
    """Keep a copy of the new database: creating its tables takes 3 s each time, copying it takes no time."""
    if _database and _empty and not _empty.exists():
        with suppress(OSError, sqlite3.Error):  # the next run tries again
            copy = _database.with_name("empty.db")  # on the same disk, so that the rename is atomic
            with closing(sqlite3.connect(_database)) as made, closing(sqlite3.connect(copy)) as target:
                made.backup(target)
            copy.replace(_empty)
