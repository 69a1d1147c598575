"""The images' HEALTHCHECK. Standard library only: it runs every half minute.

``python -m stenopool.orchestration.workers.healthcheck http://127.0.0.1:8200/health/live``: that
answers, and with 200. Without an argument: the address in STENOPOOL_HEALTH; without that, a
container that runs is healthy.
"""

import os
import sys
import urllib.request

_TIMEOUT = 5.0


def check(address: str) -> None:
    """Raises `SystemExit`, which says what is wrong."""
    if not address:
        return
    if not address.startswith(("http://", "https://")):
        sys.exit(f"{address} is not an address.")
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT):  # noqa: S310 (the scheme was checked)
            pass
    except OSError as error:  # an HTTP status of failure is one, too
        sys.exit(f"{address}: {error}")


if __name__ == "__main__":
    check(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("STENOPOOL_HEALTH", ""))
