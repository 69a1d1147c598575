"""Draws a Grafana dashboard from what a Prometheus holds, without Grafana.

Reads the same JSON, asks the same expressions over a span of time, and puts every panel where Grafana would. It knows
the panels and units that our dashboards use, and no more.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, DateFormatter
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

# Grafana's cell: 24 across the page, each 30 pixels high and 8 apart.
_COLUMNS, _CELL_WIDTH, _CELL_HEIGHT, _GAP = 24, 68, 38, 8
_DPI = 100
_COLORS = {"green": "#37872d", "orange": "#e0781f", "red": "#c4162a", "blue": "#1f60c4"}
_INK, _FAINT, _PAPER = "#22252b", "#8e939c", "#f4f5f5"
_PALETTE = (
    "#56A64B",
    "#E0B400",
    "#3274D9",
    "#FA6400",
    "#8F3BB8",
    "#E02F44",
    "#37A2B8",
    "#806EB7",
    "#5F6B2D",
    "#B877D9",
)


@dataclass(frozen=True)
class Span:
    """From when to when, in Unix time, and how far apart points lie."""

    start: float
    end: float
    step: float = 2.0


@dataclass(frozen=True)
class Series:
    """One curve: its legend, and values at Unix times."""

    name: str
    times: list[float]
    values: list[float]


class Source:
    """A Prometheus, asked for a span of time. ``window``: what Grafana's $__rate_interval stands for."""

    def __init__(self, url: str, span: Span, window: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=30)
        self.span = span
        self._variables = {"$__rate_interval": window, "$__range": f"{math.ceil(span.end - span.start)}s"}

    def series(self, target: Mapping[str, Any]) -> list[Series]:
        """What a panel's target shows; at the span's end only if it is an instant one."""
        expression = target["expr"]
        for variable, value in self._variables.items():
            expression = expression.replace(variable, value)
        if target.get("instant"):
            found = self._ask("query", query=expression, time=self.span.end)
        else:
            span = self.span
            found = self._ask("query_range", query=expression, start=span.start, end=span.end, step=span.step)
        return [self._one(target["legendFormat"], expression, one) for one in found]

    def _ask(self, what: str, **parameters: Any) -> list[dict[str, Any]]:
        answer = self._client.post(f"/api/v1/{what}", data=parameters)
        assert answer.is_success, answer.text
        return list(answer.json()["data"]["result"])

    def _one(self, legend: str, expression: str, found: dict[str, Any]) -> Series:
        points = found.get("values") or [found["value"]]
        name = re.sub(r"{{\s*(\w+)\s*}}", lambda match: found["metric"].get(match[1], ""), legend) or expression
        return Series(name.strip(), [float(time) for time, _ in points], [float(value) for _, value in points])


def draw(board: Path, source: Source, picture: Path, note: str = "") -> None:
    """Draw the dashboard ``board`` (Grafana's JSON) into ``picture`` (PNG). ``note``: a line below its title."""
    content = json.loads(board.read_text())
    places = [panel["gridPos"] for panel in content["panels"]]
    rows = max(place["y"] + place["h"] for place in places)
    head = 2
    width, height = _COLUMNS * _CELL_WIDTH, (rows + head) * _CELL_HEIGHT
    with mpl.rc_context({"font.size": 8, "font.family": "DejaVu Sans", "text.parse_math": False}):
        figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor=_PAPER)
        figure.text(8 / width, 1 - 22 / height, content["title"], fontsize=15, color=_INK, weight="bold", va="center")
        figure.text(8 / width, 1 - 50 / height, note, fontsize=9, color=_FAINT, va="center")
        for panel in content["panels"]:
            place = panel["gridPos"]
            left, top = place["x"] * _CELL_WIDTH + _GAP / 2, (place["y"] + head) * _CELL_HEIGHT + _GAP / 2
            across, down = place["w"] * _CELL_WIDTH - _GAP, place["h"] * _CELL_HEIGHT - _GAP
            box = (left / width, 1 - (top + down) / height, across / width, down / height)
            if panel["type"] == "row":
                figure.text(box[0], box[1] + box[3] / 2, panel["title"], fontsize=10, color=_INK, va="center")
            else:
                _panel(figure, box, panel, source)
        figure.savefig(picture)


