"""The commands of docs/deploy/kubernetes.md that need no cluster, run with the real helm and kubectl."""

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.helm.chart import REPOSITORY, VALUES, complaints
from tests.support.markdown import Command, commands
from tests.terraform.test_modules import ROOT

GUIDE = list(commands(REPOSITORY / "docs" / "deploy" / "kubernetes.md"))


def run(programs: Path, words: list[str], folder: Path) -> str:
    """Words of a command in the guide."""
    command = [str(programs / words[0]), *words[1:]]
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder, env={"HOME": "/nowhere"}, timeout=60)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize(
    "command",
    [each for each in GUIDE if each.words[0] == "kubectl" and "create" in each.words],
    ids=lambda command: command.words[command.words.index("create") + 1] + " " + command.words[-1][:40],
)
def test_settings_and_secrets_are_created(programs: Path, command: Command, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("front-desk read,write 0123\n")
    (tmp_path / "deployments").symlink_to(REPOSITORY / "deployments")
    made = yaml.safe_load(run(programs, [*command.words, "--dry-run=client", "--output=yaml"], tmp_path))
    assert complaints(made) == []
    assert made["metadata"]["namespace"] == "stenopool"
    # Something installed later refers to it by this name.
    asked = "".join(file.read_text() for file in VALUES.rglob("*.yaml"))
    assert made["metadata"]["name"] in asked


def test_our_chart_is_installed(programs: Path) -> None:
    (command,) = [each.words for each in GUIDE if "workers/helm/stenopool" in each.words]
    assert command[:4] == ["helm", "upgrade", "--install", "stenopool"]
    manifests = list(yaml.safe_load_all(run(programs, ["helm", "template", *command[3:]], REPOSITORY)))
    assert {"Deployment", "NetworkPolicy", "PersistentVolumeClaim"} <= {each["kind"] for each in manifests}
    assert [complaint for each in manifests for complaint in complaints(each)] == []


def test_chart_versions_match_terraform() -> None:
    versions = {
        word: command.words[command.words.index("--version") + 1]
        for command in GUIDE
        if "--version" in command.words
        for word in command.words
        if word.startswith(("prefect/", "nvdp/"))
    }
    prefect = (ROOT / "modules" / "prefect" / "variables.tf").read_text()
    gpu_nodes = (ROOT / "modules" / "gpu_nodes" / "variables.tf").read_text()
    assert versions.keys() == {"prefect/prefect-server", "prefect/prefect-worker", "nvdp/nvidia-device-plugin"}
    for chart, version in versions.items():
        assert f'default     = "{version}"' in (gpu_nodes if chart.startswith("nvdp") else prefect)
