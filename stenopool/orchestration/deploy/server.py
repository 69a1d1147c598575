"""The Prefect server's profile: one set of settings for compose, Helm and `stenopool up`.

The settings, each with its reason, are in `deployments/server.env`.
"""

from contextlib import suppress

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import get_current_settings

from stenopool import shipped
from stenopool.errors import AccessDenied, OptionsInvalid

# Three parts of the server use Redis, each with its own setting.
_REDIS = ("PREFECT_REDIS_MESSAGING_URL", "PREFECT_REDIS_WORKER_CLEANUP_QUEUE_URL", "PREFECT_SERVER_DOCKET_URL")
# These differ between installations and must never be in git: passwords, and addresses that may contain some.
SECRETS = (
    "PREFECT_SERVER_API_AUTH_STRING",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL",
    *_REDIS,
    # A Fernet key for saved secrets. Without it, their key is in the same database as they are.
    "PREFECT_SERVER_ENCRYPTION_KEY",
)


def settings(*, redis: bool = True) -> dict[str, str]:
    """The settings of `server.env`, by name; without Redis, only those that do not need it.

    Without Redis, leases are kept as files in PREFECT_HOME. By default, Prefect keeps them in memory, where a restart
    loses them, and a run that died earlier would occupy its schedule's slot permanently.
    """
    found = shipped.read_variables("deployments/server.env")
    if redis:
        return found
    own = {name: value for name, value in found.items() if not value.startswith("prefect_redis.")}
    return own | {"PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem"}


def addresses(*, database: str, redis: str) -> dict[str, str]:
    """The settings for a server's database and Redis, which are secrets: both may contain a password.

    ``database``: ``postgresql://user:password@host/name``. ``redis``: ``redis://:password@host:6379/0``.
    """
    return {
        # Prefect supports PostgreSQL through asyncpg only.
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://{database.partition('://')[2]}",
        **dict.fromkeys(_REDIS, redis),
    }


def require_server() -> None:
    """Raise `OptionsInvalid` unless PREFECT_API_URL is set: Prefect would start its own server.

    Raises `AccessDenied` if the server refuses the password.
    """
    if not get_current_settings().api.url:
        raise OptionsInvalid(
            "No Prefect server is configured.",
            remedy="Set PREFECT_API_URL, e.g. http://127.0.0.1:4200/api; `stenopool up` starts one with workers.",
        )
    try:
        with suppress(httpx.TransportError), get_client(sync_client=True) as client:
            client.api_version()
    except PrefectHTTPStatusError as error:
        if error.response.status_code != 401:
            raise
        raise AccessDenied(
            "The Prefect server refuses the password, or requires one.",
            remedy="Set PREFECT_API_AUTH_STRING; for `stenopool up`, to the content of ~/.prefect/stenopool-auth.",
        ) from error
