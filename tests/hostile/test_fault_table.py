"""docs/faults.md says of every test marked `fault` how it ended, and of no other."""

import ast
from pathlib import Path

from docs.faults import PAGE, known, page

TESTS = Path(__file__).parents[1]


def marked() -> dict[str, tuple[str, str]]:
    """The marked tests, with what they say."""
    found = {}
    for path in TESTS.rglob("test_*.py"):
        text = path.read_text(encoding="utf-8")
        if "mark.fault(" not in text:
            continue
        for function in (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)):
            for decorator in function.decorator_list:
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.fault":
                    name = f"{path.relative_to(TESTS.parent)}::{function.name}"
                    what, end = map(ast.literal_eval, decorator.args)
                    found[name] = (what, end)
    return found


def test_the_table_is_of_the_tests_that_there_are() -> None:
    rows = known()
    assert {row["test"].partition("[")[0]: (row["fault"], row["end"]) for row in rows} == marked()
    assert PAGE.read_text(encoding="utf-8") == page(rows)


def test_every_fault_ended_as_it_must() -> None:
    assert [row["test"] for row in known() if row["outcome"] != "passed"] == []
