"""Every metric that Stenopool exports, as ``definitions.toml`` has it."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

MetricKind = Literal["counter", "gauge", "histogram"]
Program = Literal["exporter", "api", "worker"]


class Metric(BaseModel):
    """One metric. ``labels``: by name, what each can be, in words. ``programs``: which of ours export it."""

    name: str
    help: str
    labels: dict[str, str] = {}
    programs: tuple[Program, ...] = ("exporter",)
    buckets: tuple[float, ...] = ()

    @property
    def kind(self) -> MetricKind:
        """Told from the name, as the naming rules have it."""
        return "histogram" if self.buckets else "counter" if self.name.endswith("_total") else "gauge"


@cache
def read_metrics() -> dict[str, Metric]:
    """All of them by name, in the file's order."""
    text = Path(__file__).with_suffix(".toml").read_text("utf-8")
    return {name: Metric(name=name, **fields) for name, fields in tomllib.loads(text).items()}
