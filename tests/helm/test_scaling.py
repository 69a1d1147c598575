"""GPU nodes from zero, simulated: the pods as they are rendered, node groups as Terraform makes them.

docs/autoscaling.md has the results; what it calls estimated are the simulation's times.
"""

import re
from typing import Any

import pytest

from stenopool.orchestration.deploy.specification import read
from tests.helm.test_capacity import ALLOCATABLE, GPU_NODE, run_of
from tests.support.helm.chart import REPOSITORY, Manifest
from tests.support.kubernetes import Node
from tests.support.kubernetes.scaling import ACCELERATOR, Cloud, Group, Times, without

GPU_NODES = GPU_NODE._replace(labels={**GPU_NODE.labels, ACCELERATOR: "nvidia-l4"})
HINTS = frozenset({"ephemeral-storage"})
SPOT = Group("gpu-spot", GPU_NODES, most=4, hints=HINTS, priority=20)
ON_DEMAND = Group("gpu", GPU_NODES, most=4, hints=HINTS, priority=10)
CPU = Group("cpu", Node("cpu", ALLOCATABLE), most=3, hints=HINTS)
SHARD, START = 334, 21  # seconds of a shard of four hours, and of them its start
DOCUMENTED = 6 * 60
SLOW = Times(scan=15, join=90, plugin=30, image=180)  # the upper bounds of the page's table


@pytest.fixture
def transcribe(rendered: list[Manifest]) -> dict[str, Any]:
    (deployment,) = (each for each in read() if each.flow == "transcribe")
    return run_of(deployment, rendered)


@pytest.mark.parametrize("times", [Times(), SLOW], ids=["usual", "slow"])
def test_a_pending_run_gets_one_node_of_the_right_group_in_time(transcribe: dict[str, Any], times: Times) -> None:
    cloud = Cloud([ON_DEMAND, CPU, SPOT], times)
    pod = cloud.submit("transcribe", transcribe, SHARD)
    assert cloud.run(lambda: pod.ended is not None, 3600)
    assert pod.started is not None
    assert pod.started + START <= DOCUMENTED
    assert [machine.group.name for machine in cloud.machines] == ["gpu-spot"]
    # And then it goes.
    assert cloud.run(lambda: not cloud.alive(), 3600)
    assert [machine.group.name for machine in cloud.machines] == ["gpu-spot"]


def test_as_many_nodes_as_runs_and_no_more_than_allowed(transcribe: dict[str, Any]) -> None:
    cloud = Cloud([CPU, SPOT])
    pods = [cloud.submit(f"transcribe {number}", transcribe, SHARD) for number in range(6)]
    assert cloud.run(lambda: all(pod.ended for pod in pods), 3600)
    assert len(cloud.machines) == SPOT.most


@pytest.mark.parametrize("resource", sorted(HINTS))
def test_without_a_hint_no_node_is_added(transcribe: dict[str, Any], resource: str) -> None:
    """Finding A1: the autoscaler takes the resource of an empty group to be zero."""
    cloud = Cloud([without(SPOT, hint=resource)])
    pod = cloud.submit("transcribe", transcribe, SHARD)
    assert not cloud.run(lambda: pod.started is not None, 3600)
    assert cloud.machines == []


def test_every_resource_that_a_run_requests_is_hinted(transcribe: dict[str, Any]) -> None:
    resources = transcribe["containers"][0]["resources"]
    assert {*resources["requests"], *resources["limits"]} <= {"cpu", "memory", "nvidia.com/gpu", *HINTS}
    text = "".join(path.read_text() for path in (REPOSITORY / "terraform").rglob("*.tf"))
    for hint in HINTS:
        assert f"node-template/resources/{hint}" in text
    assert ACCELERATOR in text


def test_without_the_accelerators_label_two_nodes_are_added(transcribe: dict[str, Any]) -> None:
    """Finding B1: a node whose device plugin has not registered looks ready and without a GPU."""
    cloud = Cloud([without(SPOT, label=ACCELERATOR), without(ON_DEMAND, label=ACCELERATOR)])
    pod = cloud.submit("transcribe", transcribe, SHARD)
    assert cloud.run(lambda: pod.started is not None, 3600)
    assert len(cloud.machines) > 1


def test_a_reclaimed_spot_machine_is_replaced(transcribe: dict[str, Any]) -> None:
    cloud = Cloud([SPOT, ON_DEMAND])
    pod = cloud.submit("transcribe", transcribe, SHARD)
    assert cloud.run(lambda: pod.started is not None and cloud.now > pod.started + 60, 3600)
    (again,) = cloud.interrupt(cloud.machines[0])
    since = cloud.now
    assert cloud.run(lambda: again.started is not None, 3600)
    assert again.started is not None
    assert again.started - since <= DOCUMENTED
    assert len(cloud.machines) == 2


def share_of_work(transcribe: dict[str, Any], shards: int) -> float:
    """How much of the paid time a node works, with shards one after the other and then none."""
    cloud = Cloud([SPOT])
    for number in range(shards):
        pod = cloud.submit(f"shard {number}", transcribe, SHARD)
        assert cloud.run(lambda pod=pod: pod.ended is not None, 3600)  # type: ignore[misc]
    assert cloud.run(lambda: not cloud.alive(), 3600)
    assert len(cloud.machines) == 1
    return shards * (SHARD - START) / cloud.paid()


def documented_shares() -> dict[int, int]:
    text = (REPOSITORY / "docs" / "autoscaling.md").read_text().partition("## Idle GPUs")[2]
    return {int(shards): int(share) for shards, share in re.findall(r"^\| (\d+) \| (\d+) % \|", text, re.MULTILINE)}


@pytest.mark.parametrize("shards", [1, 5, 20])
def test_the_documented_cost_of_idle_nodes_is_the_simulations(transcribe: dict[str, Any], shards: int) -> None:
    assert documented_shares()[shards] == pytest.approx(100 * share_of_work(transcribe, shards), abs=1)
