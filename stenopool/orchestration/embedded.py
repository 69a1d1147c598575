"""A Prefect server that lives and dies with this process, for runs on one machine. It imports Prefect when started."""

import atexit
import os
import shutil
import sqlite3
import subprocess
import time
from contextlib import closing, suppress
from pathlib import Path

from stenopool.runtime import processes
from stenopool.runtime.network import free_port
from stenopool.runtime.scratch import Scratch
from stenopool.settings import ScratchSettings

_ENVIRONMENT = {
    # 10-18 s on two cores; the default of 20 s is too near.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # They write beside the run's own requests, and SQLite refuses one of two: each refusal makes the run wait 2 s and
    # more, at worst a minute. What is lost is the history of task runs and events, which nobody looks at here.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": "false",
    # What each recording did is on the progress display; Prefect's own lines would tear it.
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
}
_EPHEMERAL = {
    # As Prefect's own ephemeral server: no pages, and none of the services that only a lasting server needs.
    "PREFECT_UI_ENABLED": "0",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
    # Every start would import every integration installed, 1.4 s, to register block types that a block's saving does.
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
    "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",
}
_DATABASE = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
_TRIES = 3

_server: "subprocess.Popen[bytes] | None" = None
_database: Path | None = None


def start() -> None:
    """Start the server and wait until it answers, unless Prefect is told of one elsewhere (PREFECT_API_URL)."""
    begin()
    ready()


def set_environment() -> None:
    """Set Prefect up for a run on one machine, before it is imported. What the user has set wins."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def begin() -> None:
    """Start the server's process and come back at once. It takes seconds of another core until it is `ready`.

    Prefect's `SubprocessASGIServer` does the same, but waits, and to be called it wants the whole server imported here:
    3 s and 70 MB for nothing.
    """
    set_environment()
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if settings.api.url:
        return
    if not settings.server.database.model_fields_set & {"connection_url", "driver"}:
        _make_database(settings.home)
    _spawn()


def ready() -> None:
    """Wait until the server that `begin` started answers. Raises RuntimeError if it does not."""
    if _server is None:
        return
    import httpx
    from prefect.settings import get_current_settings

    deadline = time.monotonic() + get_current_settings().server.ephemeral.startup_timeout_seconds
    tries = 1
    with httpx.Client() as client:
        while time.monotonic() < deadline:
            if _server.poll() is not None:
                if tries == _TRIES:
                    raise RuntimeError(f"Prefect's server ended as it started, with exit code {_server.returncode}.")
                tries += 1
                _spawn()  # somebody else was faster to take the port
            with suppress(httpx.TransportError):
                if client.get(f"{os.environ['PREFECT_API_URL']}/health").is_success:
                    _keep_empty_database()
                    return
            time.sleep(0.05)
    raise RuntimeError("Prefect's server did not answer in time. Is the machine very busy?")


def _spawn() -> None:
    global _server
    import prefect
    from prefect.context import refresh_global_settings_context

    port = free_port()
    command = processes.python_command("uvicorn", "--app-dir", str(prefect.__module_path__.parent), "--factory")
    command += ["prefect.server.api.server:create_app", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--log-level", "error", "--lifespan", "on"]
    os.environ.pop("PREFECT_API_URL", None)
    own = {_DATABASE: f"sqlite+aiosqlite:///{_database}"} if _database else {}
    _server = processes.spawn(command, env=processes.safe_environment() | _EPHEMERAL | own)
    atexit.register(processes.end, _server, 5)
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
    refresh_global_settings_context()


def _make_database(home: Path) -> None:
    """A database of this server alone, gone with this process: two servers on one SQLite file lock each other out."""
    global _database
    # Not on the runs' scratch disk, which may be small and full. It is closed when the process ends.
    _database = Scratch(ScratchSettings(dir=home)).__enter__().path / "prefect.db"
    with suppress(FileNotFoundError):
        shutil.copyfile(_empty_database(), _database)


def _keep_empty_database() -> None:
    """Keep a copy as the server has made it: to make the tables takes 3 s each time, to copy them nothing."""
    kept = _empty_database()
    if _database is None or kept.exists():
        return
    with suppress(OSError, sqlite3.Error):  # the next run tries again
        copy = _database.with_name("empty.db")
        with closing(sqlite3.connect(_database)) as made, closing(sqlite3.connect(copy)) as target:
            made.backup(target)
        beside = kept.with_name(f"{kept.name}.{os.getpid()}")
        shutil.copyfile(copy, beside)
        beside.replace(kept)


def _empty_database() -> Path:
    import prefect
    from prefect.settings import get_current_settings

    return get_current_settings().home / f"stenopool-empty-{prefect.__version__}.db"
