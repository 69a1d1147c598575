"""The dashboards are up to date; every panel has a description, and every expression parses and uses
exported series.
"""

import json
from typing import Any

import pytest

from monitoring.render import FOLDER, rendered
from tests.monitoring.known import unknown

PATHS = sorted((FOLDER / "grafana" / "dashboards").glob("*.json"))
PANELS = [
    pytest.param(panel, id=f"{path.stem}: {panel['title']}")
    for path in PATHS
    for panel in json.loads(path.read_text())["panels"]
    if panel["type"] != "row"
]


@pytest.mark.parametrize("path", rendered(), ids=lambda path: path.name)
def test_files_are_up_to_date(path: Any) -> None:
    assert path.read_text() == rendered()[path], "run `python -m monitoring.render`"


def test_there_are_no_other_dashboards() -> None:
    assert [path.stem for path in PATHS] == ["cost", "operations", "performance"]


@pytest.mark.parametrize("panel", PANELS)
def test_expressions_parse_and_name_only_exported_series(panel: dict[str, Any]) -> None:
    assert panel["targets"]
    for target in panel["targets"]:
        assert unknown(target["expr"]) == []


def test_an_invalid_expression_is_found() -> None:
    with pytest.raises(ValueError, match="parenthesis"):
        unknown("sum(rate(stenopool_recordings_total[$__rate_interval])")


@pytest.mark.parametrize("panel", PANELS)
def test_panels_have_descriptions(panel: dict[str, Any]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    assert panel["description"].endswith(".")
    assert defaults["unit"]
    values = [step["value"] for step in defaults["thresholds"]["steps"]]
    assert values[0] is None
    assert values[1:] == sorted(values[1:])
    assert panel["datasource"]["uid"] == "${datasource}"
    if len(panel["targets"]) > 1:
        assert all(target["legendFormat"] for target in panel["targets"])


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_panels_do_not_overlap(path: Any) -> None:
    board = json.loads(path.read_text())
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
