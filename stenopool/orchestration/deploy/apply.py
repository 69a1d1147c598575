"""Applies blocks, pools, deployments and automations to a server, idempotently, and reports what changed.

The deployments are created with Prefect's client: `RunnerDeployment` sets no pull steps without its own storage, and
`prefect deploy` is interactive and does not report changes.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.objects import ConcurrencyOptions
from prefect.schedules import Schedule
from prefect.utilities.callables import parameter_schema

from stenopool import __version__
from stenopool.orchestration import entrypoints
from stenopool.orchestration.blocks.profiles import register
from stenopool.orchestration.deploy.automations import (
    ALL_NAMES,
    apply_automations,
    check_automations,
    end_runs_that_never_started,
)
from stenopool.orchestration.deploy.pools import (
    Changes,
    Target,
    apply_pools,
    check_pools,
    check_variables,
    count_unfinished,
    is_ours,
    read_pool,
    size_parents,
)
from stenopool.orchestration.deploy.specification import PULL_STEPS, Deployment, read
from stenopool.orchestration.names import QUEUES, TAG, PoolKind, pool_name


async def apply(
    target: Target,
    files: Sequence[Path] = (),
    *,
    changes: Changes | None = None,
    gpus: int | None = None,
    prepares: int | None = None,
    notify: str | None = None,
    prune: bool = False,
    adopt: bool = False,
) -> list[str]:
    """Apply everything to the server in PREFECT_API_URL; returns a line per change.

    ``files``: your own specifications.
    ``changes``: changes to the pools' job templates.
    ``prune``: delete Stenopool's deployments that are no longer in any file, and its empty pools with names of earlier
    versions.
    ``adopt``: take over others' pools and automations that have Stenopool's names.

    Raises `SetupError`, before any change, for such pools and automations without ``adopt``, and for an invalid file.
    """
    wanted = read(*files)
    for deployment in wanted:
        check_variables(deployment.work_pool.name, target, deployment.work_pool.job_variables)
    async with get_client() as client:
        await check_pools(client, target, adopt=adopt)
        await check_automations(client, adopt=adopt)
        before = await _state(client)
        await register()
        await apply_pools(client, target, gpus, prepares, changes)
        for deployment in wanted:
            await _deploy(client, deployment, size_parents(deployment, target))
        await _move_deployments(client)
        if prune:
            await _prune(client, wanted)
        await apply_automations(client, target, notify)
        ended = await end_runs_that_never_started(client, target)
        return [*_changes(before, await _state(client)), *(f"- run {name}: it never started" for name in ended)]


async def find_old_pools() -> dict[str, int]:
    """Stenopool's pools with names of earlier versions, and the number of runs in each."""
    async with get_client() as client:
        return {pool: await count_unfinished(client, pool) for pool in await _find_old_pools(client)}


async def _deploy(client: PrefectClient, wanted: Deployment, job_variables: dict[str, Any]) -> None:
    flow = entrypoints.load(wanted.flow)
    limit = wanted.concurrency_limit
    await client.create_deployment(
        flow_id=await client.create_flow_from_name(flow.name),
        name=wanted.name,
        version=__version__,
        entrypoint=wanted.entrypoint,
        work_pool_name=pool_name(wanted.work_pool.name),
        work_queue_name=wanted.work_pool.work_queue_name,
        job_variables=job_variables,
        schedules=[
            DeploymentScheduleCreate.from_schedule(
                Schedule(**{**schedule.model_dump(), "slug": schedule.slug or f"{wanted.name}-{number}"})
            )
            for number, schedule in enumerate(wanted.schedules)
        ],
        concurrency_limit=limit.limit if limit else None,
        concurrency_options=ConcurrencyOptions.model_validate(limit.model_dump()) if limit else None,
        parameters=wanted.parameters,
        description=wanted.description or flow.description,
        tags=sorted({TAG, *wanted.tags}),
        parameter_openapi_schema=parameter_schema(flow).model_dump_for_openapi(),
        enforce_parameter_schema=True,
        pull_steps=PULL_STEPS,
    )


