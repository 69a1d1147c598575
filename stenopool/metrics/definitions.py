"""All metrics that Stenopool exports, read from ``definitions.toml``."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

MetricKind = Literal["counter", "gauge", "histogram"]
Program = Literal["exporter", "api", "worker"]


class Metric(BaseModel):
    """One metric. ``labels``: a description of the values by label name. ``programs``: the programs that export it."""

    name: str
    help: str
    labels: dict[str, str] = {}
    programs: tuple[Program, ...] = ("exporter",)
    buckets: tuple[float, ...] = ()

    @property
    def kind(self) -> MetricKind:
        """The kind, derived from the name by the naming rules."""
        return "histogram" if self.buckets else "counter" if self.name.endswith("_total") else "gauge"


@cache
def read_metrics() -> dict[str, Metric]:
    """All metrics by name, in the file's order."""
    text = Path(__file__).with_suffix(".toml").read_text("utf-8")
    return {name: Metric(name=name, **fields) for name, fields in tomllib.loads(text).items()}
