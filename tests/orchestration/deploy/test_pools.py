"""Kubernetes accepts every job that a worker creates from the templates, on the right nodes, with few permissions."""

import asyncio
import json
import uuid
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import kubernetes_validate
import pytest
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import Flow, FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.workers.process import ProcessJobConfiguration
from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

from stenopool.errors import ObjectNotFound, OptionsInvalid
from stenopool.orchestration.deploy.pools import (
    Changes,
    PoolType,
    check_variables,
    read_changes,
    size_parents,
    template,
)
from stenopool.orchestration.deploy.specification import Deployment, read
from stenopool.orchestration.names import PoolKind
from tests.support.kubernetes import Node, Taint
from tests.support.kubernetes.scheduler import Scheduler
from tests.support.kubernetes.store import Store

POOLS: tuple[PoolKind, ...] = ("cpu", "gpu")
KINDS: tuple[PoolType, ...] = ("kubernetes", "process")
OVERRIDES: dict[str, Any] = {
    "image": "registry.example/stenopool:1.2.3-cuda12",
    "image_pull_policy": "Always",
    "image_pull_secrets": [{"name": "registry"}],
    "namespace": "speech",
    "service_account_name": "transcriber",
    "storage_secret": "garage",
    "env": {"STENOPOOL_MODELS__MIRROR": "s3://models", "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "60"},
    "model_cache": {"name": "models", "persistentVolumeClaim": {"claimName": "weights"}},
    "scratch_size": "100Gi",
    "cpu_request": "500m",
    "memory_request": "1Gi",
    "memory_limit": "2Gi",
    "active_deadline_seconds": 600,
    "finished_job_ttl": 0,
    "node_selector": {"nvidia.com/gpu.product": "NVIDIA-L4"},
    "tolerations": [{"key": "team", "operator": "Exists"}],
    "runtime_class_name": "nvidia",
    "priority_class_name": "low",
    "extra_volume": {"name": "ca", "configMap": {"name": "ca"}},
    "extra_volume_mount": {"name": "ca", "mountPath": "/etc/company"},
    "labels": {"team": "archive"},
    "annotations": {"cost": "calls"},
}
# The only call that would query the API for rendering: blocks and variables, which the templates do not use.
NO_API = AsyncMock()


def rendered(
    pool: PoolKind, values: dict[str, Any] | None = None, base: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The job as the worker would post it for a run."""

    async def render() -> KubernetesWorkerJobConfiguration:
        return await KubernetesWorkerJobConfiguration.from_template_and_values(
            base or template(pool, "kubernetes"), values or {}, client=NO_API
        )

    configuration = asyncio.run(render())
    flow = Flow(id=uuid.uuid4(), name="transcribe")
    run = FlowRun(id=uuid.uuid4(), flow_id=flow.id, name="transcribe calls/2026-11 → 3")
    with temporary_settings({PREFECT_API_URL: "http://prefect.example/api"}):
        configuration.prepare_for_flow_run(run, flow=flow)
    return configuration.job_manifest


def pod_of(job: dict[str, Any]) -> dict[str, Any]:
    return dict(job["spec"]["template"]["spec"])


def environment_of(job: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in pod_of(job)["containers"][0]["env"]}


@pytest.mark.parametrize("values", [{}, OVERRIDES, *({key: value} for key, value in OVERRIDES.items())], ids=list)
@pytest.mark.parametrize("pool", POOLS)
def test_jobs_are_valid(pool: PoolKind, values: dict[str, Any]) -> None:
    job = rendered(pool, values)
    kubernetes_validate.validate(job, "1.37", strict=True)
    assert "{{" not in json.dumps(job)


@pytest.mark.parametrize("at", ["spec", "spec.template.spec", "spec.template.spec.containers.0"])
def test_a_mistake_is_found(at: str) -> None:
    job: Any = rendered("gpu")
    where = job
    for part in at.split("."):
        where = where[int(part) if part.isdigit() else part]
    where["tolerration"] = "nvidia.com/gpu"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, "1.37", strict=True)


@pytest.mark.parametrize("pool", POOLS)
def test_jobs_run_once_with_a_deadline_and_few_permissions(pool: PoolKind) -> None:
    job = rendered(pool)
    spec, pod = job["spec"], pod_of(job)
    assert (spec["backoffLimit"], spec["ttlSecondsAfterFinished"], spec["podReplacementPolicy"]) == (0, 3600, "Failed")
    assert "podFailurePolicy" not in spec
    # The deadline is the pod's: the wait for a GPU must not count.
    assert (pod["restartPolicy"], pod["activeDeadlineSeconds"]) == ("Never", 21600)
    assert "activeDeadlineSeconds" not in spec
    assert pod["serviceAccountName"] == "stenopool"
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"] | {"fsGroupChangePolicy": ""} == {
        "runAsNonRoot": True, "runAsUser": 10001, "runAsGroup": 0, "fsGroup": 0, "fsGroupChangePolicy": "",
        "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["envFrom"] == [{"secretRef": {"name": "stenopool-storage", "optional": True}}]
    assert {"cpu", "memory", "ephemeral-storage"} <= container["resources"]["requests"].keys()
    assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("pool", POOLS)
def test_pods_are_not_moved_and_have_time_to_stop(pool: PoolKind) -> None:
    job = rendered(pool, {"annotations": {"cost": "calls"}})
    assert job["spec"]["template"]["metadata"]["annotations"] == {
        "karpenter.sh/do-not-disrupt": "true",
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
        "cost": "calls",
    }
    grace = float(environment_of(job)["STENOPOOL_STOP__GRACE"])
    prefects_own = 30  # ProcessManager.kill's default: SIGKILL to the flow's process this long after SIGTERM
    assert grace < prefects_own < pod_of(job)["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("pool", POOLS)
def test_jobs_and_pods_carry_the_recommended_labels(pool: PoolKind) -> None:
    job = rendered(pool, {"labels": {"team": "archive"}, "namespace": "speech"})
    for metadata in (job["metadata"], job["spec"]["template"]["metadata"]):
        labels = {key.partition("/")[2]: value for key, value in metadata["labels"].items() if "app.kube" in key}
        assert labels | {"version": ""} == {
            "name": "stenopool", "instance": "speech", "component": pool, "part-of": "stenopool",
            "managed-by": "prefect", "version": "",
        }  # fmt: skip
        assert metadata["labels"]["team"] == "archive"
        assert metadata["labels"]["prefect.io/flow-run-id"]  # the labels that the observer watches


@pytest.mark.parametrize("pool", POOLS)
def test_all_writes_go_to_a_volume(pool: PoolKind) -> None:
    job = rendered(pool)
    (container,) = pod_of(job)["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert set(mounts.values()) == {volume["name"] for volume in pod_of(job)["volumes"]}
    for name in ("HOME", "PREFECT_HOME", "STENOPOOL_SCRATCH__DIR", "STENOPOOL_MODELS__CACHE"):
        assert any(f"{environment_of(job)[name]}/".startswith(f"{path}/") for path in mounts), name
    # The kubelet evicts pods above the volume's size; our limit is lower.
    volume = next(one for one in pod_of(job)["volumes"] if one["name"] == "tmp")
    assert volume["emptyDir"]["sizeLimit"] == "20Gi"
    assert int(environment_of(job)["STENOPOOL_SCRATCH__MAX_BYTES"]) < 20 * 1024**3


def test_values_override_the_environment() -> None:
    environment = environment_of(rendered("cpu", {"env": {"STENOPOOL_STOP__GRACE": "20", "A": "b"}}))
    assert (environment["STENOPOOL_STOP__GRACE"], environment["A"]) == ("20", "b")
    assert environment["STENOPOOL_DISPATCH__BY"] == "deployment"
    # Heartbeats every 30 s, Prefect's minimum, for the automation that waits for three of them.
    assert environment["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"


TAINT = Taint("nvidia.com/gpu", "present")
GPU = {"cpu": "8", "memory": "32Gi", "ephemeral-storage": "100Gi", "nvidia.com/gpu": "1"}
CPU = {name: amount for name, amount in GPU.items() if name != "nvidia.com/gpu"}
NVIDIA = {"accelerator": "nvidia"}


@pytest.mark.parametrize(
    ("pool", "node", "fits"),
    [
        ("gpu", Node("gpu", GPU, NVIDIA, (TAINT,)), True),
        ("gpu", Node("gpu without a taint", GPU, NVIDIA), True),
        ("gpu", Node("gpu without drivers", CPU, NVIDIA, (TAINT,)), False),
        ("gpu", Node("gpu of another label", GPU, {"accelerator": "amd"}, (TAINT,)), False),
        ("gpu", Node("gpu of another team", GPU, NVIDIA, (TAINT, Taint("team", "vision"))), False),
        ("gpu", Node("cpu", CPU), False),
        ("cpu", Node("cpu", CPU), True),
        ("cpu", Node("gpu", GPU, NVIDIA, (TAINT,)), False),
        ("cpu", Node("gpu without a taint", GPU, NVIDIA), False),
        ("cpu", Node("gpu without a label", GPU, {}, (TAINT,)), False),
    ],
    ids=lambda value: value.name if isinstance(value, Node) else str(value),
)
def test_pods_fit_only_the_right_nodes(pool: PoolKind, node: Node, fits: bool) -> None:
    store = Store()
    pod = {"metadata": {"name": "pod"}, "spec": pod_of(rendered(pool)), "status": {"phase": "Pending"}}
    store.create("pods", "stenopool", pod)
    Scheduler(store, [node], []).reconcile()
    assert (store.get("pods", "stenopool", "pod")["spec"].get("nodeName") == node.name) is fits


def test_a_gpu_pod_requests_one_gpu() -> None:
    (container,) = pod_of(rendered("gpu"))["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert pod_of(rendered("gpu"))["nodeSelector"] == NVIDIA
    (toleration,) = pod_of(rendered("gpu"))["tolerations"]
    assert toleration == {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    shm = next(one for one in pod_of(rendered("gpu"))["volumes"] if one["name"] == "shm")
    assert shm["emptyDir"]["medium"] == "Memory"
    assert pod_of(rendered("cpu"))["tolerations"] == []


def test_fields_without_a_value_are_left_out() -> None:
    pod = pod_of(rendered("gpu"))
    assert not pod.keys() & {"runtimeClassName", "priorityClassName"}
    names = [volume["name"] for volume in pod["volumes"]]
    assert names == ["tmp", "models", "shm"]
    pod = pod_of(rendered("gpu", OVERRIDES))
    assert (pod["runtimeClassName"], pod["priorityClassName"]) == ("nvidia", "low")
    assert {"name": "ca", "mountPath": "/etc/company"} in pod["containers"][0]["volumeMounts"]


CHANGES = """
gpu:
  gpu_resource: nvidia.com/mig-1g.10gb
  variables: {runtime_class_name: nvidia, priority_class_name: null, env: {A: b}}
  job_manifest:
    spec: {template: {spec: {securityContext: {runAsUser: null, fsGroup: null}, hostAliases: []}}}
"""


def changes(tmp_path: Path, text: str) -> Changes:
    path = tmp_path / "pools.yaml"
    path.write_text(text)
    return read_changes(path)


def test_an_installation_changes_the_job_template(tmp_path: Path) -> None:
    base = template("gpu", "kubernetes", changes(tmp_path, CHANGES)["gpu"])
    job = rendered("gpu", {"env": {"C": "d"}}, base=base)
    kubernetes_validate.validate(job, "1.37", strict=True)
    pod = pod_of(job)
    assert pod["runtimeClassName"] == "nvidia"
    assert pod["securityContext"].keys() == {"runAsNonRoot", "runAsGroup", "fsGroupChangePolicy", "seccompProfile"}
    assert pod["hostAliases"] == []
    assert pod["containers"][0]["resources"]["limits"] == {"memory": "16Gi", "nvidia.com/mig-1g.10gb": "1"}
    # A deployment's variables are added to those of the installation.
    assert environment_of(job).items() >= {"A": "b", "C": "d", "STENOPOOL_STOP__GRACE": "25"}.items()
    assert template("gpu", "kubernetes") != base


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("gpu: {variables: {runtimeClass: nvidia}}", "no job variable runtimeClass"),
        ("tpu: {}", "tpu"),
        ("gpu: {variable: {}}", "variable"),
        ("gpu: [", "pools.yaml"),
    ],
)
def test_a_mistake_in_the_changes_is_found(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(OptionsInvalid, match=word):
        changes(tmp_path, text)


def test_a_file_of_changes_that_is_not_there_is_found(tmp_path: Path) -> None:
    with pytest.raises(ObjectNotFound):
        read_changes(tmp_path / "pools.yaml")


@pytest.mark.parametrize("deployment", read(), ids=lambda each: f"{each.flow}/{each.name}")
def test_only_runs_that_wait_for_others_are_small(deployment: Deployment) -> None:
    sized = size_parents(deployment, "kubernetes")
    assert size_parents(deployment, "local") == {}
    assert bool(sized) is (deployment.flow == "ingest")
    if sized:
        job = rendered("cpu", sized)
        assert int(environment_of(job)["STENOPOOL_SCRATCH__MAX_BYTES"]) < 1024**3
        assert pod_of(job)["containers"][0]["resources"]["requests"]["cpu"] == "250m"


def test_a_parents_own_size_is_kept() -> None:
    (wanted, *_) = read()
    pool = wanted.work_pool.model_copy(update={"job_variables": {"cpu_request": "1", "env": {"A": "b"}}})
    sized = size_parents(wanted.model_copy(update={"work_pool": pool}), "kubernetes")
    assert (sized["cpu_request"], sized["memory_limit"], sized["env"]["A"]) == ("1", "1Gi", "b")


def test_a_template_without_parallelism_is_refused() -> None:
    base = template("cpu", "kubernetes")
    del base["job_configuration"]["job_manifest"]["spec"]["parallelism"]
    with pytest.raises(ValueError, match="missing required attributes"):
        rendered("cpu", base=base)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_variable_is_described_and_used(pool: PoolKind, kind: PoolType) -> None:
    base = template(pool, kind)
    used = json.dumps(base["job_configuration"])
    for name, variable in base["variables"]["properties"].items():
        assert variable["title"], name
        assert variable["description"].endswith("."), name
        assert f"{{{{ {name} }}}}" in used or name == "env", f"{name} is unused"


@pytest.mark.parametrize("pool", POOLS)
def test_process_jobs_are_valid(pool: PoolKind) -> None:
    async def render() -> ProcessJobConfiguration:
        values: dict[str, Any] = {"command": "touch pwned", "working_dir": "/", "stream_output": False}
        return await ProcessJobConfiguration.from_template_and_values(template(pool, "process"), values, client=NO_API)

    configuration = asyncio.run(render())
    wanted = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30", "STENOPOOL_DISPATCH__BY": "deployment"}
    assert wanted.items() <= dict(configuration.env).items()
    assert (configuration.command, configuration.working_dir) == (None, None), "a run may not choose what is executed"
    assert configuration.stream_output is False


@pytest.mark.parametrize("variable", ["command", "env", "working_dir", "env.PATH"])
def test_a_servers_process_pool_accepts_no_command_or_environment(variable: str, prefect_api: None) -> None:
    """However the run is requested, the server refuses it."""
    from prefect import flow
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError

    async def ask() -> None:
        async with get_client() as client:
            name = f"taken-{uuid.uuid4().hex[:8]}"
            pool = WorkPoolCreate(name=name, type="process", base_job_template=template("cpu", "process"))
            await client.create_work_pool(pool)
            made = await client.create_deployment(
                await client.create_flow(flow(lambda: None, name=name)), name, work_pool_name=name
            )
            await client.create_flow_run_from_deployment(made, job_variables={"stream_output": False})
            with pytest.raises(PrefectHTTPStatusError, match="Additional properties are not allowed"):
                await client.create_flow_run_from_deployment(made, job_variables={variable: "x"})

    asyncio.run(ask())


@pytest.mark.parametrize("variable", ["command", "env", "working_dir"])
def test_a_file_that_sets_a_forbidden_variable_is_refused_before_any_change(variable: str) -> None:
    with pytest.raises(OptionsInvalid, match=f"no job variable {variable}"):
        check_variables("cpu", "local", {variable: "x", "stream_output": True})
    check_variables("cpu", "local", {"stream_output": True})
    check_variables("cpu", "kubernetes", {"env": {"A": "b"}})
