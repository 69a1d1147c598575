"""What things are called on a Prefect server, and how one tells that they are ours: others may use the server too.

A leaf: deployments, dispatch, the API and the exporter read it, and it reads nothing but the settings.
"""

from datetime import datetime
from typing import Literal
from uuid import UUID

from stenopool.settings import get_settings

PoolKind = Literal["cpu", "gpu"]
"""What a work pool's machines have. It is also the pool's name in files, options and metrics, without the prefix."""

MARK = "Managed by `stenopool deploy`."
"""Stands in the description of pools and automations that `stenopool deploy` may change."""

TAG = "stenopool"  # of deployments and, through them, of flow runs
# Runs that the API started; with the id of the one recording, or the digest of the prefix, that they are about.
API_TAG = "api"
RECORDING_TAG = "recording:"
PREFIX_TAG = "prefix:"
WATCH_TAG = "watch:"  # runs that `watch` started; with the digest of its queue, source and destination

# The automations of deployments/automations.yaml.
ZOMBIES = "stenopool-crash-runs-without-heartbeat"
NEVER_STARTED = "stenopool-crash-runs-that-never-start"
FAILURES = "stenopool-notify-of-failed-runs"

PROGRESS = "ingest-progress"  # key of the artifact that shows how far a run of `ingest` is

HEARTBEAT_SECONDS = 30  # as PREFECT_FLOWS_HEARTBEAT_FREQUENCY in every pool's job template

# Parents wait in queues of their own, named after their children's: they must not take the slots that their children
# wait for.
PARENTS = "ingest-"

# Each pool's work queues in the order in which workers serve them, and the most runs of each at a time. First come the
# children: they finish what has begun. Parents only wait; how many is bounded by their own queues, for a limit on the
# pool would let them take the slots that their children need.
QUEUES: dict[PoolKind, dict[str, int | None]] = {
    "cpu": {"interactive": None, "batch": None, f"{PARENTS}interactive": 8, f"{PARENTS}batch": 4},
    "gpu": {"interactive": None, "batch": None},
}
PARENT_QUEUES = tuple(name for name in QUEUES["cpu"] if name.startswith(PARENTS))


def batch_name(scheduled: datetime, run: UUID | str) -> str:
    """The batch of a run of `ingest`: the same for each attempt at the run, so that it finds its shards."""
    return f"{scheduled:%Y%m%dT%H%M%SZ}-{str(run)[-8:]}"


def pool_name(kind: PoolKind) -> str:
    """The pool's name on the server."""
    return f"{get_settings().dispatch.pool_prefix}{kind}"


def pool_kind(name: str) -> PoolKind | None:
    """Which pool a name means, with or without the prefix; None if it is none of ours."""
    for kind in QUEUES:
        if name in (kind, pool_name(kind), f"stenopool-{kind}"):  # the last by default
            return kind
    return None
