"""The commands of docs/deploy/kubernetes.md that need no cluster, run with the real helm and kubectl."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from stenopool.orchestration.deploy.specification import read
from tests.helm.test_prefect import names_set_twice, unready
from tests.support.helm.chart import REPOSITORY, VALUES, Chart, Manifest, complaints
from tests.support.markdown import blocks, commands
from tests.support.terraform.workspace import ROOT

PAGE = REPOSITORY / "docs" / "deploy" / "kubernetes.md"
GUIDE = list(commands(PAGE))
(VALUES_OF_THE_GUIDE, *EXAMPLES) = (yaml.safe_load(block) for block in blocks(PAGE, "yaml"))


@pytest.fixture(scope="module")
def manifests(chart: Chart) -> list[Manifest]:
    """The manifests that the guide installs."""
    return chart.render(VALUES_OF_THE_GUIDE)


def asked(value: Any, key: str, inside: tuple[str, ...] = ("secretKeyRef", "secretRef", "secret")) -> set[str]:
    """The names of secrets in a manifest."""
    found: set[str] = set()
    if isinstance(value, dict):
        for name, each in value.items():
            if name in inside and isinstance(each, dict):
                found |= {each[field] for field in (key, "secretName") if field in each}
            found |= asked(each, key, inside)
    elif isinstance(value, list):
        for each in value:
            found |= asked(each, key, inside)
    return found


def test_the_secrets_that_pods_need_are_created(programs: Path, manifests: list[Manifest], tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("front-desk read,write 0123\n")
    made = set()
    for command in GUIDE:
        if command.words[0] == "kubectl" and "create" in command.words and "secret" in command.words:
            # The loop variable is 1 here.
            words = [word if word != "1" else "stenopool-runs" for word in command.words]
            line = [str(programs / words[0]), *words[1:], "--dry-run=client", "--output=yaml"]
            result = subprocess.run(
                line, capture_output=True, text=True, cwd=tmp_path, env={"HOME": "/nowhere"}, timeout=60
            )
            assert result.returncode == 0, result.stderr
            secret = yaml.safe_load(result.stdout)
            assert complaints(secret) == []
            made.add(secret["metadata"]["name"])
    assert made == asked(manifests, "name") | {"prefect-auth"}


def test_the_values_are_valid_and_install_with_one_command(manifests: list[Manifest]) -> None:
    assert [complaint for each in manifests for complaint in complaints(each)] == []
    assert names_set_twice(manifests) == []
    assert unready(manifests) == []
    (command,) = [each.words for each in GUIDE if "workers/helm/stenopool" in each.words and "--install" in each.words]
    assert {"--wait", "--values", "values.yaml"} <= set(command)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: "-".join(example))
def test_other_values_of_the_guide_are_valid(chart: Chart, example: dict[str, Any]) -> None:
    api = VALUES_OF_THE_GUIDE["api"] | example.get("api", {})
    manifests = chart.render(VALUES_OF_THE_GUIDE | example | {"api": api})
    assert [complaint for each in manifests for complaint in complaints(each)] == []


@pytest.mark.parametrize("values", [VALUES_OF_THE_GUIDE, EXAMPLES[0]], ids=["schedules", "without GPUs"])
def test_its_deployments_are_deployed(values: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "deployments.yaml"
    file.write_text(yaml.safe_dump({"deployments": values["deploy"]["deployments"]}))
    assert len(read(file)) >= len(read())


def test_files_of_values_exist() -> None:
    files = {
        Path(word).name for each in GUIDE for word in each.words if word.startswith("workers/helm/") and "yaml" in word
    }
    assert files == {path.name for path in VALUES.glob("*.yaml")} - {"checkov.yaml"}


def test_the_device_plugin_is_of_the_version_that_terraform_installs() -> None:
    (command,) = [each for each in GUIDE if "nvdp/nvidia-device-plugin" in each.words]
    version = command.words[command.words.index("--version") + 1]
    assert any(f'"{version}"' in path.read_text() for path in ROOT.rglob("variables.tf"))


def test_prometheus_and_grafana_of_the_guide_find_what_the_chart_installs(chart: Chart) -> None:
    """The chart kube-prometheus-stack is not rendered, but its keys were compared with its templates."""
    stack = yaml.safe_load((VALUES / "kube-prometheus-stack.yaml").read_text())
    found = chart.render(VALUES_OF_THE_GUIDE | {"monitoring": {"enabled": True}})
    kinds = {each["kind"] for each in found}
    selected = {name for name, value in stack["prometheus"]["prometheusSpec"].items() if value is False}
    # By default, kube-prometheus-stack selects only objects with its release label, which the chart does not set.
    for kind, name in (("PodMonitor", "podMonitor"), ("PrometheusRule", "rule")):
        assert kind in kinds
        assert f"{name}SelectorNilUsesHelmValues" in selected
    sidecar = stack["grafana"]["sidecar"]["dashboards"]
    (dashboards,) = [each for each in found if each["metadata"]["name"].endswith("-dashboards")]
    assert dashboards["metadata"]["labels"][sidecar["label"]] == "1"
    assert sidecar["searchNamespace"] == "ALL"
    # kube-state-metrics exports only the pod labels that are listed.
    (allowed,) = stack["kube-state-metrics"]["metricLabelsAllowlist"]
    used = set(re.findall(r"kube_pod_labels\{label_(\w+)", "".join(dashboards["data"].values())))
    assert used == {re.sub(r"\W", "_", label) for label in allowed.removeprefix("pods=[").removesuffix("]").split(",")}
    (command,) = [each.words for each in GUIDE if "prometheus-community/kube-prometheus-stack" in each.words]
    namespace = yaml.safe_load((VALUES / "stenopool" / "values.yaml").read_text())["networkPolicy"][
        "prometheusNamespace"
    ]
    assert command[command.index("--namespace") + 1] == namespace
