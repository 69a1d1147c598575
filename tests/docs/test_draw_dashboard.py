"""The renderer of dashboards, on a real Prometheus."""

import time
from pathlib import Path

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from docs.draw_dashboard import Source, Span, _written, draw
from monitoring.dashboards.panels import board, curves, number, ranking
from tests.support.prometheus import Prometheus, needs_prometheus


@needs_prometheus
def test_panels_show_what_prometheus_holds(tmp_path: Path) -> None:
    prometheus = Prometheus(tmp_path, {})
    since = time.time()
    try:
        prometheus.start()
        source = Source(prometheus.url, Span(since, since + 2, 1), "10s")
        (three,) = source.series({"expr": "vector(3) > 2", "legendFormat": "three {{nothing}}", "instant": True})
        rows = {
            "Row": [
                number("One", "vector(1)", "It is one.", names={1: ("yes", "green")}),
                curves("Two", [("vector(2)", "two")], "It is two.", stacked=True, steps=[(None, "green"), (1, "red")]),
                ranking("Three", ("vector(3)", "three"), "It is three.", span=8),
                curves("Nothing", ["vector(1) > 2"], "There is none.", none="none"),
            ]
        }
        (tmp_path / "board.json").write_text(JSONEncoder().encode(board("it", "It", "A board.", rows, since="now-1h")))
        draw(tmp_path / "board.json", source, tmp_path / "board.png")
    finally:
        prometheus.stop()
    assert (three.name, three.values) == ("three", [3.0])
    assert (tmp_path / "board.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("value", "field", "written"),
    [
        (0.125, {"unit": "percentunit"}, "12.5%"),
        (1.0, {"unit": "percentunit"}, "100%"),
        (90.0, {"unit": "s"}, "1.5 min"),
        (0.02, {"unit": "s"}, "20 ms"),
        (27.13, {"unit": "suffix: ×", "decimals": 1}, "27.1 ×"),
        (1.5, {"unit": "currencyUSD", "decimals": 2}, "$1.50"),
        (12_300_000.0, {"unit": "short"}, "12.3 M"),
        (float("nan"), {"unit": "short"}, "-"),
    ],
)
def test_values_are_written_in_their_unit(value: float, field: dict[str, object], written: str) -> None:
    assert _written(value, field) == written
