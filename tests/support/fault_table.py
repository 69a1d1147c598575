"""The table of faults: the mark ``fault(what, end)`` of a test has the fault and the expected result.

With STENOPOOL_FAULT_RESULTS in the environment, each result is appended to that file as a line of JSON.
`python -m docs.faults` writes docs/faults.md from it.
"""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

RESULTS = "STENOPOOL_FAULT_RESULTS"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[None]:
    """Write the result of a marked test; a failure in its setup counts too."""
    report = yield
    mark, results = item.get_closest_marker("fault"), os.environ.get(RESULTS)
    if mark and results and (report.when == "call" or report.outcome != "passed"):
        line = {
            "fault": mark.args[0],
            "end": mark.args[1],
            "test": item.nodeid,
            "outcome": report.outcome,
            "seconds": round(report.duration, 1),
            "date": datetime.now(UTC).date().isoformat(),
        }
        with Path(results).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    return report
