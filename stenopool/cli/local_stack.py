"""Prefect server, workers and API on this machine, until they are stopped.

`stenopool up` starts them with Prefect's page. `stenopool serve` starts them without it, if PREFECT_API_URL is not set.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn
from urllib.parse import urlsplit

import typer

from stenopool.cli.display import err, print_addresses, print_line
from stenopool.errors import OptionsInvalid
from stenopool.orchestration import prefect_server
from stenopool.orchestration.names import QUEUES, PoolKind, pool_name
from stenopool.runtime import signals
from stenopool.runtime.logs import writes_json
from stenopool.runtime.network import Address, is_loopback
from stenopool.runtime.processes import Supervisor, open_output, python_command
from stenopool.settings import get_settings

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

_PATIENCE = 180.0  # seconds; the first start creates the tables of the database, possibly on a busy machine
_TICK = 0.5
_SHOWN_LINES = 10
STOP_HINT = "Press Ctrl-C to stop."
_DATABASE, _REDIS = "PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_REDIS_MESSAGING_URL"


class _PrefectServer(NamedTuple):
    """The server for all programs: a running one, or one to start with ``environment`` on ``listening``."""

    url: str
    password: str | None
    listening: socket.socket | None = None
    environment: Mapping[str, str] = {}
    password_file: Path | None = None
    """The file of a password that was generated."""

    def make_client_environment(self) -> dict[str, str]:
        """The environment of the server's clients. The server's own secrets are not in it."""
        from stenopool.orchestration.deploy.server import SECRETS

        return {
            # By default, workers poll every 10 s, and the runs of a batch would wait half a minute for each other.
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            **{name: value for name, value in os.environ.items() if name not in SECRETS},
            "PREFECT_API_URL": self.url,
            **({"PREFECT_API_AUTH_STRING": self.password} if self.password else {}),
        }


def run_local_stack(
    prefect: Address,
    pools: str,
    api: Address | None,
    *,
    page: bool,
    no_auth: bool = False,
    deploy: bool = True,
    limit: int | None = None,
    pages: str | None = None,
) -> None:
    """Start everything, print where it is on stdout, and keep it running until Ctrl-C or SIGTERM.

    If PREFECT_API_URL is set, that server is used and none is started at ``prefect``. Port 0 is any free port.
    ``page``: serve Prefect's page. ``no_auth``: the API needs no key. ``deploy``: apply the deployments first.
    ``limit``: maximum number of concurrent runs of the worker of the pool gpu. ``pages``: address of the first worker's
    /metrics and /health; the next worker uses the next port. Raises `SetupError` before anything is started.
    """
    names = _parse_pools(pools)
    workers = {pool: _make_worker_command(pool, limit, pages, number) for number, pool in enumerate(names)}
    server = _choose_server(prefect, page=page)
    locations = _prepare_api(api, no_auth) if api else {}
    logs = _prepare_logs()
    # SIGTERM and a closed terminal stop it as Ctrl-C does, with exit code 0.
    signals.interrupt_on(*signals.STOPS)
    # A little longer than the grace period of flow runs.
    with suppress(KeyboardInterrupt), Supervisor(get_settings().stop.grace + 5, _say) as supervisor:
        try:
            with err.status("Starting Stenopool. The first start takes longer."):
                _start(supervisor, server, workers, api, locations, logs, no_auth=no_auth, deploy=deploy)
            rows = _describe(server, api, locations, page=page) | {"Workers": ", ".join(names), "Logs": str(logs or "")}
            print_addresses("Stenopool is running", rows, STOP_HINT)
            while True:
                supervisor.restart_ended()
                time.sleep(_TICK)
        except KeyboardInterrupt:
            _say("Stopping: runs in progress save their checkpoints. Press Ctrl-C again to kill them.")
    _say("Stopped.")


def _describe(
    server: _PrefectServer, api: Address | None, locations: Mapping[str, str], *, page: bool
) -> dict[str, str]:
    """Where everything is, for people; empty values for what does not run."""
    url = without_password(server.url)
    password = str(server.password_file or "") if page else ""
    if password and sys.stdout.isatty():  # for a person; other output may be kept as a log
        password = f"{server.password} (also in {password})"
    return {
        "Web page": api.url if api else "",
        "API": f"{api.url}/v1" if api else "",
        "Prefect": url.removesuffix("/api") if page else "",
        "Prefect API": url,
        "Password": password,
        "Recordings": locations.get("STENOPOOL_API__SOURCE", ""),
        "Transcripts": locations.get("STENOPOOL_API__DESTINATION", ""),
    }


def without_password(url: str) -> str:
    """The URL without its user and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _start(
    supervisor: Supervisor,
    server: _PrefectServer,
    workers: Mapping[PoolKind, list[str]],
    api: Address | None,
    locations: Mapping[str, str],
    logs: Path | None,
    *,
    no_auth: bool,
    deploy: bool,
) -> None:
    """Start the server, the deployments, the workers and the API, and wait until all are ready."""
    from prefect.client.orchestration import SyncPrefectClient

    environment = server.make_client_environment()
    if server.listening:
        log = _new_log(logs, "prefect-server")
        # Open until the end, so that no other program gets the port during a restart.
        command, pass_fds = prefect_server.make_command(server.listening), [server.listening.fileno()]
        child = supervisor.start(
            "The Prefect server", command, server.environment, last=True, pass_fds=pass_fds, log=log
        )
        _wait("The Prefect server did not start in time", lambda: _is_prefect(server.url), supervisor, log, child)
    if deploy:
        _deploy(supervisor.environment(environment), _new_log(logs, "deploy"))
    since = datetime.now(UTC)
    for pool, command in workers.items():
        supervisor.start(f"The worker of {pool}", command, environment, log=_new_log(logs, f"worker-{pool}"))
    if api:
        log = _new_log(logs, "api")
        options = ["--host", api.host, "--port", str(api.port), *(["--no-auth"] if no_auth else [])]
        command = python_command("stenopool", "serve", *options)
        child = supervisor.start("The API", command, {**environment, **locations}, log=log)
        _wait("The API did not start in time", lambda: _is_api(api.url), supervisor, log, child)
    client = SyncPrefectClient(server.url, auth_string=server.password)
    _wait("The workers did not start in time", lambda: _are_online(client, list(workers), since), supervisor, logs)


