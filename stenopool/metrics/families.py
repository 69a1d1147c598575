"""Metrics as Prometheus' client library wants them, made from their definitions."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family

from stenopool import __version__
from stenopool.metrics import definitions
from stenopool.metrics.amounts import Histogram as Observed
from stenopool.metrics.definitions import Metric

L = TypeVar("L", bound=tuple[str, ...])


def family(metric: Metric, values: Mapping[L, float] | Mapping[str, float] | float) -> Family:
    """A counter or gauge: its values by label values (a text where there is one label), or the only one."""
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    made = kind(metric.name, metric.help, labels=tuple(metric.labels))
    for labels, value in (values if isinstance(values, Mapping) else {(): values}).items():
        made.add_metric((labels,) if isinstance(labels, str) else labels, float(value))
    return made


def histogram_family(metric: Metric, values: Mapping[L, Observed]) -> Family:
    """A histogram of what was observed elsewhere. Bounds that are not the metric's own are kept beside them."""
    made = HistogramMetricFamily(metric.name, metric.help, labels=tuple(metric.labels))
    for labels, observed in values.items():
        bounds = sorted({*map(repr, metric.buckets), *observed.buckets} - {"+Inf"}, key=float)
        counted, buckets = 0, []
        for bound in bounds:
            counted += observed.buckets[bound]
            buckets.append((bound, counted))
        made.add_metric(labels, [*buckets, ("+Inf", observed.count)], observed.sum)
    return made


def counter(metric: Metric, registry: CollectorRegistry) -> Counter:
    """One that this process counts itself."""
    return Counter(metric.name, metric.help, tuple(metric.labels), registry=registry)


def gauge(metric: Metric, registry: CollectorRegistry) -> Gauge:
    """One that this process sets itself."""
    return Gauge(metric.name, metric.help, tuple(metric.labels), registry=registry)


def histogram(metric: Metric, registry: CollectorRegistry) -> Histogram:
    """One that this process observes itself."""
    return Histogram(metric.name, metric.help, tuple(metric.labels), buckets=metric.buckets, registry=registry)


def build_info() -> Family:
    """What every program tells of itself."""
    return family(definitions.BUILD_INFO, {__version__: 1})


def up(states: Iterable[tuple[str, bool]]) -> Family:
    """Which dependencies answered."""
    return family(definitions.DEPENDENCY_UP, dict(states))
