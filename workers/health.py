"""What the images' HEALTHCHECK asks. Standard library only: it runs every half minute.

``python -m workers.health http://127.0.0.1:8200/health/ready``   that answers 200
``python -m workers.health worker:cpu``                           Prefect has heard from this host's worker of that pool
Without an argument: the one in STENOPOOL_HEALTH; without that, a container that runs is healthy.
"""

import base64
import json
import os
import socket
import sys
import urllib.error
import urllib.request

from workers.entrypoint import read_secrets

_TIMEOUT = 5.0


class Unhealthy(Exception):  # noqa: N818 (a finding, not a fault of ours)
    """The message says what is wrong."""


def check(target: str) -> None:
    """Raises `Unhealthy`."""
    kind, _, pool = target.partition(":")
    if kind == "worker":
        _worker(pool)
    elif kind in ("http", "https"):
        _ask(urllib.request.Request(target))  # noqa: S310 (the scheme was just looked at)
    elif target:
        raise Unhealthy(f"{target} is neither an address nor worker:POOL")


def _worker(pool: str) -> None:
    """A worker that hangs keeps its process: whether it still reports is known to the server alone."""
    url = f"{os.environ.get('PREFECT_API_URL', 'http://127.0.0.1:4200/api')}/work_pools/{pool}/workers/filter"
    headers = {"Content-Type": "application/json"}
    if password := os.environ.get("PREFECT_API_AUTH_STRING"):
        headers["Authorization"] = f"Basic {base64.b64encode(password.encode()).decode()}"
    if not url.startswith(("http://", "https://")):
        raise Unhealthy("PREFECT_API_URL is no address")
    name = f"{socket.gethostname()}-{pool}"
    workers = json.loads(_ask(urllib.request.Request(url, b"{}", headers)))  # noqa: S310
    if not any(worker["name"] == name and worker["status"] == "ONLINE" for worker in workers):
        raise Unhealthy(f"no worker {name} is online")


def _ask(request: urllib.request.Request) -> bytes:
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
            found: bytes = answer.read()
            return found
    except (urllib.error.URLError, OSError) as error:
        raise Unhealthy(f"{request.full_url}: {error}") from error


def main() -> None:
    read_secrets()  # a health check does not come through the entry point
    try:
        check(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("STENOPOOL_HEALTH", ""))
    except Unhealthy as unhealthy:
        sys.exit(str(unhealthy))


if __name__ == "__main__":
    main()
