"""The script that follows the Kubernetes guide on a kind cluster: checks that need no cluster."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from stenopool.orchestration.deploy.specification import read
from tests.helm.test_capacity import run_of, services, unplaced
from tests.support.guide import section, values
from tests.support.helm.chart import REPOSITORY, Chart, Manifest, complaints
from tests.support.kubernetes import Node

SCRIPT = REPOSITORY / ".ci" / "kind"
PAGE = REPOSITORY / "docs" / "deploy" / "kubernetes.md"
VALUES = values(PAGE, yaml.safe_load((REPOSITORY / ".ci" / "kind.yaml").read_text()))
HEADINGS = ("2. Namespaces and secrets", "3. Install", "4. Try it")
# A hosted runner has 4 CPUs and 16 GB; kind's own pods request 950m and 300 MiB.
RUNNER = Node("runner", {"cpu": "3050m", "memory": "14Gi", "ephemeral-storage": "30Gi"})


@pytest.fixture(scope="module")
def manifests(chart: Chart) -> list[Manifest]:
    return chart.render(VALUES)


def test_the_script_is_clean_shell() -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    # The guide's commands may split words: people type them.
    found = subprocess.run([shellcheck, SCRIPT], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def test_it_follows_the_guides_headings() -> None:
    text = SCRIPT.read_text()
    for heading in HEADINGS:
        assert f'follow "{heading}"' in text
        commands = section(PAGE, heading)
        assert subprocess.run(["bash", "-n"], input=commands, text=True, check=False).returncode == 0
    assert "PASSWORD@" not in section(PAGE, HEADINGS[0])
    with pytest.raises(ValueError, match="no commands"):
        section(PAGE, "5. Nothing")


def test_its_values_are_valid(manifests: list[Manifest]) -> None:
    assert [complaint for each in manifests for complaint in complaints(each)] == []
    images = {
        c["image"] for spec in services(manifests) for c in [*spec["containers"], *spec.get("initContainers", [])]
    }
    assert images == {"ghcr.io/stenopool/stenopool:0.1.0-cpu"}


def test_everything_fits_a_hosted_runner(manifests: list[Manifest], tmp_path: Path) -> None:
    file = tmp_path / "deployments.yaml"
    file.write_text(yaml.safe_dump({"deployments": VALUES["deploy"]["deployments"]}))
    runs = {(each.flow, each.name): run_of(each, manifests) for each in read(file)}
    specs = [("service", each) for each in services(manifests)]
    specs += [("ingest", runs["ingest", "interactive"]), ("transcribe", runs["transcribe", "gpu"])]
    assert unplaced(specs, [RUNNER]) == []
    # `transcribe` runs on the CPU here: no GPU is requested.
    assert "nvidia.com/gpu" not in runs["transcribe", "gpu"]["containers"][0]["resources"]["limits"]
