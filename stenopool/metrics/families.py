"""Metric families for Prometheus' client library, created from the definitions."""

from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family

from stenopool import __version__
from stenopool.metrics.amounts import Histogram as Observed
from stenopool.metrics.definitions import read_metrics

L = TypeVar("L", bound=tuple[str, ...])
Own = TypeVar("Own", Counter, Gauge, Histogram)


def family(name: str, values: Mapping[L, float] | Mapping[str, float] | float) -> Family:
    """A counter or gauge. ``values``: by label values (a string for a single label), or a single number."""
    metric = read_metrics()[name]
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    made = kind(name, metric.help, labels=tuple(metric.labels))
    for labels, value in (values if isinstance(values, Mapping) else {(): values}).items():
        made.add_metric((labels,) if isinstance(labels, str) else labels, float(value))
    return made


def histogram_family(name: str, values: Mapping[L, Observed]) -> Family:
    """A histogram of stored observations. Bounds that are not the metric's own are added to them."""
    metric = read_metrics()[name]
    made = HistogramMetricFamily(name, metric.help, labels=tuple(metric.labels))
    for labels, observed in values.items():
        bounds = sorted({*map(repr, metric.buckets), *observed.buckets} - {"+Inf"}, key=float)
        counts = accumulate(observed.buckets[bound] for bound in bounds)
        made.add_metric(labels, [*zip(bounds, counts, strict=True), ("+Inf", observed.count)], observed.sum)
    return made


def own(kind: type[Own], name: str, registry: CollectorRegistry) -> Own:
    """A metric that this process updates itself."""
    metric = read_metrics()[name]
    buckets: dict[str, Any] = {"buckets": metric.buckets} if metric.buckets else {}
    return kind(name, metric.help, tuple(metric.labels), registry=registry, **buckets)


def build_info() -> Family:
    """Version of this program; every program exports it."""
    return family("stenopool_build_info", {__version__: 1})


def up(states: Iterable[tuple[str, bool]]) -> Family:
    """Availability of the dependencies."""
    return family("stenopool_dependency_up", dict(states))
