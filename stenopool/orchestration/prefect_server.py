"""Prefect's server as we start it, ``python -P -m stenopool.orchestration.prefect_server DESCRIPTOR``; its password.

The server is given a socket on which whoever started it listens already. A port that it bound itself, seconds later,
another user of this machine could take in between, and be given the password by our own workers.

The password is the first wall. The second is for what a page of another site can make a browser send: requests under a
name of that site's that leads here (DNS rebinding), and requests with that site's origin. Prefect's own protection
against those (CSRF tokens) leaves out websockets and the first kind, and every program would have to fetch a token.
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
    """The command of a server on this socket, whose descriptor the child must inherit (``pass_fds``).

    Its password is PREFECT_SERVER_API_AUTH_STRING of its environment: others can read a command line.
    """
    return python_command(__name__, str(listening.fileno()))


def make_password() -> str:
    """A new password in the form that Prefect takes: ``user:password``."""
    return f"stenopool:{secrets.token_urlsafe(24)}"


def keep_password(home: Path) -> Path:
    """The file, in Prefect's folder, that holds the password of this user's server: made once, readable by nobody else.

    One that others can read, or that holds none, is replaced.
    """
    file = home / PASSWORD_FILE
    if not _is_private(file) or ":" not in file.read_text("utf-8", "replace"):
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=home, delete=False) as made:  # mode 0600
            made.write(make_password() + "\n")
        Path(made.name).replace(file)  # there at once, and whole
    return file


def _is_private(file: Path) -> bool:
    try:
        found = file.lstat()
    except FileNotFoundError:
        return False
    return file.is_file() and found.st_uid == os.getuid() and not found.st_mode & 0o077


class _Guard:
    """Refuses requests of other sites' pages. ``only_here``: the server is meant for this machine alone."""

    def __init__(self, app: "ASGIApp", *, only_here: bool) -> None:
        self._app = app
        self._only_here = only_here

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] != "lifespan" and not self._is_meant(dict(scope["headers"])):
            from starlette.responses import PlainTextResponse

            await PlainTextResponse("Not from another site.\n", 403)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _is_meant(self, headers: dict[bytes, bytes]) -> bool:
        host, origin = (headers.get(name, b"").decode("latin-1") for name in (b"host", b"origin"))
        return (names_this_machine(host) or not self._only_here) and is_same_origin(origin, host)


def _serve(listening: socket.socket) -> None:
    """Serve until SIGTERM, as `prefect server start` does."""
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
