"""What Terraform hands to `stenopool deploy` is what `stenopool deploy` takes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from deployments.specification import Deployment, read
from stenopool import __version__
from tests.support.terraform.workspace import ROOT, Workspace
from workers.templates import template


@pytest.fixture(scope="module")
def deployments(testable: Workspace, tmp_path_factory: pytest.TempPathFactory) -> list[Deployment]:
    """The complete example's output, read as `stenopool deploy --file` reads it."""
    example = "examples/complete"
    testable.init(example)
    lines = testable.run(example, "test", "-json", "-verbose").stdout.splitlines()
    states: list[dict[str, Any]] = [each["test_state"] for each in map(json.loads, lines) if "test_state" in each]
    file = tmp_path_factory.mktemp("deploy") / "deployments.yaml"
    file.write_text(states[0]["outputs"]["deployments"]["value"])
    return read(Path(file))


def test_it_stands_in_for_ours_and_adds_the_schedule(deployments: list[Deployment]) -> None:
    ours = {(each.entrypoint, each.name) for each in read()}
    theirs = {(each.entrypoint, each.name) for each in deployments}
    assert theirs - ours == {("flows.ingest.ingest", "nightly")}
    assert ours <= theirs
    assert all(each.work_pool.job_variables for each in deployments)


def test_job_templates_know_its_variables(deployments: list[Deployment]) -> None:
    for each in deployments:
        known = template(each.work_pool.name, "kubernetes")["variables"]["properties"]
        assert each.work_pool.job_variables.keys() <= known.keys()


def test_each_pool_has_its_image_and_account(deployments: list[Deployment]) -> None:
    for each in deployments:
        kind = {"cpu": "cpu", "gpu": "cuda12"}[each.work_pool.name]
        assert each.work_pool.job_variables["image"].endswith(f":{__version__}-{kind}")
        assert each.work_pool.job_variables["service_account_name"] == f"stenopool-{each.work_pool.name}"


@pytest.mark.parametrize("pool", ["cpu", "gpu"])
def test_gpu_nodes_are_what_the_job_template_asks_for(pool: str) -> None:
    text = (ROOT / "modules" / "gpu_nodes" / "main.tf").read_text()
    job = template(pool, "kubernetes")["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    tolerated = {(each["key"], each["effect"]) for each in job.get("tolerations", ())}
    (taint,) = re.findall(r'taint = { key = "(.*?)", value = ".*?", effect = "(.*?)" }', text)
    assert tolerated == ({taint} if pool == "gpu" else set())
    assert '"accelerator"            = "nvidia"' in text
