"""What things are called on a Prefect server, and how one tells that they are ours: others may use the server too.

A leaf: deployments, dispatch, the API and the exporter read it, and it reads nothing but the settings.
"""

from dataclasses import dataclass
from typing import Literal

from stenopool.settings import get_settings

PoolKind = Literal["cpu", "gpu"]
"""What a work pool's machines have. It is also the pool's name in files, options and metrics, without the prefix."""

DEFAULT_PREFIX = "stenopool-"  # as in settings.py
MARK = "Managed by `stenopool deploy`."
"""Stands in the description of pools and automations that `stenopool deploy` may change."""

# Deployments and, through them, flow runs carry this tag; Prefect puts it among the related resources of their events.
TAG = "stenopool"
TAG_RESOURCE = {"prefect.resource.id": f"prefect.tag.{TAG}", "prefect.resource.role": "tag"}
# Runs that the API started; with the id of the one recording, or the digest of the prefix, that they are about.
API_TAG = "api"
RECORDING_TAG = "recording:"
PREFIX_TAG = "prefix:"

AUTOMATIONS = "stenopool-"
ZOMBIES = f"{AUTOMATIONS}crash-runs-without-heartbeat"
FAILURES = f"{AUTOMATIONS}notify-of-failed-runs"

PROGRESS = "ingest-progress"  # key of the artifact that shows how far a run of `ingest` is

HEARTBEAT_SECONDS = 30  # as PREFECT_FLOWS_HEARTBEAT_FREQUENCY in every pool's job template

# Parents wait in queues of their own, named after their children's: they must not take the slots that their children
# wait for.
PARENTS = "ingest-"


@dataclass(frozen=True)
class PoolQueue:
    """A work queue of a pool. ``limit``: most runs of it at a time."""

    name: str
    limit: int | None = None


# In the order in which workers serve them. First come the children: they finish what has begun. Parents only wait; how
# many is bounded by their own queues, for a limit on the pool would let them take the slots that their children need.
QUEUES: dict[PoolKind, tuple[PoolQueue, ...]] = {
    "cpu": (
        PoolQueue("interactive"),
        PoolQueue("batch"),
        PoolQueue(f"{PARENTS}interactive", limit=8),
        PoolQueue(f"{PARENTS}batch", limit=4),
    ),
    "gpu": (PoolQueue("interactive"), PoolQueue("batch")),
}
PARENT_QUEUES = tuple(queue.name for queue in QUEUES["cpu"] if queue.name.startswith(PARENTS))


def pool_name(kind: PoolKind) -> str:
    """The pool's name on the server."""
    return f"{get_settings().dispatch.pool_prefix}{kind}"


def pool_kind(name: str) -> PoolKind | None:
    """Which pool a name means, with or without the prefix; None if it is none of ours."""
    for kind in QUEUES:
        if name in (kind, pool_name(kind), f"{DEFAULT_PREFIX}{kind}"):
            return kind
    return None
