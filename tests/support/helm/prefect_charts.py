"""The values that Prefect's charts accept. The charts cannot be downloaded here, so tests/helm lists their keys."""

import re
from pathlib import Path
from typing import Any, Literal

Name = Literal["prefect-server", "prefect-worker"]
KEYS = Path(__file__).parents[2] / "helm" / "prefect_keys.txt"


def unknown(chart: Name, values: dict[str, Any]) -> list[str]:
    """Paths of values that are unknown to the chart."""
    known = _known(chart)

    def below(path: str, value: Any) -> list[str]:
        if f"{path}*" in known or (path in known and not isinstance(value, dict)):
            return []
        if isinstance(value, dict) and any(each.startswith(f"{path}.") for each in known):
            return [found for key, inside in value.items() for found in below(f"{path}.{key}", inside)]
        return [path.removeprefix(".")]

    return [found for key, value in values.items() for found in below(f".{key}", value)]


def _known(chart: Name) -> set[str]:
    section = KEYS.read_text().partition(f"[{chart}]\n")[2].partition("\n[")[0]
    lines = (line.partition(": ") for line in section.splitlines() if re.match(r"[\w.]+: ", line))
    return {f"{'' if place == '.' else '.' + place}.{key}" for place, _, keys in lines for key in keys.split()}