def _panel(figure: Figure, box: tuple[float, float, float, float], panel: dict[str, Any], source: Source) -> None:
    left, bottom, across, down = box
    pixel = 1 / (figure.get_figwidth() * _DPI), 1 / (figure.get_figheight() * _DPI)
    frame = figure.add_axes(box)
    frame.set(xticks=[], yticks=[], xlim=(0, 1), ylim=(0, 1))
    frame.add_patch(FancyBboxPatch((0, 0), 1, 1, boxstyle="square,pad=0", facecolor="white", edgecolor="#dcdde0"))
    frame.axis("off")
    figure.text(
        left + 8 * pixel[0], bottom + down - 14 * pixel[1], panel["title"], color=_INK, weight="bold", va="center"
    )
    series = [one for target in panel["targets"] for one in source.series(target)]
    if not series:
        nothing = panel["fieldConfig"]["defaults"].get("noValue", "No data")
        middle = left + across / 2, bottom + down / 2
        figure.text(*middle, nothing, color=_FAINT, ha="center", va="center", fontsize=11)
        return
    match panel["type"]:
        case "stat":
            _number(figure, box, panel, series[0])
        case "timeseries":
            # The legend has room for five: the largest.
            series.sort(key=_largest, reverse=True)
            legend = min(len(series), 5) * 12 + 6
            inside = figure.add_axes(
                (
                    left + 58 * pixel[0],
                    bottom + (legend + 24) * pixel[1],
                    across - 74 * pixel[0],
                    down - (legend + 54) * pixel[1],
                )
            )
            _curves(inside, panel, series, source.span)
            _legend(figure, (left + 12 * pixel[0], bottom + legend * pixel[1]), pixel, across, panel, series)
        case "bargauge":
            inside = figure.add_axes(
                (left + across * 0.38, bottom + 12 * pixel[1], across * 0.48, down - 42 * pixel[1])
            )
            _ranking(inside, panel, series)
        case other:
            raise NotImplementedError(f"panels of type {other}")


def _largest(series: Series) -> float:
    return max((value for value in series.values if math.isfinite(value)), default=0.0)


def _number(figure: Figure, box: tuple[float, float, float, float], panel: dict[str, Any], series: Series) -> None:
    left, bottom, across, down = box
    value = series.values[-1]
    defaults = panel["fieldConfig"]["defaults"]
    text, color = _written(value, defaults), _color(value, defaults)
    for mapping in defaults.get("mappings", []):
        if result := mapping["options"].get(f"{value:g}"):
            text, color = result["text"], _COLORS[result["color"]]
    if panel["options"]["graphMode"] == "area" and len(series.values) > 1:
        curve = figure.add_axes((left, bottom, across, down * 0.34))
        curve.axis("off")
        curve.set_ylim(0, max(_largest(series), 1e-9) * 1.1)
        curve.fill_between(series.times, series.values, color=color, alpha=0.15)
        curve.plot(series.times, series.values, color=color, linewidth=1)
    figure.text(
        left + across / 2, bottom + down * 0.5, text, fontsize=22, color=color, ha="center", va="center", weight="bold"
    )


