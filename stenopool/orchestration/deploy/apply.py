"""Blocks, pools, deployments, automations brought onto a server, as often as one likes; what changed is told."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from prefect import Flow
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.objects import ConcurrencyOptions
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound
from prefect.utilities.callables import parameter_schema

from stenopool import __version__
from stenopool.orchestration import entrypoints
from stenopool.orchestration.blocks.registration import register
from stenopool.orchestration.deploy.automations import apply_automations
from stenopool.orchestration.deploy.pools import QUEUES, Target, apply_pools
from stenopool.orchestration.deploy.specification import PULL_STEPS, Deployment, read

TAG = "stenopool"


async def apply(
    target: Target,
    files: Sequence[Path] = (),
    *,
    gpus: int | None = None,
    prepares: int | None = None,
    notify: str | None = None,
    prune: bool = False,
) -> list[str]:
    """Bring all of it onto the server that PREFECT_API_URL names; returns a line per change, none if nothing changed.

    ``files``: specifications of one's own. ``prune``: remove our deployments that no file names any more.
    """
    wanted = read(*files)
    async with get_client() as client:
        before = await _state(client)
        await register()
        await apply_pools(client, target, gpus, prepares)
        for deployment in wanted:
            await _deploy(client, deployment)
        if prune:
            await _prune(client, wanted)
        await apply_automations(client, notify)
        return list(_changes(before, await _state(client)))


async def _deploy(client: PrefectClient, wanted: Deployment) -> None:
    flow = _flow(wanted)
    limit = wanted.concurrency_limit
    await client.create_deployment(
        flow_id=await client.create_flow_from_name(flow.name),
        name=wanted.name,
        version=__version__,
        entrypoint=wanted.entrypoint,
        work_pool_name=wanted.work_pool.name,
        work_queue_name=wanted.work_pool.work_queue_name,
        job_variables=wanted.work_pool.job_variables,
        schedules=[
            DeploymentScheduleCreate(
                schedule=CronSchedule(cron=one.cron, timezone=one.timezone),
                active=one.active,
                slug=one.slug or f"{wanted.name}-{number}",
                parameters=one.parameters,
            )
            for number, one in enumerate(wanted.schedules)
        ],
        concurrency_limit=limit.limit if limit else None,
        concurrency_options=ConcurrencyOptions.model_validate({"collision_strategy": limit.collision_strategy})
        if limit
        else None,
        parameters=wanted.parameters,
        description=wanted.description or flow.description,
        tags=sorted({TAG, *wanted.tags}),
        parameter_openapi_schema=parameter_schema(flow).model_dump_for_openapi(),
        enforce_parameter_schema=True,
        pull_steps=PULL_STEPS,
    )


async def _prune(client: PrefectClient, wanted: Sequence[Deployment]) -> None:
    names = {f"{_flow(deployment).name}/{deployment.name}" for deployment in wanted}
    for name, found in (await _deployments(client)).items():
        if name not in names:
            await client.delete_deployment(found.id)


def _flow(deployment: Deployment) -> Flow[Any, Any]:
    return entrypoints.load(deployment.entrypoint.rpartition(":")[2])


async def _deployments(client: PrefectClient) -> dict[str, Any]:
    ours = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    flows: dict[Any, str] = {}
    found = {}
    for deployment in await client.read_deployments(deployment_filter=ours):
        if deployment.flow_id not in flows:
            flows[deployment.flow_id] = (await client.read_flow(deployment.flow_id)).name
        found[f"{flows[deployment.flow_id]}/{deployment.name}"] = deployment
    return found


async def _state(client: PrefectClient) -> dict[str, Any]:
    """What there is of ours on the server, in plain values: compared before and after."""
    state: dict[str, Any] = {}
    for pool, queues in QUEUES.items():
        try:
            there = await client.read_work_pool(pool)
        except ObjectNotFound:
            continue
        state[f"work pool {pool}"] = {
            "type": there.type,
            "limit": there.concurrency_limit,
            "job template": there.base_job_template,
        }
        names = {queue.name for queue in queues}
        for queue in await client.read_work_queues(work_pool_name=pool):
            if queue.name in names:
                state[f"queue {pool}/{queue.name}"] = {"limit": queue.concurrency_limit, "priority": queue.priority}
    for name, there in (await _deployments(client)).items():
        state[f"deployment {name}"] = {
            "pool": f"{there.work_pool_name}/{there.work_queue_name}",
            "entrypoint": there.entrypoint,
            "pull": there.pull_steps,
            "version": there.version,
            "description": there.description,
            "parameters": there.parameters,
            "form": there.parameter_openapi_schema,
            "job variables": there.job_variables,
            "limit": there.concurrency_options
            and there.global_concurrency_limit
            and (f"{there.global_concurrency_limit.limit}, {there.concurrency_options.collision_strategy.value}"),
            "schedules": [
                {**one.schedule.model_dump(mode="json"), "active": one.active, "parameters": one.parameters}
                for one in sorted(there.schedules, key=lambda one: one.slug or "")
            ],
            "tags": sorted(there.tags),
        }
    for automation in await client.read_automations():
        if automation.name.startswith(f"{TAG}:"):
            state[f"automation {automation.name}"] = automation.model_dump(mode="json", exclude={"id"})
    for kind in await client.read_block_types():
        if kind.slug in ("transcription-profile", "s3-bucket"):
            for document in await client.read_block_documents_by_type(kind.slug):
                if document.name:
                    state[f"block {kind.slug}/{document.name}"] = {}
            state[f"block type {kind.slug}"] = {}
    return state


def _changes(before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    for name in sorted(before.keys() | after.keys()):
        if name not in before:
            yield f"+ {name}"
        elif name not in after:
            yield f"- {name}"
        else:
            for field in before[name].keys() | after[name].keys():
                old, new = before[name].get(field), after[name].get(field)
                if old != new:
                    yield f"~ {name}: {field}{_from_to(old, new)}"


def _from_to(old: Any, new: Any) -> str:
    """Short values are shown; of long ones, that they changed."""
    shown = f" {old} → {new}"
    return shown if len(shown) < 100 else " changed"
