"""`stenopool deploy` and the charts accept Terraform's outputs."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from stenopool import __version__
from stenopool.orchestration.deploy.pools import template
from stenopool.orchestration.deploy.specification import Deployment, read
from tests.support.helm.chart import VALUES, Chart, pods
from tests.support.helm.prefect_charts import Name, unknown
from tests.support.helm.tools import fetch
from tests.support.terraform.workspace import ROOT, Workspace


@pytest.fixture(scope="module")
def state(testable: Workspace) -> dict[str, Any]:
    """The complete example, applied with providers that only have schemas."""
    example = "examples/complete"
    testable.init(example)
    lines = testable.run(example, "test", "-json", "-verbose").stdout.splitlines()
    states: list[dict[str, Any]] = [each["test_state"] for each in map(json.loads, lines) if "test_state" in each]
    return states[0]


@pytest.fixture(scope="module")
def deployments(state: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> list[Deployment]:
    """Its output, read as `stenopool deploy --file` reads it."""
    file = tmp_path_factory.mktemp("deploy") / "deployments.yaml"
    file.write_text(state["outputs"]["deployments"]["value"])
    return read(Path(file))


def test_it_replaces_the_default_deployments_and_adds_the_schedule(deployments: list[Deployment]) -> None:
    ours = {(each.entrypoint, each.name) for each in read()}
    theirs = {(each.entrypoint, each.name) for each in deployments}
    assert theirs - ours == {("flows/ingest.py:ingest", "nightly"), ("flows/watch.py:watch", "arrivals")}
    assert ours <= theirs
    assert all(each.work_pool.job_variables for each in deployments)


def test_job_templates_have_its_variables(deployments: list[Deployment]) -> None:
    for each in deployments:
        known = template(each.work_pool.name, "kubernetes")["variables"]["properties"]
        assert each.work_pool.job_variables.keys() <= known.keys()


def test_each_pool_has_its_image_and_account(deployments: list[Deployment]) -> None:
    for each in deployments:
        kind = {"cpu": "cpu", "gpu": "cuda12"}[each.work_pool.name]
        assert each.work_pool.job_variables["image"].endswith(f":{__version__}-{kind}")
        assert each.work_pool.job_variables["service_account_name"] == f"stenopool-{each.work_pool.name}"


@pytest.mark.parametrize("pool", ["cpu", "gpu"])
def test_gpu_nodes_match_the_job_template(pool: str) -> None:
    text = (ROOT / "modules" / "gpu_nodes" / "main.tf").read_text()
    job = template(pool, "kubernetes")["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    tolerated = {(each["key"], each["effect"]) for each in job.get("tolerations", ())}
    (taint,) = re.findall(r'taint = { key = "(.*?)", value = ".*?", effect = "(.*?)" }', text)
    assert tolerated == ({taint} if pool == "gpu" else set())
    assert '"accelerator"            = "nvidia"' in text


def releases(state: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The values of each Helm release, in the order in which Helm merges them."""
    modules = state["root_module"]["child_modules"]
    resources = [each for module in modules for each in module.get("resources", ())]
    return {
        each["values"]["name"]: [yaml.safe_load(text) for text in each["values"]["values"]]
        for each in resources
        if each["type"] == "helm_release"
    }


def test_prefects_charts_have_every_value(state: dict[str, Any]) -> None:
    charts: dict[str, Name] = {
        "prefect-server": "prefect-server",
        "prefect-worker-cpu": "prefect-worker",
        "prefect-worker-gpu": "prefect-worker",
    }
    found = releases(state)
    assert charts.keys() <= found.keys()
    for release, chart in charts.items():
        assert len(found[release]) == 2
        assert [unknown(chart, values) for values in found[release]] == [[], []]


def test_our_chart_accepts_its_values(state: dict[str, Any]) -> None:
    try:
        fetch()
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"helm cannot be fetched: {error}")
    manifests = Chart(VALUES / "stenopool").render(yaml.safe_load(state["outputs"]["chart"]["value"]))
    (container,) = pods(manifests)["stenopool-api"]["spec"]["containers"]
    assert container["image"].endswith(f":{__version__}-cpu")
    assert pods(manifests)["stenopool-api"]["spec"]["serviceAccountName"] == "stenopool-api"
    # Terraform has created them.
    assert not any(each["kind"] == "ServiceAccount" for each in manifests)
