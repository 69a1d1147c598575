"""Measurements and derived figures. Table, report and plot use only these."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from statistics import median
from typing import NamedTuple, Self

from pydantic import BaseModel

from benchmarks.compare.systems import DIARIZED, OURS, SystemName


class Measurement(BaseModel):
    """One system on one kind of recordings in one round. Seconds and bytes; ``wer`` is a share."""

    system: SystemName
    kind: str
    round: int
    audio_seconds: float
    seconds: float
    first_result: float | None
    wer: float | None
    failed: int
    peak_memory: int
    start_seconds: float
    load_seconds: float
    busy: float | None = None

    @property
    def speed(self) -> float:
        """Audio seconds per second."""
        return self.audio_seconds / self.seconds


class Growth(BaseModel):
    """The whole flow on one number of recordings. ``memory``: bytes in use after a number of them."""

    recordings: int
    round: int
    audio_seconds: float
    seconds: float
    peak_memory: int
    memory: list[tuple[int, int]]


class Contents(BaseModel):
    """The recordings of a kind. ``said``: number of recordings with a reference text, for WER."""

    recordings: int
    audio_seconds: float
    said: int


class Machine(BaseModel):
    """The machine and the versions. ``load``: load average at start and end."""

    processor: str
    cores: int
    memory: int
    gpu: str | None
    system: str
    versions: dict[str, str]
    commit: str | None
    load: tuple[float, float] = (0.0, 0.0)


class Spread(NamedTuple):
    """A figure over several rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Self | None":
        """None if there are no values."""
        found = list(values)
        return cls(median(found), min(found), max(found)) if found else None


class Figures(BaseModel):
    """All results of one call of `python -m benchmarks.compare`."""

    measured_at: datetime
    command: str
    machine: Machine
    model: str
    device: str
    compute_type: str
    beam: int
    batch: int
    rounds: int
    contents: dict[str, Contents]
    left_out: list[str] = []
    problems: list[str] = []
    measurements: list[Measurement] = []
    growth: list[Growth] = []

    def systems(self, kind: str) -> list[SystemName]:
        """The systems measured on a kind."""
        return list(dict.fromkeys(one.system for one in self.measurements if one.kind == kind))

    def of(self, kind: str, system: SystemName) -> list[Measurement]:
        """The rounds of a system on a kind."""
        return [one for one in self.measurements if (one.kind, one.system) == (kind, system)]

    def fastest(self, kind: str, *, diarized: bool) -> SystemName | None:
        """The fastest other system, by its median: the baseline."""
        speeds = {
            system: median(one.speed for one in self.of(kind, system))
            for system in self.systems(kind)
            if system not in OURS and (system in DIARIZED) == diarized
        }
        return max(speeds.items(), key=lambda one: one[1])[0] if speeds else None

    def ratio(self, kind: str, system: SystemName, to: SystemName) -> Spread | None:
        """The ratio of two systems' speeds, round by round: the two of a round ran shortly after each other."""
        return Spread.of(ratios(self._speeds(kind, system), self._speeds(kind, to)))

    def _speeds(self, kind: str, system: SystemName) -> dict[int, float]:
        return {one.round: one.speed for one in self.of(kind, system)}


def ratios(one: Mapping[int, float], other: Mapping[int, float]) -> list[float]:
    """``one / other`` in every round that both have."""
    return [one[number] / other[number] for number in sorted(one.keys() & other.keys())]


class Step(NamedTuple):
    """Seconds per additional recording, from one number of recordings to the next."""

    recordings: int
    seconds: float
    per_recording: float | None
    """None for the smallest number."""


def steps(growth: Iterable[Growth]) -> list[Step]:
    """Cost by number of recordings, medians over rounds. Linear if each additional recording takes the same time."""
    taken: dict[int, list[float]] = {}
    for one in growth:
        taken.setdefault(one.recordings, []).append(one.seconds)
    found: list[Step] = []
    for recordings in sorted(taken):
        seconds = median(taken[recordings])
        before = found[-1] if found else None
        each = (seconds - before.seconds) / (recordings - before.recordings) if before else None
        found.append(Step(recordings, seconds, each))
    return found
