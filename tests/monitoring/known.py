"""Series and labels that rules and dashboards may name: our metrics, recorded series, and documented exporters."""

from collections.abc import Iterator
from functools import lru_cache

import yaml

from monitoring.render import RULES
from stenopool.metrics.definitions import read_metrics
from tests.support.promql import series

# From the documentation of kube-state-metrics, DCGM exporter, node exporter and Prometheus.
_OTHERS = {
    "kube_node_status_allocatable": {"node", "resource", "unit"},
    "kube_pod_container_resource_requests": {"namespace", "pod", "container", "node", "resource", "unit"},
    "kube_pod_status_phase": {"namespace", "pod", "phase"},
    "kube_pod_labels": {"namespace", "pod", "label_app_kubernetes_io_name"},
    "DCGM_FI_DEV_GPU_UTIL": {"gpu", "Hostname"},
    "DCGM_FI_DEV_FB_USED": {"gpu", "Hostname"},
    "DCGM_FI_DEV_FB_FREE": {"gpu", "Hostname"},
    "node_cpu_seconds_total": {"cpu", "mode"},
    "node_filesystem_avail_bytes": {"device", "fstype", "mountpoint"},
    "node_filesystem_readonly": {"device", "fstype", "mountpoint"},
    "node_filesystem_size_bytes": {"device", "fstype", "mountpoint"},
    "up": set[str](),
    "ALERTS": {"alertname", "alertstate", "severity", "service", "seen_by"},
}
_TARGET = {"job", "instance"}
JOBS = {"stenopool-exporter", "stenopool-api", "stenopool-worker"}


def rules(kind: str) -> Iterator[dict[str, object]]:
    """All rules of one kind: ``record`` or ``alert``."""
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from (rule for rule in group["rules"] if kind in rule)


@lru_cache
def known() -> dict[str, set[str] | None]:
    """Each series' name and its labels; None: any label (those of a recorded series are not tracked)."""
    ours = {}
    for metric in read_metrics().values():
        names = [metric.name]
        if metric.kind == "histogram":
            names = [f"{metric.name}_{part}" for part in ("bucket", "sum", "count")]
        ours |= {name: {*metric.labels, *_TARGET, *({"le"} if metric.kind == "histogram" else ())} for name in names}
    recorded = {str(rule["record"]): None for rule in rules("record")}
    return {**ours, **recorded, **{name: labels | _TARGET for name, labels in _OTHERS.items()}}


def unknown(expression: str) -> list[str]:
    """Names and labels in an expression that nothing exports."""
    faults = []
    for name, labels in series(expression):
        if name not in known():
            faults.append(name)
        elif (there := known()[name]) is not None:
            faults += [f"{name}{{{label}}}" for label in sorted(labels - there)]
    return faults
