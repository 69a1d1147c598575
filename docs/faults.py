"""The fault table, made from a run of the tests that break things.

    python -m docs.faults                       runs all tests marked `fault` and writes docs/faults.md
    python -m docs.faults tests/e2e/test_kill.py    runs these, and keeps what is known of the others

What is known stands in docs/faults.json; a test holds the two, and the marks, together.
"""

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

Every row is a test that breaks the thing for real, and was run. "Nothing lost" means that each recording has one
receipt and one transcript, or waits for the next run; "nothing doubled", that no receipt or transcript is there twice.
Made by `python -m docs.faults`; do not edit.

| fault | how it must end | how it ended | test |
| --- | --- | --- | --- |
"""


def main() -> int:
    """Run, keep, write; the exit status is pytest's."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.jsonl"
        command = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=-ra", "-m", "fault", *sys.argv[1:]]
        done = subprocess.run(command, env={**os.environ, "STENOPOOL_FAULT_RESULTS": str(results)}, check=False)
        lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    rows = {row["test"]: row for row in (*known(), *map(json.loads, lines))}
    ordered = sorted(rows.values(), key=lambda row: (row["fault"], row["test"]))
    KNOWN.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(page(ordered), encoding="utf-8")
    return done.returncode


def known() -> list[dict[str, Any]]:
    """The rows of earlier runs."""
    return list(json.loads(KNOWN.read_text(encoding="utf-8"))) if KNOWN.exists() else []


def page(rows: list[dict[str, Any]]) -> str:
    """The page: a row for each test, its parameters taken together."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["fault"], row["end"], row["test"].partition("[")[0]), []).append(row)
    lines = []
    for (fault, end, test), of_one in groups.items():
        good = sum(row["outcome"] == "passed" for row in of_one)
        seconds = sum(row["seconds"] for row in of_one)
        how = (
            f"as it must, {good} of {len(of_one)}"
            if len(of_one) > 1
            else {"passed": "as it must"}.get(of_one[0]["outcome"], of_one[0]["outcome"])
        )
        date = max(row["date"] for row in of_one)
        lines.append(f"| {fault} | {end} | {how} ({seconds:.0f} s, {date}) | `{test}` |")
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
