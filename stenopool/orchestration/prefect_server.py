"""Starts Prefect's server, with ``python -P -m stenopool.orchestration.prefect_server DESCRIPTOR``, and manages its
password.

The server inherits a socket on which its parent already listens. If it bound the port itself, seconds later, another
user of this machine could take the port first and receive the password from Stenopool's workers.

The password is the first protection. The second is against requests that a page of another site makes a browser send:
requests to one of that site's names that resolves to this machine (DNS rebinding), and requests with that site's
origin. Prefect's CSRF tokens do not cover websockets and DNS rebinding, and every program would have to fetch a token.
"""

import os
import secrets
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from stenopool.runtime.network import is_loopback, is_same_origin, names_this_machine
from stenopool.runtime.processes import python_command

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

PASSWORD_FILE = "stenopool-auth"  # noqa: S105 (its name)


def make_command(listening: socket.socket) -> list[str]:
    """The command for a server on this socket, whose descriptor the child must inherit (``pass_fds``).

    The password is passed in the environment variable PREFECT_SERVER_API_AUTH_STRING, because other users can read a
    command line.
    """
    return python_command(__name__, str(listening.fileno()))


def make_password() -> str:
    """A new password in Prefect's form ``user:password``."""
    return f"stenopool:{secrets.token_urlsafe(24)}"


def keep_password(home: Path) -> Path:
    """The file in Prefect's folder with the password of this user's server, created once and readable only by this
    user.

    It is replaced if others can read it or if it contains no password.
    """
    file = home / PASSWORD_FILE
    if not _is_private(file) or ":" not in file.read_text("utf-8", "replace"):
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=home, delete=False) as made:  # mode 0600
            made.write(make_password() + "\n")
        Path(made.name).replace(file)  # atomic
    return file


def _is_private(file: Path) -> bool:
    try:
        found = file.lstat()
    except FileNotFoundError:
        return False
    return file.is_file() and found.st_uid == os.getuid() and not found.st_mode & 0o077


class _Guard:
    """Refuses requests from other sites' pages. ``only_here``: the server is only for this machine."""

    def __init__(self, app: "ASGIApp", *, only_here: bool) -> None:
        self._app = app
        self._only_here = only_here

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] != "lifespan" and not self._is_meant(dict(scope["headers"])):
            from starlette.responses import PlainTextResponse

            await PlainTextResponse("Requests from other sites are not allowed.\n", 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_meant(self, headers: dict[bytes, bytes]) -> bool:
        host, origin = (headers.get(name, b"").decode("latin-1") for name in (b"host", b"origin"))
        return (names_this_machine(host) or not self._only_here) and is_same_origin(origin, host)


def _serve(listening: socket.socket) -> None:
    """Serve until SIGTERM, like `prefect server start`."""
    import uvicorn
    from prefect.server.api.server import create_app
    from prefect.settings import get_current_settings

    settings = get_current_settings().server
    config = uvicorn.Config(
        _Guard(create_app(final=True), only_here=is_loopback(listening.getsockname()[0])),
        lifespan="on",
        log_level=settings.logging_level.lower(),
        timeout_keep_alive=settings.api.keepalive_timeout,
        ws_ping_interval=settings.api.websocket_ping_interval,
        ws_ping_timeout=settings.api.websocket_ping_timeout,
    )
    uvicorn.Server(config).run([listening])


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
