"""Names of Stenopool's objects on a Prefect server, and marks that identify them, since others may use the server too.

Used by deployments, dispatch, the API and the exporter; imports only the settings.
"""

from datetime import datetime
from typing import Literal
from uuid import UUID

from stenopool.settings import get_settings

PoolKind = Literal["cpu", "gpu"]
"""The kind of machine in a work pool. Also the pool's name, without the prefix, in files, options and metrics."""

MARK = "Managed by `stenopool deploy`."
"""In the description of pools and automations that `stenopool deploy` may change."""

TAG = "stenopool"  # on deployments and, through them, on flow runs
# Tags of runs started by the API; with the id of their recording, or the digest of their prefix.
API_TAG = "api"
RECORDING_TAG = "recording:"
PREFIX_TAG = "prefix:"
WATCH_TAG = "watch:"  # runs started by `watch`; with the digest of its queue, source and destination

# The automations of deployments/automations.yaml.
ZOMBIES = "stenopool-crash-runs-without-heartbeat"
NEVER_STARTED = "stenopool-crash-runs-that-never-start"
FAILURES = "stenopool-notify-of-failed-runs"

PROGRESS = "ingest-progress"  # key of the progress artifact of a run of `ingest`

HEARTBEAT_SECONDS = 30  # as PREFECT_FLOWS_HEARTBEAT_FREQUENCY in every pool's job template

# Parents wait in separate queues, named after their children's, so that they never occupy slots that their children
# need.
PARENTS = "ingest-"

# Each pool's work queues in the order of priority, and the maximum number of concurrent runs in each. Child runs come
# first, because they finish work in progress. Parents only wait; their queues limit their number, because with a limit
# on the pool they could occupy slots that their children need.
QUEUES: dict[PoolKind, dict[str, int | None]] = {
    "cpu": {"interactive": None, "batch": None, f"{PARENTS}interactive": 8, f"{PARENTS}batch": 4},
    "gpu": {"interactive": None, "batch": None},
}
PARENT_QUEUES = tuple(name for name in QUEUES["cpu"] if name.startswith(PARENTS))


def batch_name(scheduled: datetime, run: UUID | str) -> str:
    """The batch of a run of `ingest`: the same for all attempts at the run, so that they find its shards."""
    return f"{scheduled:%Y%m%dT%H%M%SZ}-{str(run)[-8:]}"


def pool_name(kind: PoolKind) -> str:
    """The pool's name on the server."""
    return f"{get_settings().dispatch.pool_prefix}{kind}"


def pool_kind(name: str) -> PoolKind | None:
    """The kind of pool for a name, with or without the prefix; None if it is not one of Stenopool's."""
    for kind in QUEUES:
        if name in (kind, pool_name(kind), f"stenopool-{kind}"):  # the last: default prefix
            return kind
    return None
