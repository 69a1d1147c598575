"""Traces: off unless the environment enables them, by either protocol, with only Stenopool's spans."""

import os
import subprocess
import sys
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.support.otlp import Received, by_grpc, by_http

SCRIPT = """
from stenopool.runtime import traces
traces.configure()
with traces.span("transcribe", recordings=3, batch="b"):
    try:
        with traces.span("upload", again=True):
            raise ValueError("no")
    except ValueError:
        pass
"""


def sent(**environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT], env=clean | environment, check=True, capture_output=True, text=True
    )


@pytest.mark.parametrize(("receiver", "protocol"), [(by_http, ""), (by_http, "http/protobuf"), (by_grpc, "grpc")])
def test_spans_arrive(receiver: Any, protocol: str) -> None:
    context: AbstractContextManager[Received] = receiver()
    with context as received:
        environment = {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol} if protocol else {}
        sent(OTEL_EXPORTER_OTLP_ENDPOINT=received.endpoint, **environment)
    (outer,), (inner,) = received.named("transcribe"), received.named("upload")
    assert inner.parent_span_id == outer.span_id
    assert inner.trace_id == outer.trace_id
    attributes = {item.key: item.value for item in outer.attributes}
    assert attributes["stenopool.recordings"].int_value == 3
    assert attributes["stenopool.batch"].string_value == "b"
    assert [event.name for event in inner.events] == ["exception"]
    assert received.resources[0]["service.name"] == "stenopool"


@pytest.mark.parametrize("off", [{}, {"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_without_configuration_nothing_is_sent(off: dict[str, str]) -> None:
    with by_http() as received:
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": received.endpoint} if off else {}
        sent(**endpoint, **off)
    assert received.spans == []


def test_without_configuration_nothing_is_imported() -> None:
    script = SCRIPT + "import sys; assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    subprocess.run([sys.executable, "-c", script], env=clean, check=True)


def test_without_the_extra_a_warning_is_logged() -> None:
    script = "import importlib.util as u; found = u.find_spec; import stenopool.runtime.traces as t\n"
    script += "t.find_spec = lambda name: None if 'sdk' in name else found(name)\nt.configure()\n"
    script += "with t.span('a'): print('works')"
    environment = os.environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    run = subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True)
    assert "uv sync --extra traces" in run.stderr
    assert run.stdout == "works\n"
