"""The work pools, and their queues in the order in which they are served."""

from dataclasses import dataclass
from typing import Literal

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectNotFound

from stenopool.orchestration.workers.templates import template

Target = Literal["local", "kubernetes"]
_TYPES: dict[Target, Literal["process", "kubernetes"]] = {"local": "process", "kubernetes": "kubernetes"}


# Parents wait in queues of their own, called so and then like their children's: they must not take the slots that their
# children wait for.
PARENTS = "ingest-"


@dataclass(frozen=True)
class Queue:
    name: str
    limit: int | None = None


# First come the children: they finish what has begun. Parents only wait; how many is bounded by their own queues, for
# a limit on the pool would let them take the slots that their children wait for.
QUEUES: dict[Literal["cpu", "gpu"], tuple[Queue, ...]] = {
    "cpu": (
        Queue("interactive"),
        Queue("batch"),
        Queue(f"{PARENTS}interactive", limit=8),
        Queue(f"{PARENTS}batch", limit=4),
    ),
    "gpu": (Queue("interactive"), Queue("batch")),
}


async def apply_pools(client: PrefectClient, target: Target, gpus: int | None, prepares: int | None) -> None:
    """Make both pools what they should be.

    ``gpus``: most runs on the pool gpu at a time (one without it, or what was set before). ``prepares``: most runs of
    `prepare` at a time in each of its queues.
    """
    for name, queues in QUEUES.items():
        await _pool(client, name, target, gpus if name == "gpu" else None)
        for priority, queue in enumerate(queues, start=1):
            limit = prepares if name == "cpu" and queue.limit is None else queue.limit
            await _queue(client, name, queue.name, priority, limit)


async def _pool(client: PrefectClient, name: Literal["cpu", "gpu"], target: Target, limit: int | None) -> None:
    kind = _TYPES[target]
    try:
        pool = await client.read_work_pool(name)
    except ObjectNotFound:
        pool = None
    if pool and pool.type != kind:
        # A pool's type cannot be changed; what waits in it stays with its deployments and moves along.
        await client.delete_work_pool(name)
        pool = None
    if pool is None:
        if name == "gpu":
            limit = limit or 1
        new = WorkPoolCreate(name=name, type=kind, base_job_template=template(name, kind), concurrency_limit=limit)
        await client.create_work_pool(new)
        return
    limit = limit or pool.concurrency_limit
    await client.update_work_pool(name, WorkPoolUpdate(base_job_template=template(name, kind), concurrency_limit=limit))


async def _queue(client: PrefectClient, pool: str, name: str, priority: int, limit: int | None) -> None:
    try:
        queue = await client.read_work_queue_by_name(name, work_pool_name=pool)
    except ObjectNotFound:
        await client.create_work_queue(name, priority=priority, concurrency_limit=limit, work_pool_name=pool)
        return
    changes = {"priority": priority} if queue.priority != priority else {}
    if limit is not None and queue.concurrency_limit != limit:
        changes["concurrency_limit"] = limit
    if changes:
        await client.update_work_queue(queue.id, **changes)