def _prepare_logs() -> Path | None:
    """The folder of the log files. None if the log is JSON: something collects it from stderr."""
    from prefect.settings import get_current_settings

    if writes_json():
        return None
    folder = get_current_settings().home / "stenopool-logs"
    folder.mkdir(0o700, parents=True, exist_ok=True)
    return folder


def _new_log(folder: Path | None, name: str) -> Path | None:
    """A new log file. That of the previous start is kept as ``NAME.log.1``."""
    if folder is None:
        return None
    file = folder / f"{name}.log"
    with suppress(FileNotFoundError):
        file.replace(f"{file}.1")
    return file


def _choose_server(address: Address, *, page: bool) -> _PrefectServer:
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    auth = settings.api.auth_string if settings.api.url else settings.server.api.auth_string
    password = auth.get_secret_value() if auth else None
    if settings.api.url:
        if not _is_prefect(settings.api.url):
            raise OptionsInvalid(
                f"No Prefect server responds at {without_password(settings.api.url)}.",
                remedy="Start it, or unset PREFECT_API_URL (also `prefect config unset PREFECT_API_URL`) to start one "
                "here.",
            )
        return _PrefectServer(settings.api.url, password)
    if not (is_loopback(address.host) or password):
        raise OptionsInvalid(
            f"On {address.host}, others could reach the Prefect server, and you have set no password.",
            remedy="Set PREFECT_SERVER_API_AUTH_STRING=user:password, or omit --host.",
        )
    if _is_prefect(url := f"{address.url}/api"):
        raise OptionsInvalid(
            f"A Prefect server is already running at {url}.",
            remedy=f"To use it, set PREFECT_API_URL={url} and PREFECT_API_AUTH_STRING to its password. Otherwise, "
            "choose another --port.",
        )
    environment = _make_server_environment(settings.home) | ({} if page else {"PREFECT_UI_ENABLED": "0"})
    listening = listen(address)
    file = None
    if not password:
        file = prefect_server.keep_password(settings.home)
        password = file.read_text("utf-8").strip()
    environment["PREFECT_SERVER_API_AUTH_STRING"] = password
    url = address._replace(port=listening.getsockname()[1]).url
    return _PrefectServer(f"{url}/api", password, listening, environment, file)


def _prepare_api(api: Address, no_auth: bool) -> Mapping[str, str]:
    """The API's source and destination, as environment variables. By default, they are folders in the home folder."""
    from stenopool.api.keys import require_file

    settings = get_settings().api
    if not no_auth:
        require_file(settings.keys)
    listen(api).close()
    own = {"SOURCE": settings.source, "DESTINATION": settings.destination}
    if not any(own.values()):
        home = Path.home() / "stenopool"
        own = {"SOURCE": str(home / "recordings"), "DESTINATION": str(home / "transcripts")}
        for folder in own.values():
            Path(str(folder)).mkdir(parents=True, exist_ok=True)
    return {f"STENOPOOL_API__{name}": value for name, value in own.items() if value}


