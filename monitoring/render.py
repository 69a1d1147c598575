"""Write the dashboards' JSON: ``python -m monitoring.render``.

It comes from ``dashboards/``. A test compares the files with what this would write, so they cannot drift.
"""

from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from monitoring.dashboards.cost import cost
from monitoring.dashboards.operations import operations
from monitoring.dashboards.performance import performance

FOLDER = Path(__file__).parent
RULES = (FOLDER / "rules" / "recording.yaml", FOLDER / "rules" / "alerts.yaml")


def rendered() -> dict[Path, str]:
    """The path and expected content of each file."""
    encoder = JSONEncoder(sort_keys=True, indent=2)
    boards = {"operations": operations(), "performance": performance(), "cost": cost()}
    dashboards = FOLDER / "grafana" / "dashboards"
    return {dashboards / f"{name}.json": encoder.encode(board) + "\n" for name, board in boards.items()}


if __name__ == "__main__":
    for path, text in rendered().items():
        path.write_text(text)
