"""The Prefect server's profile: one set of settings for compose, Helm and `stenopool up`.

The settings themselves, each with its reason, stand in `server.env` beside this file.
"""

from prefect.settings import get_current_settings

from stenopool import shipped
from stenopool.errors import ErrorCode, SetupError

ENV_FILE = shipped.path("deployments/server.env")

# What differs between houses and must never stand in a file in git: passwords, and addresses that may hold some.
SECRETS = (
    "PREFECT_SERVER_API_AUTH_STRING",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL",
    "PREFECT_REDIS_MESSAGING_URL",
    "PREFECT_REDIS_WORKER_CLEANUP_QUEUE_URL",
    "PREFECT_SERVER_DOCKET_URL",
    # A Fernet key for saved secrets. Without it, their key stands in the same database as they do.
    "PREFECT_SERVER_ENCRYPTION_KEY",
)


def settings(*, redis: bool = True) -> dict[str, str]:
    """The settings of `server.env`, by name; without Redis, only those that do not need it."""
    lines = (line.strip() for line in ENV_FILE.read_text(encoding="utf-8").splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs if redis or not value.startswith("prefect_redis.")}


def addresses(*, database: str, redis: str) -> dict[str, str]:
    """The settings for what a server stands on: secrets, for both may hold a password.

    ``database``: ``postgresql://user:password@host/name``. ``redis``: ``redis://:password@host:6379/0``.
    """
    return {
        # Prefect speaks to PostgreSQL through asyncpg only.
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://{database.partition('://')[2]}",
        # Three parts of the server reach Redis, each by a setting of its own.
        "PREFECT_REDIS_MESSAGING_URL": redis,
        "PREFECT_REDIS_WORKER_CLEANUP_QUEUE_URL": redis,
        "PREFECT_SERVER_DOCKET_URL": redis,
    }


def require_server() -> None:
    """Raise `SetupError` OPTIONS_INVALID unless PREFECT_API_URL names a server: Prefect would start one of its own."""
    if not get_current_settings().api.url:
        raise SetupError(
            ErrorCode.OPTIONS_INVALID,
            "No Prefect server is named.",
            remedy="Set PREFECT_API_URL, e.g. http://127.0.0.1:4200/api; `stenopool up` starts one, with workers.",
        )
