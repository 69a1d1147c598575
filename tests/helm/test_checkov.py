"""Checkov on the rendered chart: clean except for a list with reasons, and it finds planted mistakes."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.test_chart import VALUE_SETS
from tests.support.helm.chart import VALUES, Chart
from tests.support.terraform.tools import uvx

CONFIG = VALUES / "checkov.yaml"
CHECKOV = uvx("--from", "checkov==3.3.30", "checkov")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which(CHECKOV[0]), reason="uv, which brings checkov, is not installed"),
]


def _failed(chart: Chart, folder: Path) -> set[str]:
    folder.joinpath("rendered.yaml").write_text(yaml.safe_dump_all(chart.render(VALUE_SETS["everything"])))
    fixed = ("--framework=kubernetes", "--skip-download", "--quiet", "--output=json")
    result = subprocess.run([*CHECKOV, f"--directory={folder}", *fixed], capture_output=True, text=True, timeout=300)
    answer: dict[str, Any] = json.loads(result.stdout)
    assert answer["summary"]["resource_count"] > 5
    assert answer["summary"]["parsing_errors"] == 0
    return {check["check_id"] for check in answer["results"]["failed_checks"]}


def test_it_finds_nothing_outside_the_list(chart: Chart, tmp_path: Path) -> None:
    assert _failed(chart, tmp_path) == set(yaml.safe_load(CONFIG.read_text())["skip-check"])


def test_every_entry_of_the_list_has_a_reason() -> None:
    lines = CONFIG.read_text().splitlines()
    entries = [i for i, line in enumerate(lines) if re.match(r"\s+- CKV", line)]
    assert entries
    assert [lines[i] for i in entries if not re.match(r"\s+# .{20}", lines[i - 1])] == []


def test_it_finds_planted_mistakes(spoilt: Chart, tmp_path: Path) -> None:
    spoilt.replace("templates/_helpers.tpl", "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false")
    spoilt.replace("templates/exporter.yaml", "livenessProbe:", "startupProbe2: &unused")
    spoilt.replace(
        "templates/_helpers.tpl", "automountServiceAccountToken: false", "automountServiceAccountToken: true"
    )
    folder = tmp_path / "rendered"
    folder.mkdir()
    # Read-only root, liveness probe, service account token.
    assert {"CKV_K8S_22", "CKV_K8S_8", "CKV_K8S_38"} <= _failed(spoilt, folder)
