"""The node of a pod: by taints, labels, and free resources."""

from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from tests.support.kubernetes.store import Object, Store, now

_UNITS: dict[str, Decimal | int] = {"m": Decimal("0.001"), "k": 1000, "M": 10**6, "G": 10**9, "T": 10**12}
_UNITS |= {f"{prefix}i": 1024**power for power, prefix in enumerate("KMGT", start=1)}


class Taint(NamedTuple):
    """Keeps away pods that do not tolerate it."""

    key: str
    value: str = ""
    effect: str = "NoSchedule"


class Node(NamedTuple):
    """A machine: its resources, and which pods it accepts."""

    name: str
    capacity: dict[str, str]
    labels: dict[str, str] = {}  # noqa: RUF012 (a named tuple)
    taints: tuple[Taint, ...] = ()


class Scheduler:
    """Binds pods to nodes in the order of creation; a pod that fits nowhere waits, with the reason in its status."""

    def __init__(self, store: Store, nodes: Sequence[Node], claims: Sequence[str]) -> None:
        self.store, self.nodes, self.claims = store, nodes, claims

    def reconcile(self) -> None:
        """Bind all pods that fit."""
        pods = self.store.list("pods")
        for pod in sorted(pods, key=lambda one: str(one["metadata"]["creationTimestamp"])):
            if pod["spec"].get("nodeName") or "deletionTimestamp" in pod["metadata"]:
                continue
            node, condition = self._place(pod)
            change: Object = {"status": {"conditions": [condition]}}
            if node:
                change["spec"] = {"nodeName": node}
            known = pod["status"].get("conditions", [{}])[0]
            if known.get("message") != condition.get("message") or node:
                self.store.patch("pods", pod["metadata"]["namespace"], pod["metadata"]["name"], change)

    def _place(self, pod: Object) -> tuple[str, Object]:
        reasons: Counter[str] = Counter()
        for node in self.nodes:
            if not (reason := self._against(pod, node)):
                return node.name, {"type": "PodScheduled", "status": "True", "lastTransitionTime": now()}
            reasons[reason] += 1
        why = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        message = f"0/{len(self.nodes)} nodes are available: {why}."
        return "", {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}

    def _against(self, pod: Object, node: Node) -> str:
        """The reason why the pod does not fit the node, in Kubernetes' words; empty if it fits."""
        spec = pod["spec"]
        for volume in spec.get("volumes", []):
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            if claim and claim not in self.claims:
                return f'persistentvolumeclaim "{claim}" not found'
        for taint in node.taints:
            if not any(_tolerates(one, taint) for one in spec.get("tolerations", [])):
                return f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}"
        if not _attracted(spec, node):
            return "node(s) didn't match Pod's node affinity/selector"
        free = {name: quantity(amount) for name, amount in node.capacity.items()}
        for other in self.store.list("pods"):
            if other["spec"].get("nodeName") == node.name and other["status"]["phase"] in ("Pending", "Running"):
                for name, amount in requests(other).items():
                    free[name] = free.get(name, Decimal(0)) - amount
        for name, amount in requests(pod).items():
            if amount > free.get(name, Decimal(0)):
                return f"Insufficient {name}"
        return ""


def _tolerates(toleration: dict[str, Any], taint: Taint) -> bool:
    if toleration.get("effect", taint.effect) != taint.effect:
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return bool(toleration.get("key", taint.key) == taint.key)
    return (toleration.get("key"), toleration.get("value", "")) == (taint.key, taint.value)


def _attracted(spec: Object, node: Node) -> bool:
    if any(node.labels.get(key) != value for key, value in spec.get("nodeSelector", {}).items()):
        return False
    affinity = spec.get("affinity", {}).get("nodeAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    if not affinity:
        return True
    return any(all(_matches(one, node) for one in term["matchExpressions"]) for term in affinity["nodeSelectorTerms"])


def _matches(expression: dict[str, Any], node: Node) -> bool:
    value = node.labels.get(expression["key"])
    match expression["operator"]:
        case "In":
            return value in expression["values"]
        case "NotIn":
            return value not in expression["values"]
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    raise NotImplementedError(expression["operator"])


def requests(pod: Object) -> dict[str, Decimal]:
    """A pod's resource requests; a limit without a request is one."""
    total: Counter[str] = Counter()
    for container in pod["spec"]["containers"]:
        resources = container.get("resources", {})
        for name, amount in {**resources.get("limits", {}), **resources.get("requests", {})}.items():
            total[name] += quantity(amount)  # type: ignore[assignment]
    return dict(total)  # type: ignore[arg-type]


def quantity(text: str | float) -> Decimal:
    """``500m``, ``12Gi`` or ``2`` as a number."""
    text = str(text)
    for unit in sorted(_UNITS, key=len, reverse=True):
        if text.endswith(unit):
            return Decimal(text.removesuffix(unit)) * _UNITS[unit]
    return Decimal(text)
