"""Everything on this machine, kept running until it is told to stop: Prefect server, workers, API.

`stenopool up` starts it with Prefect's page; `stenopool serve` does without, where no Prefect server is named.
"""

import ipaddress
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import typer
from rich.console import Console

from stenopool.errors import ErrorCode, SetupError
from stenopool.runtime.supervisor import Child, Children

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

_PATIENCE = 180.0  # a first start makes the database's tables, on two cores that others use too
_TICK = 0.5
_DATABASE, _REDIS = "PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_REDIS_MESSAGING_URL"

err = Console(stderr=True)


class Address(NamedTuple):
    """Where something is served."""

    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{_from_here(self.host)}:{self.port}"


def keep(
    prefect: Address,
    pools: str,
    api: Address | None,
    *,
    page: bool,
    no_auth: bool = False,
    deploy: bool = True,
    pages: str | None = None,
) -> None:
    """Start it all, say so in one line on stdout, and keep it running until Ctrl-C or SIGTERM.

    With PREFECT_API_URL set, that server is used and none is started at ``prefect``. ``page``: Prefect's. ``no_auth``:
    the API asks nobody for a key. ``deploy``: apply the deployments first. ``pages``: address of the first worker's
    /metrics and /health, the next one has the next port.
    """
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.settings import get_current_settings

    from stenopool.settings import get_settings

    settings = get_current_settings()
    auth = settings.api.auth_string if settings.api.url else settings.server.api.auth_string
    password = auth.get_secret_value() if auth else None
    url = settings.api.url or f"{prefect.url}/api"
    client = SyncPrefectClient(url, auth_string=password)
    names = _named(pools)
    workers = {pool: _working(pool, pages, number) for number, pool in enumerate(names)}
    if settings.api.url:
        _must_answer(url)
        server = None
    else:
        _must_be_free(url, prefect, password)
        server = _server_environment(settings.home) | ({} if page else {"PREFECT_UI_ENABLED": "0"})
    environment = _client_environment(url, password)
    where = _api_environment(api, no_auth) if api else {}

    # A little more than flow runs give themselves.
    with _until_stopped(), Children(get_settings().stop.grace + 5, _say) as children:
        if server is not None:
            command = ["server", "start", "--host", prefect.host, "--port", str(prefect.port)]
            child = children.start("The Prefect server", _prefect(*command), server, last=True)
            _wait("The Prefect server does not answer", lambda: _is_prefect(url), children, child)
        if deploy:
            _deploy({**environment, **children.mark()})
        since = datetime.now(UTC)
        for pool, command in workers.items():
            children.start(f"The worker of {pool}", command, environment)
        if api:
            command = ["serve", "--host", api.host, "--port", str(api.port), *(["--no-auth"] if no_auth else [])]
            serving = children.start("The API", _stenopool(*command), {**environment, **where})
            _wait("The API does not answer", lambda: _is_live(api.url), children, serving)
        _wait("The workers do not report", lambda: all(_online(client, pool, since) for pool in names), children)
        said = [
            *([f"API {api.url}"] if api else []),
            *([f"page {url.removesuffix('/api')}"] if page else []),
            f"interface {url}",
            f"workers {', '.join(names)}",
        ]
        print(f"Stenopool is up: {', '.join(said)}")
        sys.stdout.flush()
        while True:
            children.tend()
            time.sleep(_TICK)


def _api_environment(api: Address, no_auth: bool) -> Mapping[str, str]:
    """What the API needs besides; its folders are in the home folder where none are set."""
    from stenopool.settings import get_settings

    settings = get_settings().api
    if settings.keys is None and not no_auth:
        raise SetupError(
            ErrorCode.OPTIONS_INVALID,
            "The API has no keys.",
            remedy="Set STENOPOOL_API__KEYS (`python -m stenopool.api.keys` makes a line); on loopback, or --no-auth.",
        )
    _must_be_bound(api)
    own = {"SOURCE": settings.source, "DESTINATION": settings.destination}
    if not any(own.values()):
        home = Path.home() / "stenopool"
        own = {"SOURCE": str(home / "recordings"), "DESTINATION": str(home / "transcripts")}
        for folder in own.values():
            Path(str(folder)).mkdir(parents=True, exist_ok=True)
    return {f"STENOPOOL_API__{name}": value for name, value in own.items() if value}


@contextmanager
def _until_stopped() -> Iterator[None]:
    """SIGTERM and a closed terminal stop it as Ctrl-C does, and that is a good end."""
    # SIGINT is ignored in what a script starts with `&`, and so it would be in workers: they end by that one only.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        _say("Stopped.")


def _server_environment(home: Path) -> dict[str, str]:
    """SQLite for one machine; the profile of a server room where its addresses are given."""
    from stenopool.orchestration.deploy.server import addresses, settings

    database, redis = os.environ.get(_DATABASE, ""), os.environ.get(_REDIS)
    if database.startswith("postgres") != bool(redis):
        raise SetupError(
            ErrorCode.OPTIONS_INVALID,
            "PostgreSQL and Redis go together.",
            remedy=f"Set both {_DATABASE} and {_REDIS}, or neither.",
        )
    # `stenopool run` has a server of its own on prefect.db, and two servers on one SQLite file lock each other out.
    own = {_DATABASE: database or f"sqlite+aiosqlite:///{home / 'stenopool.db'}"}
    return {
        **os.environ,
        **settings(redis=bool(redis)),
        **(addresses(database=database, redis=redis) if redis else own),
    }


