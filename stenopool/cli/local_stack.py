"""The whole installation on this machine, running until it is stopped: Prefect server, workers, API.

`stenopool up` starts it with Prefect's page; `stenopool serve` does without, where no Prefect server is named.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import typer

from stenopool.cli.display import err, print_line
from stenopool.errors import OptionsInvalid
from stenopool.orchestration import prefect_server
from stenopool.orchestration.names import QUEUES, PoolKind, pool_name
from stenopool.runtime import signals
from stenopool.runtime.network import Address, is_loopback
from stenopool.runtime.processes import Supervisor, python_command
from stenopool.settings import get_settings

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

_PATIENCE = 180.0  # a first start makes the database's tables, on two cores that others use too
_TICK = 0.5
_DATABASE, _REDIS = "PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_REDIS_MESSAGING_URL"


class _PrefectServer(NamedTuple):
    """The server that all use: one that answers already, or one to start with ``environment`` on ``listening``."""

    url: str
    password: str | None
    listening: socket.socket | None = None
    environment: Mapping[str, str] = {}

    def make_client_environment(self) -> dict[str, str]:
        """For all that uses the server; what the server itself stands on is no business of a flow run's."""
        from stenopool.orchestration.deploy.server import SECRETS

        return {
            # Asked for work every 10 s, the runs that a batch is made of would wait half a minute for each other.
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
    """Start it all, say so in one line on stdout, and keep it running until Ctrl-C or SIGTERM.

    With PREFECT_API_URL set, that server is used and none is started at ``prefect``; port 0 is any free one. ``page``:
    Prefect's. ``no_auth``: the API asks nobody for a key. ``deploy``: apply the deployments first. ``limit``: runs at a
    time of the worker of the pool gpu. ``pages``: address
    of the first worker's /metrics and /health, the next one has the next port. Raises `SetupError` before anything is
    started.
    """
    from prefect.client.orchestration import SyncPrefectClient

    names = _parse_pools(pools)
    workers = {pool: _make_worker_command(pool, limit, pages, number) for number, pool in enumerate(names)}
    server = _choose_server(prefect, page=page)
    api_environment = _prepare_api(api, no_auth) if api else {}
    environment = server.make_client_environment()
    # SIGTERM and a closed terminal stop it as Ctrl-C does, and that is a good end.
    signals.interrupt_on(*signals.STOPS)
    # A little more than flow runs give themselves.
    with suppress(KeyboardInterrupt), Supervisor(get_settings().stop.grace + 5, _say) as supervisor:
        if server.listening:
            # Open until the end, so that nobody takes the port while the server is started again.
            command, pass_fds = prefect_server.make_command(server.listening), [server.listening.fileno()]
            child = supervisor.start("The Prefect server", command, server.environment, last=True, pass_fds=pass_fds)
            _wait("The Prefect server did not answer in time", lambda: _is_prefect(server.url), supervisor, child)
        if deploy:
            _deploy(supervisor.environment(environment))
        since = datetime.now(UTC)
        for pool, command in workers.items():
            supervisor.start(f"The worker of {pool}", command, environment)
        if api:
            options = ["--host", api.host, "--port", str(api.port), *(["--no-auth"] if no_auth else [])]
            command = python_command("stenopool", "serve", *options)
            child = supervisor.start("The API", command, {**environment, **api_environment})
            _wait("The API did not answer in time", lambda: _is_api(api.url), supervisor, child)
        client = SyncPrefectClient(server.url, auth_string=server.password)
        _wait("The workers did not report in time", lambda: _are_online(client, names, since), supervisor)
        parts = [
            *([f"API {api.url}"] if api else []),
            *([f"page {server.url.removesuffix('/api')}"] if page else []),
            f"interface {server.url}",
            f"workers {', '.join(names)}",
        ]
        print(f"Stenopool is up: {', '.join(parts)}", flush=True)
        while True:
            supervisor.restart_ended()
            time.sleep(_TICK)
    _say("Stopped.")


def _choose_server(address: Address, *, page: bool) -> _PrefectServer:
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    auth = settings.api.auth_string if settings.api.url else settings.server.api.auth_string
    password = auth.get_secret_value() if auth else None
    if settings.api.url:
        if not _is_prefect(settings.api.url):
            raise OptionsInvalid(
                f"No Prefect server answers at {settings.api.url}.",
                remedy="Start it, or unset PREFECT_API_URL (also `prefect config unset PREFECT_API_URL`) to have one "
                "here.",
            )
        return _PrefectServer(settings.api.url, password)
    if not (is_loopback(address.host) or password):
        raise OptionsInvalid(
            f"On {address.host} others could reach the server, and you have set no password.",
            remedy="Set PREFECT_SERVER_API_AUTH_STRING=user:password, or leave --host out.",
        )
    if _is_prefect(url := f"{address.url}/api"):
        raise OptionsInvalid(
            f"A Prefect server answers at {url} already.",
            remedy=f"Set PREFECT_API_URL={url} to use it, and PREFECT_API_AUTH_STRING to its password, or give another "
            "--port.",
        )
    environment = _make_server_environment(settings.home) | ({} if page else {"PREFECT_UI_ENABLED": "0"})
    listening = _listen(address)
    if not password:
        file = prefect_server.keep_password(settings.home)
        password = file.read_text("utf-8").strip()
        if page:
            # A terminal is read by a person; whatever else takes this line down is a log.
            shown = f": {password}" if sys.stderr.isatty() else ""
            _say(f"Prefect's page asks once for the password in {file}{shown}")
    environment["PREFECT_SERVER_API_AUTH_STRING"] = password
    url = address._replace(port=listening.getsockname()[1]).url
    return _PrefectServer(f"{url}/api", password, listening, environment)


def _prepare_api(api: Address, no_auth: bool) -> Mapping[str, str]:
    """What the API needs in addition; its folders are in the home folder where none are set."""
    from stenopool.api.keys import require_file

    settings = get_settings().api
    if not no_auth:
        require_file(settings.keys)
    _listen(api).close()
    own = {"SOURCE": settings.source, "DESTINATION": settings.destination}
    if not any(own.values()):
        home = Path.home() / "stenopool"
        own = {"SOURCE": str(home / "recordings"), "DESTINATION": str(home / "transcripts")}
        for folder in own.values():
            Path(str(folder)).mkdir(parents=True, exist_ok=True)
    return {f"STENOPOOL_API__{name}": value for name, value in own.items() if value}


def _make_server_environment(home: Path) -> dict[str, str]:
    """SQLite for one machine; the profile of a server room where its addresses are given."""
    from stenopool.orchestration.deploy.server import addresses, settings

    database, redis = os.environ.get(_DATABASE, ""), os.environ.get(_REDIS)
    if database.startswith("postgres") != bool(redis):
        raise OptionsInvalid(
            "PostgreSQL and Redis go together.", remedy=f"Set both {_DATABASE} and {_REDIS}, or neither."
        )
    own = {_DATABASE: database or f"sqlite+aiosqlite:///{_make_database(home)}"}
    if redis:
        own = addresses(database=database, redis=redis)
    return {**os.environ, **settings(redis=bool(redis)), **own}


def _make_database(home: Path) -> Path:
    """The file of the server's database, for its user alone: it holds saved secrets, and what runs were given."""
    # `prefect server start` uses prefect.db, and two servers on one SQLite file lock each other out.
    file = home / "stenopool.db"
    home.mkdir(parents=True, exist_ok=True)
    file.touch(0o600)
    file.chmod(0o600)  # earlier versions left it open; SQLite's files beside it follow it
    return file


def _deploy(environment: dict[str, str]) -> None:
    """In a process of its own: what it imports must not stay in this one."""
    command = python_command("stenopool", "deploy", "--target", "local")
    if subprocess.run(command, env=environment, stdout=sys.stderr.fileno(), check=False).returncode:
        _give_up("The deployments could not be applied")


def _are_online(client: "SyncPrefectClient", pools: list[PoolKind], since: datetime) -> bool:
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
        raise OptionsInvalid(f"{error}.", remedy="Write --pages like 127.0.0.1:9481.") from error
    return python_command("stenopool", "worker", *options, "--host", host, "--port", str(port + number))


def _wait(
    failure: str, reached: Callable[[], bool], supervisor: Supervisor, needed: subprocess.Popen[bytes] | None = None
) -> None:
    """Until it is reached; gives up when that takes too long, or at once when a child that it needs has ended."""
    deadline = time.monotonic() + _PATIENCE
    while not reached():
        if time.monotonic() > deadline or (needed and needed.poll() is not None):
            _give_up(failure)
        supervisor.restart_ended()
        time.sleep(_TICK)


def _parse_pools(pools: str) -> list[PoolKind]:
    names = [pool.strip() for pool in pools.split(",")]
    kinds = [kind for name in names for kind in QUEUES if kind == name]
    if len(kinds) < len(names):
        raise OptionsInvalid(
            f"There is no work pool {next(name for name in names if name not in QUEUES)}.",
            remedy=f"--pools takes {', '.join(QUEUES)}, with a comma between them.",
        )
    return kinds


def _listen(address: Address) -> socket.socket:
    try:
        return address.listen()
    except OSError as error:
        raise OptionsInvalid(
            f"Nothing can be served on {address.host}, port {address.port}: {error.strerror}.",
            remedy="Give another --port, --api-port or --host.",
        ) from error


def _is_api(url: str) -> bool:
    from stenopool.client import Client

    with Client(url, timeout=3) as client:
        return client.is_alive()


def _is_prefect(url: str) -> bool:
    return _get(f"{url}/health") == "true"


def _get(url: str) -> str:
    """What is there; empty if nothing answers, or refuses."""
    import httpx

    try:
        answer = httpx.get(url, timeout=3)  # whatever has the port may never answer
    except httpx.HTTPError:
        return ""
    return answer.text if answer.is_success else ""


def _say(line: str) -> None:
    print_line(line, err)


def _give_up(failure: str) -> NoReturn:
    _say(f"{failure}; see the log above.")
    raise typer.Exit(1)
