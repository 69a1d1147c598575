"""What batches came to, in figures that add up: of one batch, of all of a store, of several stores."""

from collections import Counter
from collections.abc import Mapping

from pydantic import BaseModel, Field

from stenopool.metrics.histogram import Histogram
from stenopool.pipeline.tally import Tally


class Sums(BaseModel):
    """All that is counted. Texts as keys, with a space between two labels: no status, engine or code has one.

    ``recordings``: by status and error code. ``audio_seconds``: by engine and model. ``failures``: by stage and code.
    """

    recordings: Counter[str] = Field(default_factory=Counter)
    audio_seconds: dict[str, float] = Field(default_factory=dict)
    failures: Counter[str] = Field(default_factory=Counter)
    batches: Counter[str] = Field(default_factory=Counter)
    gpu_seconds: dict[str, float] = Field(default_factory=dict)
    cpu_seconds: float = 0.0
    cost: float = 0.0
    loads: Histogram = Field(default_factory=Histogram)
    tally: Tally = Field(default_factory=Tally)

    def add(self, other: "Sums") -> None:
        self.recordings.update(other.recordings)
        self.failures.update(other.failures)
        self.batches.update(other.batches)
        add_amounts(self.audio_seconds, other.audio_seconds)
        add_amounts(self.gpu_seconds, other.gpu_seconds)
        self.cpu_seconds += other.cpu_seconds
        self.cost += other.cost
        self.loads.add(other.loads)
        self.tally.add(other.tally)


def add_amounts(mine: dict[str, float], more: Mapping[str, float]) -> None:
    """Add amounts by name."""
    for name, amount in more.items():
        mine[name] = mine.get(name, 0.0) + amount
