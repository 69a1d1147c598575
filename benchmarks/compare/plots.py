"""The figures as pictures (SVG)."""

from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.compare.figures import Figures, Spread, steps
from benchmarks.compare.report import TITLES
from benchmarks.compare.systems import OURS

_OURS, _OTHERS = "#0b6e4f", "#9aa5b1"
_MB = 1 << 20


def draw(figures: Figures, report: Path) -> list[str]:
    """Draw the figures next to the report; return the names of the pictures. None without matplotlib (extra bench)."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        return []
    # Text stays text, and equal figures give equal files.
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "stenopool"}
    names = []
    for what, there, picture in (
        ("speed", bool(figures.measurements), _speed),
        ("growth", bool(figures.growth), _growth),
    ):
        if there:
            canvas = Figure(layout="constrained")
            picture(figures, canvas)
            names.append(f"{report.stem}-{what}.svg")
            canvas.savefig(report.with_name(names[-1]), metadata={"Date": None})
    return names


def _speed(figures: Figures, canvas: Any) -> None:
    """A bar per system with its minimum and maximum; a panel per kind."""
    kinds = [kind for kind in figures.contents if figures.systems(kind)]
    canvas.set_size_inches(8, 0.6 + sum(0.6 + 0.35 * len(figures.systems(kind)) for kind in kinds))
    ratios = [len(figures.systems(kind)) for kind in kinds]
    panels = canvas.subplots(len(kinds), squeeze=False, height_ratios=ratios)[:, 0]
    for panel, kind in zip(panels, kinds, strict=True):
        systems = figures.systems(kind)[::-1]
        spreads = [spread for s in systems if (spread := Spread.of(one.speed for one in figures.of(kind, s)))]
        panel.barh(
            [TITLES[system].strip("*") for system in systems],
            [spread.median for spread in spreads],
            xerr=[[s.median - s.least for s in spreads], [s.most - s.median for s in spreads]],
            color=[_OURS if system in OURS else _OTHERS for system in systems],
            ecolor="#333333",
            capsize=2,
        )
        contents = figures.contents[kind]
        panel.set_title(f"{kind}: {contents.recordings} recordings, {contents.audio_seconds / 60:.0f} min", loc="left")
        panel.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("audio seconds per second")


def _growth(figures: Figures, canvas: Any) -> None:
    """Seconds over recordings, and memory over recordings done in the largest run."""
    canvas.set_size_inches(8, 3.4)
    cost, memory = canvas.subplots(1, 2)
    found = steps(figures.growth)
    cost.plot([step.recordings for step in found], [step.seconds for step in found], "o-", color=_OURS)
    cost.set(xlabel="recordings", ylabel="seconds", title="Cost", xlim=(0, None), ylim=(0, None))
    largest = max(figures.growth, key=lambda one: (one.recordings, -one.round))
    memory.plot([done for done, _ in largest.memory], [held / _MB for _, held in largest.memory], color=_OURS)
    peak = median(one.peak_memory for one in figures.growth if one.recordings == largest.recordings)
    memory.axhline(peak / _MB, color=_OTHERS, linestyle="--")
    memory.annotate("peak", (0, peak / _MB), xytext=(4, 3), textcoords="offset points", color="#52606d")
    memory.set(xlabel="recordings done", ylabel="MB", title="Memory", xlim=(0, None), ylim=(0, 1.25 * peak / _MB))
    for panel in (cost, memory):
        panel.spines[["top", "right"]].set_visible(False)