def _client_environment(url: str, password: str | None) -> dict[str, str]:
    """For all that uses the server; what the server itself stands on is no business of a flow run's."""
    from stenopool.orchestration.deploy.server import SECRETS

    return {
        # Asked for work every 10 s, the runs that a batch is made of would wait half a minute for each other.
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        **{name: value for name, value in os.environ.items() if name not in SECRETS},
        "PREFECT_API_URL": url,
        **({"PREFECT_API_AUTH_STRING": password} if password else {}),
    }


def _deploy(environment: dict[str, str]) -> None:
    """A process of its own: what it imports must not stay in this one."""
    command = _stenopool("deploy", "--target", "local")
    if subprocess.run(command, env=environment, stdout=sys.stderr.fileno(), check=False).returncode:
        _give_up("The deployments could not be applied")


def _online(client: "SyncPrefectClient", pool: str, since: datetime) -> bool:
    import httpx
    from prefect.exceptions import ObjectNotFound

    try:
        workers = client.read_workers_for_work_pool(pool)
    except (ObjectNotFound, httpx.HTTPError):
        return False
    return any(
        worker.name == _worker(pool) and worker.last_heartbeat_time and worker.last_heartbeat_time > since
        for worker in workers
    )


def _worker(pool: str) -> str:
    return f"{socket.gethostname()}-{pool}"


def _working(pool: str, pages: str | None, number: int) -> list[str]:
    if pages is None:
        return _prefect("worker", "start", "--type", "process", "--pool", pool, "--name", _worker(pool))
    host, _, port = pages.rpartition(":")
    if not (host and port.isdigit()):
        raise SetupError(
            ErrorCode.OPTIONS_INVALID,
            f"{pages} is no address with a port.",
            remedy="Write --pages like 127.0.0.1:9481.",
        )
    return _stenopool(
        "worker", "--pool", pool, "--name", _worker(pool), "--host", host, "--port", str(int(port) + number)
    )


def _prefect(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "prefect", *arguments]


def _stenopool(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "stenopool", *arguments]


def _wait(failure: str, reached: Callable[[], bool], children: Children, needed: Child | None = None) -> None:
    """Until it is reached; gives up when that takes too long, or at once when a child that it needs has ended."""
    deadline = time.monotonic() + _PATIENCE
    while not reached():
        if time.monotonic() > deadline or (needed and needed.process.poll() is not None):
            _give_up(failure)
        children.tend()
        time.sleep(_TICK)


def _named(pools: str) -> list[str]:
    from stenopool.orchestration.deploy.pools import QUEUES

    names = [pool.strip() for pool in pools.split(",")]
    for name in names:
        if name not in QUEUES:
            raise SetupError(
                ErrorCode.OPTIONS_INVALID,
                f"There is no work pool {name}.",
                remedy=f"--pools takes {', '.join(QUEUES)}, with a comma between them.",
            )
    return names


def _must_answer(url: str) -> None:
    if not _is_prefect(url):
        raise SetupError(
            ErrorCode.OPTIONS_INVALID,
            f"No Prefect server answers at {url}.",
            remedy="Start it, or unset PREFECT_API_URL (also `prefect config unset PREFECT_API_URL`) to have one here.",
        )


def _must_be_free(url: str, address: Address, password: str | None) -> None:
    if not (is_loopback(address.host) or password):
        raise SetupError(
            ErrorCode.OPTIONS_INVALID,
            f"On {address.host} others could reach the server, and it has no password.",
            remedy="Set PREFECT_SERVER_API_AUTH_STRING=user:password, or leave --host out.",
        )
    if _is_prefect(url):
        raise SetupError(
            ErrorCode.OPTIONS_INVALID,
            f"A Prefect server answers at {url} already.",
            remedy=f"Set PREFECT_API_URL={url} to use it, or give another --port.",
        )
    _must_be_bound(address)


def _must_be_bound(address: Address) -> None:
    try:
        socket.create_server(tuple(address)).close()
    except OSError as error:
        raise SetupError(
            ErrorCode.OPTIONS_INVALID,
            f"Nothing can be served on {address.host}, port {address.port}: {error.strerror}.",
            remedy="Give another --port, --api-port or --host.",
        ) from error


def _is_prefect(url: str) -> bool:
    import httpx

    try:
        # Whatever has the port may never answer.
        return httpx.get(f"{url}/health", timeout=3).text == "true"
    except httpx.HTTPError:
        return False


def _is_live(url: str) -> bool:
    import httpx

    try:
        return httpx.get(f"{url}/health/live", timeout=3).status_code == 200
    except httpx.HTTPError:
        return False


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def free_port() -> int:
    """A free port on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def _from_here(host: str) -> str:
    """The host as this machine's own programs reach it: 0.0.0.0 is every address, and none to ask."""
    return "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104


def _say(line: str) -> None:
    err.print(line, markup=False, highlight=False, soft_wrap=True)


def _give_up(failure: str) -> NoReturn:
    _say(f"{failure}; why stands above.")
    raise typer.Exit(1)
