"""The work pools, their job templates and queues. Only Stenopool's own are changed, as others may use the same server.

    python -P -m stenopool.orchestration.deploy.pools gpu kubernetes > gpu.json

prints a template, for `prefect work-pool create --base-job-template gpu.json`.
"""

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

import yaml
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import WorkPoolFilter, WorkPoolFilterName
from prefect.client.schemas.objects import WorkPool
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from stenopool import __version__, shipped
from stenopool.errors import ErrorCode, ObjectNotFound, OptionsInvalid, SetupError
from stenopool.orchestration.deploy.specification import Deployment
from stenopool.orchestration.flow_runs import UNFINISHED, select_runs
from stenopool.orchestration.names import MARK, PARENT_QUEUES, QUEUES, PoolKind, pool_name

PoolType = Literal["kubernetes", "process"]
Target = Literal["local", "kubernetes"]
_TYPES: dict[Target, PoolType] = {"local": "process", "kubernetes": "kubernetes"}


GPU = "nvidia.com/gpu"
PARENT_SCRATCH = 1024**3
_PARENT = {"cpu_request": "250m", "memory_request": "512Mi", "memory_limit": "1Gi", "scratch_size": "1Gi"}


class PoolChanges(BaseModel):
    """An installation's changes to the job template of a pool."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    variables: dict[str, Any] = Field(default_factory=dict)
    """New default values of job variables; null removes a default."""
    job_manifest: dict[str, Any] = Field(default_factory=dict)
    """Merged into the Kubernetes job: objects are merged, null removes a field, lists and other values are replaced."""
    gpu_resource: str = GPU
    """The resource of which a GPU pod requests one, for example a MIG profile."""


Changes = dict[PoolKind, PoolChanges]


def read_changes(path: Path) -> Changes:
    """Read the changes to job templates, by pool, from a YAML file.

    Raises `ObjectNotFound` if the file cannot be read, and `OptionsInvalid` for unknown pools, keys or variables.
    """
    try:
        content = yaml.safe_load(path.read_text("utf-8")) or {}
        found = TypeAdapter(Changes).validate_python(content)
    except (OSError, UnicodeDecodeError) as error:
        raise ObjectNotFound(f"{path} cannot be read: {error}.") from error
    except (yaml.YAMLError, ValidationError) as error:
        raise OptionsInvalid(f"{path}: {error}.", remedy="Correct the file.") from error
    for pool, changes in found.items():
        unknown = changes.variables.keys() - template(pool, "kubernetes")["variables"]["properties"].keys()
        if unknown:
            raise OptionsInvalid(
                f"{path}: {pool_name(pool)} has no job variable {', '.join(sorted(unknown))}.",
                remedy="Use a variable of workers/templates/kubernetes.yaml, or job_manifest.",
            )
    return found


def template(pool: PoolKind, type_: PoolType, changes: PoolChanges | None = None) -> dict[str, Any]:
    """The pool's job template for Prefect's API, as a new copy.

    Raises KeyError for an unknown pool and FileNotFoundError for an unknown type.
    """
    text = (shipped.folder() / f"workers/templates/{type_}.yaml").read_text(encoding="utf-8")
    loaded = yaml.safe_load(text.replace("STENOPOOL_VERSION", __version__))[pool]
    # YAML aliases share one object; the JSON round trip gives each place its own copy.
    found = cast("dict[str, Any]", json.loads(json.dumps(loaded)))
    if changes:
        configuration, variables = found["job_configuration"], found["variables"]["properties"]
        (container,) = configuration["job_manifest"]["spec"]["template"]["spec"]["containers"]
        limits = container["resources"]["limits"]
        if GPU in limits:
            limits[changes.gpu_resource] = limits.pop(GPU)
        configuration["job_manifest"] = _merge(configuration["job_manifest"], changes.job_manifest)
        for name, default in changes.variables.items():
            variables[name].pop("default", None)
            if default is not None:
                variables[name]["default"] = default
    return found


def _merge(under: Any, over: Any) -> Any:
    """Apply a JSON merge patch (RFC 7396)."""
    if not (isinstance(under, dict) and isinstance(over, dict)):
        return over
    both = under | {key: _merge(under.get(key, {}), value) for key, value in over.items()}
    return {key: value for key, value in both.items() if value is not None}


def is_ours(pool: WorkPool) -> bool:
    """Whether `stenopool deploy` created this pool. Earlier versions set no mark, but a unique template."""
    return MARK in (pool.description or "") or "STENOPOOL_DISPATCH__BY" in json.dumps(pool.base_job_template)


async def read_pool(client: PrefectClient, name: str) -> WorkPool | None:
    """The work pool with this name; None if it does not exist."""
    return next(iter(await client.read_work_pools(work_pool_filter=_in_pool(name))), None)


async def _is_unused(client: PrefectClient, pool: WorkPool) -> bool:
    """Whether the pool was never used: a worker that starts before `stenopool deploy` creates such a pool."""
    if pool.description or pool.concurrency_limit:
        return False
    here = _in_pool(pool.name)
    return not (
        await client.read_deployments(work_pool_filter=here) or await client.count_flow_runs(work_pool_filter=here)
    )


async def count_unfinished(client: PrefectClient, pool: str) -> int:
    """Number of runs that are due or in progress in a pool."""
    return await client.count_flow_runs(
        work_pool_filter=_in_pool(pool), flow_run_filter=select_runs(*UNFINISHED, due=datetime.now(UTC))
    )


def check_variables(kind: PoolKind, target: Target, variables: Mapping[str, Any]) -> None:
    """Raise `OptionsInvalid` for unknown job variables, if the pool does not accept additional ones."""
    schema = template(kind, _TYPES[target])["variables"]
    unknown = variables.keys() - schema["properties"].keys()
    if unknown and not schema.get("additionalProperties", True):
        raise OptionsInvalid(
            f"{pool_name(kind)} has no job variable {', '.join(sorted(unknown))}.",
            remedy=f"Omit it. Available: {', '.join(schema['properties'])}. Or set it on the worker.",
        )


async def check_pools(client: PrefectClient, target: Target, *, adopt: bool) -> None:
    """Check, before any change, whether the pools can be applied.

    Raises `SetupError` NAME_TAKEN for a pool that Stenopool did not create, unless it is unused or ``adopt`` is set,
    and `OptionsInvalid` for a pool that must change its type while it has runs, which Prefect would lose.
    """
    for kind in QUEUES:
        pool = await read_pool(client, pool_name(kind))
        if pool is None:
            continue
        may_take = pool.type == _TYPES[target] and (adopt or await _is_unused(client, pool))
        if not (is_ours(pool) or may_take):
            raise SetupError(
                ErrorCode.NAME_TAKEN,
                f"The server has a work pool {pool.name} of type {pool.type} that Stenopool did not create.",
                remedy="Set STENOPOOL_DISPATCH__POOL_PREFIX to use other names. If the pool is no longer needed: "
                f"`stenopool deploy --adopt` overwrites one of type {_TYPES[target]}; delete one of another type.",
            )
        if pool.type != _TYPES[target] and (unfinished := await count_unfinished(client, pool.name)):
            raise OptionsInvalid(
                f"The work pool {pool.name} must be recreated as {_TYPES[target]}, but has {unfinished} open runs.",
                remedy="Wait for the runs to finish or cancel them, then deploy again.",
            )


def _in_pool(name: str) -> WorkPoolFilter:
    return WorkPoolFilter(name=WorkPoolFilterName(any_=[name]))


def size_parents(deployment: Deployment, target: Target) -> dict[str, Any]:
    """The job variables of a deployment. Parent runs only wait, so they request less than `prepare`."""
    variables = deployment.work_pool.job_variables
    if target != "kubernetes" or deployment.work_pool.work_queue_name not in PARENT_QUEUES:
        return variables
    own = {} if "scratch_size" in variables else {"STENOPOOL_SCRATCH__MAX_BYTES": str(PARENT_SCRATCH * 3 // 4)}
    return {**_PARENT, **variables, "env": own | variables.get("env", {})}


async def apply_pools(
    client: PrefectClient, target: Target, gpus: int | None, prepares: int | None, changes: Changes | None = None
) -> None:
    """Create or update both pools, after `check_pools`.

    ``gpus``: maximum number of concurrent runs in the pool gpu (default: unchanged, 1 for a new pool).
    ``prepares``: maximum number of concurrent runs of `prepare` in each of its queues.
    ``changes``: changes to the job templates.
    """
    for kind, queues in QUEUES.items():
        job = template(kind, _TYPES[target], (changes or {}).get(kind))
        await _apply_pool(client, kind, target, job, gpus if kind == "gpu" else None)
        pool = pool_name(kind)
        there = {queue.name: queue for queue in await client.read_work_queues(work_pool_name=pool)}
        for priority, (name, limit) in enumerate(queues.items(), start=1):
            limit = prepares if kind == "cpu" and limit is None else limit
            if queue := there.get(name):
                limit = queue.concurrency_limit if limit is None else limit
                await client.update_work_queue(queue.id, priority=priority, concurrency_limit=limit)
            else:
                await client.create_work_queue(name, priority=priority, concurrency_limit=limit, work_pool_name=pool)


async def _apply_pool(
    client: PrefectClient, kind: PoolKind, target: Target, job: dict[str, Any], limit: int | None
) -> None:
    name, type_ = pool_name(kind), _TYPES[target]
    pool = await read_pool(client, name)
    if pool and pool.type != type_:
        # A pool's type cannot be changed. Its deployments are applied later and use the new pool.
        await client.delete_work_pool(name)
        pool = None
    limit = limit or (pool.concurrency_limit if pool else 1 if kind == "gpu" else None)
    wanted = {"description": MARK, "base_job_template": job, "concurrency_limit": limit}
    if pool is None:
        await client.create_work_pool(WorkPoolCreate(name=name, type=type_, **wanted))
    else:
        await client.update_work_pool(name, WorkPoolUpdate(**wanted))


if __name__ == "__main__":
    _, pool, type_ = sys.argv
    json.dump(template(cast("PoolKind", pool), cast("PoolType", type_)), sys.stdout, indent=2)
