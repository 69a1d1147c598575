"""The Prefect server's profile: one set of settings for compose, Helm and `stenopool up`.

The settings, each with its reason, are in `deployments/server.env`.
"""

from prefect.settings import get_current_settings

from stenopool import shipped
from stenopool.errors import OptionsInvalid

ENV_FILE = shipped.folder() / "deployments/server.env"

# These differ between installations and must never be in git: passwords, and addresses that may contain some.
SECRETS = (
    "PREFECT_SERVER_API_AUTH_STRING",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL",
    "PREFECT_REDIS_MESSAGING_URL",
    "PREFECT_REDIS_WORKER_CLEANUP_QUEUE_URL",
    "PREFECT_SERVER_DOCKET_URL",
    # A Fernet key for saved secrets. Without it, their key is in the same database as they are.
    "PREFECT_SERVER_ENCRYPTION_KEY",
)


def settings(*, redis: bool = True) -> dict[str, str]:
    """The settings of `server.env`, by name; without Redis, only those that do not need it."""
    lines = (line.strip() for line in ENV_FILE.read_text(encoding="utf-8").splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs if redis or not value.startswith("prefect_redis.")}


def addresses(*, database: str, redis: str) -> dict[str, str]:
    """The settings for a server's database and Redis, which are secrets: both may contain a password.

    ``database``: ``postgresql://user:password@host/name``. ``redis``: ``redis://:password@host:6379/0``.
    """
    return {
        # Prefect supports PostgreSQL through asyncpg only.
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://{database.partition('://')[2]}",
        # Three parts of the server use Redis, each with its own setting.
        "PREFECT_REDIS_MESSAGING_URL": redis,
        "PREFECT_REDIS_WORKER_CLEANUP_QUEUE_URL": redis,
        "PREFECT_SERVER_DOCKET_URL": redis,
    }


def require_server() -> None:
    """Raise `OptionsInvalid` unless PREFECT_API_URL names a server: Prefect would start one of its own."""
    if not get_current_settings().api.url:
        raise OptionsInvalid(
            "No Prefect server is named.",
            remedy="Set PREFECT_API_URL, e.g. http://127.0.0.1:4200/api; `stenopool up` starts one, with workers.",
        )
