"""The fault table, made from a run of the tests that break things.

    python -m docs.faults                       runs all tests marked `fault` and writes docs/faults.md
    python -m docs.faults tests/e2e/test_kill.py    runs these, and keeps what is known of the others

What is known stands in docs/faults.json; a test holds the two, and the marks, together.
"""

import ast
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
KNOWN, PAGE = HERE / "faults.json", HERE / "faults.md"

HEAD = """# What happens when things fail

Every row is a test that breaks the thing for real, and says how its last run ended. "Nothing lost" means that each
recording has one receipt and one transcript, or waits for the next run; "nothing doubled", that no receipt or
transcript is there twice. Made by `python -m docs.faults`; do not edit.

| fault | how it must end | how it ended | test |
| --- | --- | --- | --- |
"""


def main() -> int:
    """Run, keep, write; the exit status is pytest's."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.jsonl"
        command = [sys.executable, "-P", "-m", "pytest", "-q", "-o", "addopts=-ra", "-m", "fault", *sys.argv[1:]]
        done = subprocess.run(command, env={**os.environ, "STENOPOOL_FAULT_RESULTS": str(results)}, check=False)
        lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    rows = {row["test"]: row for row in (*known(), *map(json.loads, lines))}
    rows = {test: row for test, row in rows.items() if test.partition("[")[0] in marked()}
    ordered = sorted(rows.values(), key=lambda row: (row["fault"], row["test"]))
    KNOWN.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(page(ordered), encoding="utf-8")
    return done.returncode


def known() -> list[dict[str, Any]]:
    """The rows of earlier runs."""
    return list(json.loads(KNOWN.read_text(encoding="utf-8"))) if KNOWN.exists() else []


def marked() -> dict[str, tuple[str, str]]:
    """The tests that are marked: what each breaks, and how it must end."""
    found = {}
    for path in sorted((HERE.parent / "tests").rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if "mark.fault(" not in text:
            continue
        for function in (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)):
            for decorator in function.decorator_list:
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.fault":
                    what, end = map(ast.literal_eval, decorator.args)
                    found[f"{path.relative_to(HERE.parent)}::{function.name}"] = (what, end)
    return found


def page(rows: list[dict[str, Any]]) -> str:
    """The page: a row for each marked test, its parameters taken together."""
    results: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        results.setdefault(row["test"].partition("[")[0], []).append(row)
    lines = [
        f"| {fault} | {end} | {_count_ended(results.get(test, []))} | `{test}` |"
        for test, (fault, end) in sorted(marked().items(), key=lambda item: item[1])
    ]
    return HEAD + "\n".join(lines) + "\n"


def _count_ended(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "not run yet"
    others = sorted({row["outcome"] for row in rows} - {"passed"})
    good = sum(row["outcome"] == "passed" for row in rows)
    how = ", ".join(others) if others else "as it must"
    count = f", {good} of {len(rows)}" if len(rows) > 1 else ""
    return f"{how}{count} ({sum(row['seconds'] for row in rows):.0f} s, {max(row['date'] for row in rows)})"


if __name__ == "__main__":
    sys.exit(main())
