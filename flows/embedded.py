"""A Prefect server that lives and dies with this process, for runs on one machine. It imports Prefect when started."""

import os
import subprocess

# Whatever the user has set wins.
_ENVIRONMENT = {
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    # 10-18 s on two cores; the default of 20 s is too near.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "90",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # What each recording did is on the progress display; Prefect's own lines would tear it.
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
}


def start() -> None:
    """Start the ephemeral server, unless Prefect is told of one elsewhere (PREFECT_API_URL)."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import get_current_settings

    if get_current_settings().api.url:
        return
    server = SubprocessASGIServer()
    server.start()
    if server.server_process:
        _end_with_us(server.server_process.pid)


def _end_with_us(pid: int) -> None:
    """End a child when this process is gone, however it went: after SIGKILL nobody else would, and it holds 225 MB."""
    # The pipe's other end closes with this process. A session of its own: Ctrl-C on a terminal must not reach it.
    subprocess.Popen(
        ["/bin/sh", "-c", f"read _; kill {pid}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
