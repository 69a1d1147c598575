"""The kinds of panel in the dashboards, with a common style."""

from collections.abc import Sequence
from typing import TypeVar

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard as models

Panel = stat.Panel | timeseries.Panel | bargauge.Panel | table.Panel
P = TypeVar("P", stat.Panel, timeseries.Panel, bargauge.Panel, table.Panel)
Query = str | tuple[str, str]
"""An expression, or an expression and the legend of its series."""

# Selected on the dashboard; initially Grafana's default Prometheus.
SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
GOOD, WARN, BAD, NEUTRAL = "green", "orange", "red", "blue"


def number(
    title: str,
    query: str,
    description: str,
    *,
    unit: str = "short",
    steps: Sequence[tuple[float | None, str]] = ((None, NEUTRAL),),
    decimals: int | None = None,
    names: dict[int, tuple[str, str]] | None = None,
    span: int = 4,
) -> stat.Panel:
    """One figure with a small curve. ``steps``: colours by threshold. ``names``: values shown as words."""
    panel = (
        _base(stat.Panel(), title, description, [query], unit, steps)
        .span(span)
        .height(4)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .color_mode(options.BigValueColorMode.BACKGROUND if names else options.BigValueColorMode.VALUE)
        .graph_mode(options.BigValueGraphMode.NONE if names else options.BigValueGraphMode.AREA)
    )
    if decimals is not None:
        panel.decimals(decimals)
    if names:
        words = {
            str(value): models.ValueMappingResult(text=text, color=color, index=index)
            for index, (value, (text, color)) in enumerate(names.items())
        }
        panel.mappings([models.ValueMap(options=words)])
    return panel


def curves(
    title: str,
    queries: Sequence[Query],
    description: str,
    *,
    unit: str = "short",
    steps: Sequence[tuple[float | None, str]] = ((None, NEUTRAL),),
    stacked: bool = False,
    bars: bool = False,
    top: float | None = None,
    none: str | None = None,
    span: int = 12,
) -> timeseries.Panel:
    """Curves over time from zero upwards; ``stacked`` as areas, ``bars`` as bars. ``top``: maximum value.

    ``none``: text if there is no data.
    """
    panel = (
        _base(timeseries.Panel(), title, description, queries, unit, steps)
        .span(span)
        .height(8)
        .min(0)
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC))
        .draw_style(options.GraphDrawStyle.BARS if bars else options.GraphDrawStyle.LINE)
        .fill_opacity(80 if bars else 40 if stacked else 10)
        .line_width(1)
        .show_points(options.VisibilityMode.NEVER)
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(options.LegendDisplayMode.TABLE)
            .placement(options.LegendPlacement.BOTTOM)
            .calcs(["lastNotNull", "max"])
        )
        .tooltip(common.VizTooltipOptions().mode(options.TooltipDisplayMode.MULTI).sort(options.SortOrder.DESCENDING))
    )
    if top is not None:
        panel.max(top)
    if none:
        panel.no_value(none)
    if stacked:
        panel.stacking(common.StackingConfig().mode(options.StackingMode.NORMAL).group("A"))
    if len(steps) > 1:
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(options.GraphTresholdsStyleMode.LINE))
    return panel


def ranking(
    title: str,
    query: tuple[str, str],
    description: str,
    *,
    unit: str = "short",
    steps: Sequence[tuple[float | None, str]] = ((None, NEUTRAL),),
    span: int = 12,
) -> bargauge.Panel:
    """One bar per series, with its current value."""
    return (
        _base(bargauge.Panel(), title, description, [query], unit, steps, instant=True)
        .span(span)
        .height(8)
        .min(0)
        .orientation(options.VizOrientation.HORIZONTAL)
        .display_mode(options.BarGaugeDisplayMode.GRADIENT)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )


def board(uid: str, title: str, description: str, rows: dict[str, Sequence[Panel]], *, since: str) -> models.Dashboard:
    """A dashboard: rows of panels, a selector of the data source, links to the other dashboards."""
    made = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["stenopool"])
        .readonly()
        .refresh("30s")
        .time(since, "now")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(
            dashboard.DashboardLink("Stenopool")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags(["stenopool"])
            .as_dropdown(False)
            .keep_time(True)
        )
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )
    number = 0
    for name, panels in rows.items():
        number += 1
        made.with_row(dashboard.Row(name).id(number))
        for panel in panels:
            number += 1
            made.with_panel(panel.id(number))
    return made.build()


def _base(
    panel: P,
    title: str,
    description: str,
    queries: Sequence[Query],
    unit: str,
    steps: Sequence[tuple[float | None, str]],
    *,
    instant: bool = False,
) -> P:
    panel.title(title).description(description).datasource(SOURCE).unit(unit)
    panel.thresholds(
        dashboard.ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps([models.Threshold(value=value, color=color) for value, color in steps])
    )
    for letter, query in zip("ABCDEFGH", queries, strict=False):
        expression, legend = (query, "") if isinstance(query, str) else query
        target = prometheus.Dataquery().ref_id(letter).expr(expression).legend_format(legend)
        panel.with_target(target.instant() if instant else target.range())
    return panel
