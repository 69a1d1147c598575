"""Connections allowed by a set of network policies, as an enforcing network plugin decides."""

import ipaddress
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Peer:
    """A pod of a namespace, or, without a namespace, an address outside the cluster."""

    ip: str
    namespace: str | None = None
    labels: dict[str, str] = field(default_factory=dict)


class Policies:
    """The network policies of some manifests."""

    def __init__(self, manifests: list[dict[str, Any]]) -> None:
        self.policies = [each for each in manifests if each["kind"] == "NetworkPolicy"]

    def allow(self, source: Peer, target: Peer, port: int, protocol: str = "TCP") -> bool:
        """Both ends must agree: the source to let it out, the target to let it in."""
        return self._lets("egress", source, target, port, protocol) and self._lets(
            "ingress", target, source, port, protocol
        )

    def _lets(self, way: str, at: Peer, other: Peer, port: int, protocol: str) -> bool:
        binding = [
            each["spec"]
            for each in self.policies
            if each["metadata"]["namespace"] == at.namespace
            and way.capitalize() in each["spec"]["policyTypes"]
            and _selects(each["spec"]["podSelector"], at.labels)
        ]
        side = "to" if way == "egress" else "from"
        rules = [rule for spec in binding for rule in spec.get(way, ())]
        return not binding or any(
            _among(rule.get(side), other, at.namespace) and _opens(rule.get("ports"), port, protocol) for rule in rules
        )


def _among(peers: list[dict[str, Any]] | None, other: Peer, namespace: str | None) -> bool:
    # A rule that names nobody means everybody.
    return not peers or any(_is(peer, other, namespace) for peer in peers)


def _is(peer: dict[str, Any], other: Peer, namespace: str | None) -> bool:
    if block := peer.get("ipBlock"):
        ip = ipaddress.ip_address(other.ip)
        without = [ipaddress.ip_network(each) for each in block.get("except", ())]
        return ip in ipaddress.ip_network(block["cidr"]) and not any(ip in each for each in without)
    if other.namespace is None:
        return False
    if "namespaceSelector" in peer:
        if not _selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": other.namespace}):
            return False
    elif other.namespace != namespace:
        return False
    return _selects(peer.get("podSelector", {}), other.labels)


def _selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    assert selector.keys() <= {"matchLabels"}, "only labels are understood here"
    return selector.get("matchLabels", {}).items() <= labels.items()


def _opens(ports: list[dict[str, Any]] | None, port: int, protocol: str) -> bool:
    return not ports or any(each["port"] == port and each.get("protocol", "TCP") == protocol for each in ports)
