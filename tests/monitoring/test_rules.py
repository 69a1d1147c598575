"""Prometheus' rules: its own checks, tests of each alert firing and not firing, and only exported series."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitoring.render import FOLDER, RULES
from tests.monitoring.known import rules, unknown

TESTS = sorted((FOLDER / "tests").glob("*.yaml"))
RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks"

needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool: apt-get install prometheus")


each_alert = pytest.mark.parametrize(
    "alert", list(rules("alert")), ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}"
)


def promtool(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)


@needs_promtool
def test_rules_are_valid() -> None:
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", *RULES)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.parametrize(
    ("written", "wrong"),
    [
        ("expr: sum(stenopool_zombie_runs) > 0", "expr: sum(stenopool_zombie_runs > 0"),
        ("for: 10m", "for: ten minutes"),
        ("summary: The API is down", "sumary: {{ $labels.pool }"),
    ],
    ids=["expression", "duration", "template"],
)
def test_invalid_rules_are_found(tmp_path: Path, written: str, wrong: str) -> None:
    text = (FOLDER / "rules" / "alerts.yaml").read_text()
    assert written in text
    (tmp_path / "alerts.yaml").write_text(text.replace(written, wrong))
    assert promtool("check", "rules", tmp_path / "alerts.yaml").returncode != 0


@needs_promtool
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should(path: Path) -> None:
    done = promtool("test", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.parametrize(("written", "wrong"), [("== 0", "== 1"), ("> 10", "> 40")], ids=["always", "never"])
def test_an_alert_that_fires_wrongly_is_found(tmp_path: Path, written: str, wrong: str) -> None:
    shutil.copytree(FOLDER / "tests", tmp_path / "tests")
    shutil.copytree(FOLDER / "rules", tmp_path / "rules")
    alerts = tmp_path / "rules" / "alerts.yaml"
    before, start, rest = alerts.read_text().partition("  - name: stenopool-storage\n")
    assert written in rest
    alerts.write_text(before + start + rest.replace(written, wrong, 1))
    done = promtool("test", "rules", tmp_path / "tests" / "storage.yaml")
    assert done.returncode != 0
    assert "StenopoolStorageErrors" in done.stdout + done.stderr


def expectations() -> list[dict[str, Any]]:
    return [
        expected
        for path in TESTS
        for test in yaml.safe_load(path.read_text())["tests"]
        for expected in test.get("alert_rule_test", [])
    ]


@each_alert
def test_each_alert_is_tested_firing_and_not_firing(alert: dict[str, Any]) -> None:
    mine = [expected for expected in expectations() if expected["alertname"] == alert["alert"]]
    fires = [one["exp_labels"] for expected in mine for one in expected["exp_alerts"]]
    assert any(alert["labels"].items() <= labels.items() for labels in fires)
    assert any(expected["exp_alerts"] == [] for expected in mine)


@each_alert
def test_each_alert_has_annotations_and_a_runbook(alert: dict[str, Any]) -> None:
    assert set(alert["annotations"]) == {"summary", "description", "runbook_url"}
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    assert alert["labels"]["seen_by"] in {"exporter", "kubernetes", "prometheus"}
    page = RUNBOOKS / alert["annotations"]["runbook_url"].rpartition("/docs/runbooks/")[2]
    text = page.read_text()
    assert alert["alert"] in text
    for part in ("## Meaning", "## Diagnosis", "## Fix"):
        assert part in text


def test_each_runbook_belongs_to_an_alert() -> None:
    pages = {page.name for page in RUNBOOKS.glob("*.md")} - {"README.md"}
    named = {str(alert["annotations"]["runbook_url"]).rpartition("/")[2] for alert in rules("alert")}  # type: ignore[index]
    assert pages == named
    assert all(f"({name})" in (RUNBOOKS / "README.md").read_text() for name in named)


@pytest.mark.parametrize(
    "rule", [*rules("record"), *rules("alert")], ids=lambda rule: rule.get("record") or rule["alert"]
)
def test_rules_name_only_exported_series(rule: dict[str, Any]) -> None:
    assert unknown(rule["expr"]) == []


def test_an_unexported_series_is_found() -> None:
    assert unknown('sum(rate(stenopool_recordings[5m])) / stenopool_queue_depth{pool="gpu"}') == [
        "stenopool_recordings",
        "stenopool_queue_depth{pool}",
    ]


def test_rules_follow_prometheus_naming_advice() -> None:
    for rule in rules("record"):
        assert re.fullmatch(r"stenopool:[a-z_]+:[a-z0-9_]+", str(rule["record"]))
    for rule in rules("alert"):
        assert re.fullmatch(r"Stenopool[A-Za-z]+", str(rule["alert"]))