def _make_server_environment(home: Path) -> dict[str, str]:
    """The settings for SQLite or, if both addresses are set, for PostgreSQL and Redis."""
    from stenopool.orchestration.deploy.server import addresses, settings

    database, redis = os.environ.get(_DATABASE, ""), os.environ.get(_REDIS)
    if database.startswith("postgres") != bool(redis):
        raise OptionsInvalid(
            "PostgreSQL and Redis have to be used together.", remedy=f"Set both {_DATABASE} and {_REDIS}, or neither."
        )
    own = {_DATABASE: database or f"sqlite+aiosqlite:///{_make_database(home)}"}
    if redis:
        own = addresses(database=database, redis=redis)
    return {**os.environ, **settings(redis=bool(redis)), **own}


def _make_database(home: Path) -> Path:
    """The database file of the server. Only its user can read it: it contains saved secrets and runs' parameters."""
    # Not prefect.db, which `prefect server start` uses: two servers on one SQLite file block each other.
    file = home / "stenopool.db"
    home.mkdir(parents=True, exist_ok=True)
    file.touch(0o600)
    file.chmod(0o600)  # earlier versions created it readable; SQLite's other files get its mode
    return file


def _deploy(environment: dict[str, str], log: Path | None) -> None:
    """Apply the deployments in a separate process, so that its imports do not stay in this one."""
    command = python_command("stenopool", "deploy", "--target", "local")
    with open_output(log) as output:
        done = subprocess.run(command, env=environment, stdout=output, stderr=output, check=False)
    if done.returncode:
        _give_up("The deployments could not be applied", log)


def _are_online(client: "SyncPrefectClient", pools: Sequence[PoolKind], since: datetime) -> bool:
    import httpx
    from prefect.exceptions import ObjectNotFound

    try:
        workers = [worker for pool in pools for worker in client.read_workers_for_work_pool(pool_name(pool))]
    except (ObjectNotFound, httpx.HTTPError):
        return False
    online = {worker.name for worker in workers if worker.last_heartbeat_time and worker.last_heartbeat_time > since}
    return online >= {_worker_name(pool) for pool in pools}


def _worker_name(pool: str) -> str:
    return f"{socket.gethostname()}-{pool}"


def _make_worker_command(pool: PoolKind, limit: int | None, pages: str | None, number: int) -> list[str]:
    options = ["--pool", pool_name(pool), "--name", _worker_name(pool)]
    if limit and pool == "gpu":
        options += ["--limit", str(limit)]
    if pages is None:
        return python_command("prefect", "worker", "start", "--type", "process", *options)
    try:
        host, port = Address.parse(pages)
    except ValueError as error:
        raise OptionsInvalid(f"{error}.", remedy="Give --pages as host:port, e.g. 127.0.0.1:9481.") from error
    return python_command("stenopool", "worker", *options, "--host", host, "--port", str(port + number))


def _wait(
    failure: str,
    is_ready: Callable[[], bool],
    supervisor: Supervisor,
    log: Path | None,
    needed: subprocess.Popen[bytes] | None = None,
) -> None:
    """Wait until it is ready. Gives up after a time limit, or at once if a child that it needs has ended."""
    deadline = time.monotonic() + _PATIENCE
    while not is_ready():
        if time.monotonic() > deadline or (needed and needed.poll() is not None):
            _give_up(failure, log)
        supervisor.restart_ended()
        time.sleep(_TICK)


def _parse_pools(pools: str) -> list[PoolKind]:
    names = [pool.strip() for pool in pools.split(",")]
    kinds = [kind for name in names for kind in QUEUES if kind == name]
    if len(kinds) < len(names):
        raise OptionsInvalid(
            f"There is no work pool {next(name for name in names if name not in QUEUES)}.",
            remedy=f"Give --pools one or more of {', '.join(QUEUES)}, separated by commas.",
        )
    return kinds


def listen(address: Address) -> socket.socket:
    """Listen there. Raises `OptionsInvalid` if that is not possible."""
    try:
        return address.listen()
    except OSError as error:
        raise OptionsInvalid(
            f"Cannot listen on {address.host}, port {address.port}: {error.strerror}.",
            remedy="Choose another --port, --api-port or --host.",
        ) from error


def _is_api(url: str) -> bool:
    from stenopool.client import Client

    with Client(url, timeout=3) as client:
        return client.is_alive()


def _is_prefect(url: str) -> bool:
    return _get(f"{url}/health") == "true"


def _get(url: str) -> str:
    """The response body; empty if there is no response or an error."""
    import httpx

    try:
        answer = httpx.get(url, timeout=3)  # another program may have the port and never respond
    except httpx.HTTPError:
        return ""
    return answer.text if answer.is_success else ""


def _say(line: str) -> None:
    print_line(line, err)


def _give_up(failure: str, log: Path | None) -> NoReturn:
    """Print the failure, with the end of the log, and exit with 1. ``log``: a file, a folder of files, or stderr."""
    if log and log.is_file():
        for line in log.read_text("utf-8", "replace").splitlines()[-_SHOWN_LINES:]:
            _say(line)
    _say(f"{failure}; see {log or 'the log above'}.")
    raise typer.Exit(1)