async def _move_deployments(client: PrefectClient) -> None:
    """Move deployments that are in no file from earlier versions' pools to the same queues of the current pools.

    Waiting runs stay in the old pools, because Prefect does not move runs.
    """
    old = await _find_old_pools(client)
    for found in (await _deployments(client)).values():
        if kind := old.get(found.work_pool_name):
            moved = DeploymentUpdate(work_pool_name=pool_name(kind), work_queue_name=found.work_queue_name)
            await client.update_deployment(found.id, moved)


async def _prune(client: PrefectClient, wanted: Sequence[Deployment]) -> None:
    names = {f"{deployment.flow}/{deployment.name}" for deployment in wanted}
    for name, found in (await _deployments(client)).items():
        if name not in names:
            await client.delete_deployment(found.id)
    for pool in await _find_old_pools(client):
        if not await count_unfinished(client, pool):
            await client.delete_work_pool(pool)


async def _find_old_pools(client: PrefectClient) -> dict[str, PoolKind]:
    """Stenopool's pools without the configured prefix, by name."""
    found = {kind: await read_pool(client, kind) for kind in QUEUES if pool_name(kind) != kind}
    return {kind: kind for kind, pool in found.items() if pool and is_ours(pool)}


async def _deployments(client: PrefectClient) -> dict[str, Any]:
    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    flows = {flow.id: flow.name for flow in await client.read_flows(deployment_filter=ours)}
    found = await client.read_deployments(deployment_filter=ours)
    return {f"{flows[deployment.flow_id]}/{deployment.name}": deployment for deployment in found}


async def _state(client: PrefectClient) -> dict[str, Any]:
    """Stenopool's objects on the server as plain values, to compare before and after."""
    state: dict[str, Any] = {}
    pools: dict[str, PoolKind] = {pool_name(kind): kind for kind in QUEUES} | await _find_old_pools(client)
    for pool, kind in pools.items():
        if there := await read_pool(client, pool):
            state[f"work pool {pool}"] = {
                "type": there.type,
                "limit": there.concurrency_limit,
                "description": there.description,
                "job template": there.base_job_template,
            }
            for queue in await client.read_work_queues(work_pool_name=pool):
                if queue.name in QUEUES[kind]:
                    state[f"queue {pool}/{queue.name}"] = {"limit": queue.concurrency_limit, "priority": queue.priority}
    for name, found in (await _deployments(client)).items():
        state[f"deployment {name}"] = _facts(found)
    for automation in await client.read_automations():
        if automation.name in ALL_NAMES:
            state[f"automation {automation.name}"] = automation.model_dump(mode="json", exclude={"id"})
    for block_type in await client.read_block_types():
        if block_type.slug in ("transcription-profile", "s3-bucket"):
            saved = await client.read_block_documents_by_type(block_type.slug)
            state |= {f"block {block_type.slug}/{document.name}": {} for document in saved if document.name}
            state[f"block type {block_type.slug}"] = {}
    return state


def _facts(deployment: Any) -> dict[str, Any]:
    limit, options = deployment.global_concurrency_limit, deployment.concurrency_options
    return {
        "pool": f"{deployment.work_pool_name}/{deployment.work_queue_name}",
        "entrypoint": deployment.entrypoint,
        "pull": deployment.pull_steps,
        "version": deployment.version,
        "description": deployment.description,
        "parameters": deployment.parameters,
        "form": deployment.parameter_openapi_schema,
        "job variables": deployment.job_variables,
        "limit": options and limit and f"{limit.limit}, {options.collision_strategy.value}",
        "schedules": [
            {**schedule.schedule.model_dump(mode="json"), "active": schedule.active, "parameters": schedule.parameters}
            for schedule in sorted(deployment.schedules, key=lambda schedule: schedule.slug or "")
        ],
        "tags": sorted(deployment.tags),
    }


def _changes(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old is None or new is None:
            yield f"{'+' if old is None else '-'} {name}"
        else:
            for field in old:
                if old[field] != new[field]:
                    change = f" {old[field]} → {new[field]}"
                    yield f"~ {name}: {field}{change if len(change) < 100 else ' changed'}"