def _curves(axes: Axes, panel: dict[str, Any], series: list[Series], span: Span) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    custom = defaults["custom"]
    stacked = custom.get("stacking", {}).get("mode") == "normal"
    count = round((span.end - span.start) / span.step)
    grid = [span.start + index * span.step for index in range(count + 1)]
    below = [0.0] * len(grid)
    times = [datetime.fromtimestamp(moment, UTC) for moment in grid]
    for one, color in zip(series, _PALETTE * 3, strict=False):
        at = {
            round((moment - span.start) / span.step): value for moment, value in zip(one.times, one.values, strict=True)
        }
        values = [at.get(index, math.nan) for index in range(len(grid))]
        if stacked:
            upper = [low + (0 if math.isnan(value) else value) for low, value in zip(below, values, strict=True)]
            axes.fill_between(times, below, upper, color=color, alpha=custom["fillOpacity"] / 100, linewidth=0)
            axes.plot(times, upper, color=color, linewidth=0.8)
            below = upper
        else:
            axes.plot(times, values, color=color, linewidth=1.2)
            axes.fill_between(times, values, color=color, alpha=custom["fillOpacity"] / 100, linewidth=0)
    top = defaults.get("max")
    axes.set_ylim(0, top * 1.05 if top else axes.get_ylim()[1] or 1)
    if custom.get("thresholdsStyle"):
        for step in defaults["thresholds"]["steps"][1:]:
            if step["value"] <= axes.get_ylim()[1]:
                axes.axhline(step["value"], color=_COLORS[step["color"]], linestyle="--", linewidth=1)
    axes.set_xlim(times[0], times[-1])
    axes.xaxis.set_major_locator(AutoDateLocator(maxticks=4 if panel["gridPos"]["w"] < 6 else 8))
    axes.xaxis.set_major_formatter(DateFormatter("%H:%M"))
    axes.locator_params(axis="y", nbins=5)
    axes.yaxis.set_major_formatter(lambda value, _: _written(value, defaults))
    axes.tick_params(colors=_FAINT, length=0, labelsize=7)
    axes.grid(color="#e7e8ea", linewidth=0.7)
    for side in axes.spines.values():
        side.set_visible(False)


def _legend(
    figure: Figure,
    corner: tuple[float, float],
    pixel: tuple[float, float],
    across: float,
    panel: dict[str, Any],
    series: list[Series],
) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    for index, (one, color) in enumerate(zip(series[:5], _PALETTE, strict=False)):
        more = f"  (and {len(series) - 5} more)" if index == 4 and len(series) > 5 else ""
        known = [value for value in one.values if not math.isnan(value)] or [math.nan]
        line = f"{one.name}: {_written(known[-1], defaults)}, max {_written(max(known), defaults)}{more}"
        height = corner[1] - (index * 12 + 2) * pixel[1]
        figure.text(corner[0], height, "■", color=color, va="center", fontsize=7)
        figure.text(
            corner[0] + 12 * pixel[0], height, line[: int(across / pixel[0] / 5.4)], color=_INK, va="center", fontsize=7
        )


def _ranking(axes: Axes, panel: dict[str, Any], series: list[Series]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    shown = series[:12][::-1]
    values = [one.values[-1] for one in shown]
    axes.barh(
        [one.name for one in shown], values, color=[_color(value, defaults) for value in values], height=0.6, alpha=0.75
    )
    for index, value in enumerate(values):
        axes.text(value, index, " " + _written(value, defaults), va="center", color=_INK, fontsize=8)
    axes.set_ylim(min(-0.5, len(shown) - 8.5), len(shown) - 0.5)
    axes.tick_params(colors=_INK, length=0)
    axes.set_xticks([])
    for side in axes.spines.values():
        side.set_visible(False)


def _color(value: float, defaults: dict[str, Any]) -> str:
    """The colour of the highest threshold that the value reaches."""
    reached = [
        step["color"] for step in defaults["thresholds"]["steps"] if step["value"] is None or value >= step["value"]
    ]
    return _COLORS[reached[-1]]


def _written(value: float, defaults: dict[str, Any]) -> str:
    """A value in its unit, as Grafana writes it or nearly so."""
    if math.isnan(value):
        return "-"
    unit, decimals = defaults["unit"], defaults.get("decimals")
    if unit == "percentunit":
        return f"{value:.1%}".replace(".0%", "%")
    if unit == "s":
        return _duration(value)
    number = f"{value:.{decimals}f}" if decimals is not None else _short(value)
    if unit == "currencyUSD":
        return f"${number}"
    if unit == "reqps":
        return f"{number} req/s"
    return number + unit.removeprefix("suffix:") if unit.startswith("suffix:") else number


def _duration(seconds: float) -> str:
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if abs(seconds) >= size:
            return f"{seconds / size:.3g} {name}"
    return f"{seconds * 1000:.3g} ms" if 0 < abs(seconds) < 1 else f"{seconds:.3g} s"


def _short(value: float) -> str:
    for size, name in ((1e9, " G"), (1e6, " M"), (1e4, " K")):
        if abs(value) >= size:
            return f"{value / (1e3 if size == 1e4 else size):.3g}{name}"
    return f"{value:.3g}"
