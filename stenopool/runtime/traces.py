"""OpenTelemetry traces, with a span per stage; off unless OpenTelemetry's environment variables set a target.

OTEL_EXPORTER_OTLP_ENDPOINT (or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) turns them on; OTEL_EXPORTER_OTLP_PROTOCOL is grpc
or http/protobuf, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER and the others have their usual
meaning. Prefect creates spans for runs and tasks with the same provider, and combines a batch's runs into one trace.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec

from stenopool import __version__
from stenopool.runtime.logs import logger

_NAME = "stenopool"
_on = False


def configure() -> None:
    """Start sending spans, if the environment requests it and the extra `traces` is installed."""
    global _on
    endpoint = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if _on or not endpoint or disabled or os.environ.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        return
    if not find_spec("opentelemetry.exporter") or not find_spec("opentelemetry.sdk"):
        logger.warning("Traces are not sent: the extra `traces` is not installed (uv sync --extra traces).")
        return
    from opentelemetry import trace
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    _on = True
    os.environ.setdefault("OTEL_SERVICE_NAME", _NAME)
    if isinstance(trace.get_tracer_provider(), TracerProvider):  # already configured by the calling program
        return
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    kind = "grpc" if protocol == "grpc" else "http"  # what the specification recommends as the default
    exporter = import_module(f"opentelemetry.exporter.otlp.proto.{kind}.trace_exporter").OTLPSpanExporter()
    provider = TracerProvider(resource=Resource.create({"service.version": __version__}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


@contextmanager
def span(name: str, **attributes: str | int | float | bool) -> Iterator[None]:
    """Record the block as a span, with errors that it raises. Does nothing if traces are off."""
    if not _on:
        yield
        return
    from opentelemetry import trace

    named = {f"{_NAME}.{key}": value for key, value in attributes.items()}
    with trace.get_tracer(_NAME, __version__).start_as_current_span(name, attributes=named):
        yield
