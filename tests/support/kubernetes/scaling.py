"""A simulation of nodes that come and go with pending pods, second by second, by the rules of Cluster Autoscaler.

It knows of an empty group what the README of its AWS provider says: CPU, memory, GPUs, and what tags tell of labels,
taints and other resources. A joined node without its GPU counts as starting only if it has the label
`k8s.amazonaws.com/accelerator`; otherwise it looks ready, and another node is added. Prices, quotas and failures of a
cloud are not simulated, and times are parameters.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.support.kubernetes.scheduler import Node, Scheduler
from tests.support.kubernetes.store import Store

GPU = "nvidia.com/gpu"
ACCELERATOR = "k8s.amazonaws.com/accelerator"


@dataclass(frozen=True)
class Group:
    """Nodes of one kind. ``hints``: resources that tags tell of, in addition to CPU, memory and GPUs."""

    name: str
    node: Node
    most: int
    hints: frozenset[str] = frozenset()
    priority: int = 0

    def seen(self) -> Node:
        """An empty group's node, as the autoscaler imagines it."""
        known = {"cpu", "memory", GPU, *self.hints}
        return self.node._replace(
            capacity={name: amount for name, amount in self.node.capacity.items() if name in known}
        )


@dataclass(frozen=True)
class Times:
    """Seconds. By default those behind docs/autoscaling.md's table of costs: three minutes of paid start."""

    scan: int = 10
    join: int = 60
    plugin: int = 20
    image: int = 100
    empty_for: int = 300


@dataclass
class Machine:
    group: Group
    requested: int
    name: str
    removed: int | None = None
    empty_since: int | None = None


@dataclass
class Pod:
    name: str
    spec: dict[str, Any]
    seconds: int
    created: int
    started: int | None = None
    ended: int | None = None
    node: str | None = None


@dataclass
class Cloud:
    """The cluster: its groups, machines and pods, and a clock."""

    groups: Sequence[Group]
    times: Times = field(default_factory=Times)
    machines: list[Machine] = field(default_factory=list)
    pods: list[Pod] = field(default_factory=list)
    now: int = 0

    def submit(self, name: str, spec: dict[str, Any], seconds: int) -> Pod:
        """A pod that runs for so long."""
        pod = Pod(name, spec, seconds, self.now)
        self.pods.append(pod)
        return pod

    def run(self, until: Callable[[], bool], most: int) -> bool:
        """Let time pass until then; False if that takes longer than ``most`` seconds."""
        end = self.now + most
        while not until():
            if self.now >= end:
                return False
            self.now += 1
            self._tick()
        return True

    def interrupt(self, machine: Machine) -> list[Pod]:
        """Take a spot machine: its pods end, and new ones are created, as Prefect reschedules their runs."""
        machine.removed = self.now
        again = []
        for pod in self.pods:
            if pod.node == machine.name and pod.ended is None:
                pod.ended = self.now
                again.append(self.submit(f"{pod.name}, again", pod.spec, pod.seconds))
        return again

    def alive(self) -> list[Machine]:
        return [machine for machine in self.machines if machine.removed is None]

    def paid(self) -> int:
        """Seconds of machines that were paid."""
        return sum((self.now if one.removed is None else one.removed) - one.requested for one in self.machines)

    def _tick(self) -> None:
        for pod in self.pods:
            if pod.started is not None and pod.ended is None and self.now >= pod.started + pod.seconds:
                pod.ended = self.now
        for pod in self._pending():
            if node := self._place(pod.spec, self._nodes(self._usable)):
                first = not any(other.node == node for other in self.pods)  # the image is pulled once per machine
                pod.node, pod.started = node, self.now + (self.times.image if first else 0)
        for machine in self.alive():
            busy = any(pod.node == machine.name and pod.ended is None for pod in self.pods)
            if busy or self.now < machine.requested + self.times.join + self.times.plugin:
                machine.empty_since = None
            else:
                machine.empty_since = machine.empty_since or self.now
                if self.now - machine.empty_since >= self.times.empty_for:
                    machine.removed = self.now
        if self.now % self.times.scan == 0:
            self._scale_up()

    def _scale_up(self) -> None:
        upcoming = [one for one in self.alive() if not self._looks_ready(one)]
        free = [one.group.node._replace(name=one.name) for one in upcoming]
        taken: list[tuple[str, dict[str, Any]]] = []
        for pod in self._pending():
            if name := self._place(pod.spec, free, taken):
                taken.append((name, pod.spec))
                continue
            for group in sorted(self.groups, key=lambda one: -one.priority):
                count = sum(one.group.name == group.name for one in self.alive())
                if count < group.most and self._place(pod.spec, [group.seen()]):
                    machine = Machine(group, self.now, f"{group.name}-{len(self.machines)}")
                    self.machines.append(machine)
                    free.append(group.node._replace(name=machine.name))
                    taken.append((machine.name, pod.spec))
                    break

    def _pending(self) -> list[Pod]:
        return [pod for pod in self.pods if pod.node is None and pod.ended is None]

    def _usable(self, machine: Machine) -> bool:
        return self.now >= machine.requested + self.times.join + (self.times.plugin if self._has_gpu(machine) else 0)

    def _looks_ready(self, machine: Machine) -> bool:
        if self._has_gpu(machine) and ACCELERATOR not in machine.group.node.labels:
            return self.now >= machine.requested + self.times.join
        return self._usable(machine)

    def _has_gpu(self, machine: Machine) -> bool:
        return GPU in machine.group.node.capacity

    def _nodes(self, which: Callable[[Machine], bool]) -> list[Node]:
        return [one.group.node._replace(name=one.name) for one in self.alive() if which(one)]

    def _place(self, spec: dict[str, Any], nodes: list[Node], taken: Sequence[tuple[str, dict[str, Any]]] = ()) -> str:
        """The node that has room for a pod next to those that are on it; empty if none has."""
        store = Store()
        there = [(pod.node, pod.spec) for pod in self.pods if pod.node and pod.ended is None]
        for number, (name, other) in enumerate([*there, *taken]):
            body = {
                "metadata": {"name": str(number)},
                "spec": {**other, "nodeName": name},
                "status": {"phase": "Running"},
            }
            store.create("pods", "runs", body)
        store.create("pods", "runs", {"metadata": {"name": "new"}, "spec": spec, "status": {"phase": "Pending"}})
        Scheduler(store, nodes, []).reconcile()
        return str(store.get("pods", "runs", "new")["spec"].get("nodeName", ""))


def without(group: Group, *, hint: str = "", label: str = "") -> Group:
    """The group with a mistake in it."""
    labels = {key: value for key, value in group.node.labels.items() if key != label}
    return replace(group, hints=group.hints - {hint}, node=group.node._replace(labels=labels))
