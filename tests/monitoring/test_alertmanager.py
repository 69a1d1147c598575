"""The example for Alertmanager: its own check, and the recipients of alerts."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from monitoring.render import FOLDER
from tests.monitoring.known import rules
from tests.support.alertmanager import Alertmanager

CONFIG = FOLDER / "alertmanager.yaml"

needs_amtool = pytest.mark.skipif(
    not shutil.which("amtool"), reason="no amtool: apt-get install prometheus-alertmanager"
)


def amtool(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["amtool", *map(str, arguments)], capture_output=True, text=True, check=False)


@needs_amtool
def test_the_configuration_is_valid() -> None:
    done = amtool("check-config", CONFIG)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_amtool
@pytest.mark.parametrize(
    ("written", "wrong"),
    [("receiver: pager", "receiver: nobody"), ("target_matchers: ['service=", "target_matchers: ['=")],
    ids=["receiver", "matcher"],
)
def test_a_mistake_is_found(tmp_path: Path, written: str, wrong: str) -> None:
    assert written in CONFIG.read_text()
    (tmp_path / "alertmanager.yaml").write_text(CONFIG.read_text().replace(written, wrong, 1))
    assert amtool("check-config", tmp_path / "alertmanager.yaml").returncode != 0


@needs_amtool
@pytest.mark.parametrize(("severity", "sent"), [("critical", "pager"), ("warning", "channel"), ("info", "mail")])
def test_recipients_depend_on_severity(severity: str, sent: str) -> None:
    done = amtool("config", "routes", "test", f"--config.file={CONFIG}", f"severity={severity}", "service=stenopool")
    assert done.stdout.split() == [sent]


def test_the_configuration_has_no_secrets() -> None:
    def keys(node: object) -> set[str]:
        if isinstance(node, dict):
            return {*node, *(key for value in node.values() for key in keys(value))}
        return {key for one in node for key in keys(one)} if isinstance(node, list) else set()

    found = keys(yaml.safe_load(CONFIG.read_text()))
    assert {"api_url_file", "routing_key_file", "auth_password_file"} <= found
    assert not found & {"api_url", "slack_api_url", "routing_key", "service_key", "auth_password", "smtp_auth_password"}


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[Alertmanager]:
    if not shutil.which("prometheus-alertmanager"):
        pytest.skip("no Alertmanager: apt-get install prometheus-alertmanager")
    server = Alertmanager(tmp_path, CONFIG)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def alert(name: str, severity: str, **labels: str) -> dict[str, str]:
    """The labels of this alert, from its rule and its series."""
    mine = [rule["labels"] for rule in rules("alert") if rule["alert"] == name]
    (found,) = [one for one in mine if one["severity"] == severity]  # type: ignore[index]
    return {"alertname": name, **found, **labels}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("alerts", "sent"),
    [
        (
            [
                alert("StenopoolExporterDown", "critical"),
                alert("StenopoolQueueTooOld", "warning", queue="gpu/batch"),
                alert("StenopoolApiDown", "critical"),
            ],
            {"StenopoolExporterDown critical", "StenopoolApiDown critical"},
        ),
        (
            [
                alert("StenopoolPrefectDown", "critical"),
                alert("StenopoolWorkerGone", "critical", pool="gpu"),
                alert("StenopoolNoProgress", "critical"),
            ],
            {"StenopoolPrefectDown critical"},
        ),
        (
            [alert("StenopoolCostAboveBudget", "warning"), alert("StenopoolCostAboveBudget", "critical")],
            {"StenopoolCostAboveBudget critical"},
        ),
        (
            [alert("StenopoolZombieRuns", "warning"), alert("StenopoolCostAboveBudget", "critical")],
            {"StenopoolZombieRuns warning", "StenopoolCostAboveBudget critical"},
        ),
    ],
    ids=["exporter", "prefect", "severities", "unrelated alerts"],
)
def test_consequences_of_a_more_severe_alert_are_inhibited(
    alertmanager: Alertmanager, alerts: list[dict[str, str]], sent: set[str]
) -> None:
    alertmanager.fire(alerts)
    seen = alertmanager.read_alerts(len(alerts))
    assert {name for name, active in seen.items() if active} == sent


def test_inhibited_alerts_exist() -> None:
    known = {str(rule["alert"]) for rule in rules("alert")}
    for rule in yaml.safe_load(CONFIG.read_text())["inhibit_rules"]:
        for matcher in rule["source_matchers"] + rule["target_matchers"]:
            label, _, names = matcher.replace("!=", "=").replace("=~", "=").partition("=")
            if label == "alertname":
                assert set(names.strip('"').split("|")) <= known
