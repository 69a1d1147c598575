"""Parents, children and services fit together on the smallest cluster, whatever the order in which they start."""

import copy
import random
from typing import Any

import pytest
import yaml

from stenopool.orchestration.deploy.pools import PoolChanges, size_parents, template
from stenopool.orchestration.deploy.specification import Deployment, read
from stenopool.orchestration.names import PARENT_QUEUES, QUEUES, PoolKind
from tests.helm.test_chart import by_kind
from tests.orchestration.deploy.test_pools import pod_of
from tests.orchestration.deploy.test_pools import rendered as job
from tests.support.helm.chart import Manifest, pods
from tests.support.kubernetes import Node, Taint
from tests.support.kubernetes.scheduler import Scheduler, requests
from tests.support.kubernetes.store import Store

# An m7i.xlarge (4 vCPUs, 16 GiB, 100 GB of disk), less what the kubelet keeps, and 180m CPU and 300 MiB of pods that
# are on every node: network, proxy, identity, disks. The smallest example has at most three.
ALLOCATABLE = {"cpu": "3740m", "memory": "14Gi", "ephemeral-storage": "80Gi"}
SMALLEST_CLUSTER = [Node(f"cpu-{number}", ALLOCATABLE) for number in range(3)]
# A g6.xlarge or g5.xlarge.
GPU_NODE = Node(
    "gpu",
    {**ALLOCATABLE, "memory": "13Gi", "nvidia.com/gpu": "1"},
    {"accelerator": "nvidia"},
    (Taint("nvidia.com/gpu"),),
)


def run_of(deployment: Deployment, manifests: list[Manifest], *, sized: bool = True) -> dict[str, Any]:
    """The pod of a run, as the chart, `stenopool deploy` and the worker make it."""
    pool: PoolKind = deployment.work_pool.name
    changes = yaml.safe_load(by_kind(manifests, "ConfigMap")["stenopool-deploy"]["data"]["pools.yaml"])
    base = template(pool, "kubernetes", PoolChanges.model_validate(changes[pool]))
    return pod_of(job(pool, size_parents(deployment, "kubernetes") if sized else {}, base=base))


def services(manifests: list[Manifest]) -> list[dict[str, Any]]:
    """The pods that are always there."""
    return [
        each["spec"]["template"]["spec"]
        for each in manifests
        if each["kind"] == "Deployment" and each["metadata"]["name"] in pods(manifests)
        for _ in range(each["spec"].get("replicas", 1))
    ]


def unplaced(specs: list[tuple[str, dict[str, Any]]], nodes: list[Node]) -> list[str]:
    """Pods, in the order in which they are created, that find no node while all others stay."""
    store = Store()
    for number, (name, spec) in enumerate(specs):
        metadata = {"name": f"{number:03}-{name}", "creationTimestamp": f"{number:06}"}
        store.create("pods", "stenopool", {"metadata": metadata, "spec": spec, "status": {"phase": "Pending"}})
        Scheduler(store, nodes, []).reconcile()
    found = store.list("pods")
    return [each["metadata"]["name"].partition("-")[2] for each in found if "nodeName" not in each["spec"]]


def everything(
    manifests: list[Manifest], order: random.Random, *, sized: bool = True
) -> list[tuple[str, dict[str, Any]]]:
    """Services; then as many parents as their queues allow, in any order, and the child that they wait for last."""
    deployments = {each.work_pool.work_queue_name: each for each in read() if each.flow == "ingest"}
    parents = [
        ("parent", run_of(deployments[queue], manifests, sized=sized))
        for queue in PARENT_QUEUES
        for _ in range(QUEUES["cpu"][queue] or 0)
    ]
    order.shuffle(parents)
    (prepare,) = (each for each in read() if each.flow == "prepare")
    return [*(("service", each) for each in services(manifests)), *parents, ("prepare", run_of(prepare, manifests))]


@pytest.mark.parametrize("seed", range(5))
def test_parents_leave_a_place_for_their_children(rendered: list[Manifest], seed: int) -> None:
    specs = everything(copy.deepcopy(rendered), random.Random(seed))
    assert unplaced(specs, SMALLEST_CLUSTER) == []


def test_parents_as_large_as_prepare_would_be_found(rendered: list[Manifest]) -> None:
    assert "prepare" in unplaced(everything(rendered, random.Random(0), sized=False), SMALLEST_CLUSTER)


def test_all_parents_together_request_a_third_of_the_cluster(rendered: list[Manifest]) -> None:
    parents = [spec for name, spec in everything(rendered, random.Random(0)) if name == "parent"]
    assert len(parents) == 12
    total = {name: sum(requests({"spec": each})[name] for each in parents) for name in ("cpu", "memory")}
    assert total["cpu"] <= 3 * 4 / 3
    assert total["memory"] <= 3 * 16 * 1024**3 / 3


def test_a_gpu_run_fits_the_smallest_gpu_node(rendered: list[Manifest]) -> None:
    (transcribe,) = (each for each in read() if each.flow == "transcribe")
    run = run_of(transcribe, rendered)
    assert unplaced([("run", run)], [*SMALLEST_CLUSTER, GPU_NODE]) == []
    assert unplaced([("run", copy.deepcopy(run)), ("run", run)], [*SMALLEST_CLUSTER, GPU_NODE]) == ["run"]
