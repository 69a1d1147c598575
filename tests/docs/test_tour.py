"""The guided tour in CONTRIBUTING names existing files and functions, and as few as promised."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
STEP = re.compile(r"`((?:stenopool|flows)/[\w/]+\.py)`(?:: ((?:`\w+`(?:, )?)+))?")


def tour() -> dict[str, set[str]]:
    """The functions and classes in the tour, by file."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    section = text.partition("## Guided tour")[2].partition("## Glossary")[0]
    found: dict[str, set[str]] = {}
    for file, names in STEP.findall(section):
        found.setdefault(file, set()).update(re.findall(r"`(\w+)`", names))
    return found


def test_every_file_and_function_in_the_tour_exists() -> None:
    stops = tour()
    assert len(stops) > 15
    for file, names in stops.items():
        tree = ast.parse((ROOT / file).read_text("utf-8"))
        defined = {
            node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        }
        assert names <= defined, file


def test_it_is_short() -> None:
    stops = tour()
    assert len(stops) <= 24
    assert sum(map(len, stops.values())) <= 100
