"""Write what is generated here: ``python -m monitoring.render``.

The dashboards' JSON comes from ``dashboards/``, the operator's PrometheusRule from ``rules/``. A test compares the
files with what this would write, so they cannot drift.
"""

from pathlib import Path

import yaml
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
    return {
        **{dashboards / f"{name}.json": encoder.encode(board) + "\n" for name, board in boards.items()},
        FOLDER / "kubernetes" / "rules.yaml": _prometheus_rule(),
    }


def _prometheus_rule() -> str:
    """The same rules as a resource of the Prometheus operator."""
    resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": "stenopool",
            "labels": {"app.kubernetes.io/name": "stenopool", "app.kubernetes.io/component": "monitoring"},
        },
        "spec": {"groups": [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]},
    }
    note = "# Written by `python -m monitoring.render` from rules/; change those instead.\n"
    return note + yaml.dump(resource, Dumper=_Plain, sort_keys=False, width=1000)


class _Plain(yaml.SafeDumper):
    """Writes every value in place: no anchors, and expressions with their original line breaks."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Plain.add_representer(str, _text)

if __name__ == "__main__":
    for path, text in rendered().items():
        path.write_text(text)
