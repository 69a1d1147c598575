"""The images' HEALTHCHECK. Standard library only: it runs every half minute.

``python -m stenopool.orchestration.workers.healthcheck http://127.0.0.1:8200/health/live``: that
answers, and with 200. Without an argument: the address in STENOPOOL_HEALTH; without that, a
container that runs is healthy.
"""

import os
import sys
import urllib.request

_TIMEOUT = 5.0


class Unhealthy(Exception):
    """The message says what is wrong."""


def check(address: str) -> None:
    """Raises `Unhealthy`."""
    if not address:
        return
    if not address.startswith(("http://", "https://")):
        raise Unhealthy(f"{address} is no address")
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT):  # noqa: S310 (the scheme was just looked at)
            pass
    except OSError as error:  # an HTTP status of failure is one, too
        raise Unhealthy(f"{address}: {error}") from error


if __name__ == "__main__":
    try:
        check(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("STENOPOOL_HEALTH", ""))
    except Unhealthy as unhealthy:
        sys.exit(str(unhealthy))
