"""`stenopool deploy` and the charts accept Terraform's outputs."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from stenopool import __version__
from stenopool.orchestration.deploy.pools import template
from stenopool.orchestration.deploy.specification import Deployment, read
from stenopool.orchestration.names import PoolKind
from tests.support.helm.chart import VALUES, Chart, pods
from tests.support.helm.tools import fetch
from tests.support.kubernetes.scheduler import quantity
from tests.support.terraform.workspace import Workspace


@pytest.fixture(scope="module")
def state(testable: Workspace) -> dict[str, Any]:
    """The stack of the cloud, applied with providers that only have schemas."""
    return testable.apply("stacks/cloud")


@pytest.fixture(scope="module")
def deployments(state: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> list[Deployment]:
    """Those of its values for the chart, read as `stenopool deploy --file` reads them."""
    file = tmp_path_factory.mktemp("deploy") / "deployments.yaml"
    file.write_text(
        yaml.safe_dump({"deployments": yaml.safe_load(state["outputs"]["chart"]["value"])["deploy"]["deployments"]})
    )
    return read(Path(file))


def test_it_adds_the_schedule_and_the_queue_of_arrivals(deployments: list[Deployment]) -> None:
    ours = {(each.entrypoint, each.name) for each in read()}
    theirs = {(each.entrypoint, each.name) for each in deployments}
    assert theirs - ours == {("flows/ingest.py:ingest", "nightly"), ("flows/watch.py:watch", "arrivals")}


@pytest.fixture(scope="module")
def hints(testable: Workspace) -> dict[str, dict[str, str]]:
    """The autoscaler's node-template hints, by node group."""
    found: dict[str, dict[str, str]] = {}
    for each in testable.apply("modules/nodes")["root_module"]["resources"]:
        if each["type"] == "aws_autoscaling_group_tag":
            (tag,) = each["values"]["tag"]
            group = each["index"].partition(" ")[0]
            found.setdefault(group, {})[tag["key"].removeprefix("k8s.io/cluster-autoscaler/node-template/")] = tag[
                "value"
            ]
    return found


def job(pool: PoolKind) -> dict[str, Any]:
    """The pod of a run, with the default values of the template's variables."""
    whole = template(pool, "kubernetes")
    text = json.dumps(whole["job_configuration"]["job_manifest"]["spec"]["template"]["spec"])
    for name, variable in whole["variables"]["properties"].items():
        text = text.replace(f'"{{{{ {name} }}}}"', json.dumps(variable.get("default")))
    filled: dict[str, Any] = json.loads(text)
    return filled


@pytest.mark.parametrize("pool", ["cpu", "gpu"])
def test_a_run_fits_a_node_that_does_not_exist_yet(pool: PoolKind, hints: dict[str, dict[str, str]]) -> None:
    """Without a hint for each resource, label and taint, the autoscaler never adds the first node."""
    pod = job(pool)
    resources = pod["containers"][0]["resources"]
    wanted: dict[str, str] = resources["requests"] | resources["limits"]
    for known in ("cpu", "memory"):  # by the instance type
        wanted.pop(known)
    tolerated = {each["key"] for each in pod.get("tolerations") or ()}
    groups = {name: facts for name, facts in hints.items() if name.startswith(pool)}
    assert groups
    for facts in groups.values():
        for resource, amount in wanted.items():
            assert quantity(facts.get(f"resources/{resource}", "0")) >= quantity(amount), resource
        for label, value in (pod["nodeSelector"] or {}).items():
            assert facts.get(f"label/{label}") == value
        assert {key.removeprefix("taint/") for key in facts if key.startswith("taint/")} == tolerated


def test_the_autoscaler_waits_until_the_gpu_of_a_new_node_is_registered(hints: dict[str, dict[str, str]]) -> None:
    """Without this label, the autoscaler adds a second node in the meantime."""
    for group in ("gpu-spot", "gpu-on-demand"):
        assert "label/k8s.amazonaws.com/accelerator" in hints[group]


def test_the_node_pool_of_auto_mode_matches_the_job_template(testable: Workspace) -> None:
    (release,) = testable.apply("modules/scaling")["root_module"]["resources"]
    manifests = yaml.safe_load(release["values"]["values"][0])["manifests"]
    (nodes,) = [each["spec"]["template"] for each in manifests if each["kind"] == "NodePool"]
    pod = job("gpu")
    assert pod["nodeSelector"].items() <= nodes["metadata"]["labels"].items()
    assert [each["key"] for each in nodes["spec"]["taints"]] == [each["key"] for each in pod["tolerations"]]
    (disk,) = [each["spec"]["ephemeralStorage"]["size"] for each in manifests if each["kind"] == "NodeClass"]
    requested = pod["containers"][0]["resources"]["requests"]["ephemeral-storage"]
    assert quantity(disk) > 2 * quantity(requested)


def test_our_chart_accepts_its_values(state: dict[str, Any]) -> None:
    try:
        fetch()
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"helm cannot be fetched: {error}")
    manifests = Chart(VALUES / "stenopool").render(yaml.safe_load(state["outputs"]["chart"]["value"]))
    images = {container["image"] for pod in pods(manifests).values() for container in pod["spec"]["containers"]}
    (image,) = images
    assert image.endswith(f":{__version__}-cpu")
    accounts = {each["metadata"]["name"] for each in manifests if each["kind"] == "ServiceAccount"}
    assert {"stenopool-cpu", "stenopool-gpu", "stenopool-api", "stenopool-exporter"} <= accounts
    (ingress,) = [each for each in manifests if each["kind"] == "Ingress"]
    assert ingress["spec"]["rules"][0]["host"] == "stenopool.example.org"


def test_namespaces_and_secrets_are_those_that_the_chart_expects(testable: Workspace) -> None:
    values = yaml.safe_load((VALUES / "stenopool" / "values.yaml").read_text())
    modules = testable.apply("stacks/cluster")["root_module"]["child_modules"]
    resources = [each for module in modules for each in module.get("resources", ())]
    metadata = [each["values"]["metadata"][0] for each in resources if each["type"].startswith("kubernetes_")]
    made = {(each.get("namespace"), each["name"]) for each in metadata}
    namespace, runs = "stenopool", values["runs"]["namespace"]
    assert made == {
        (None, namespace),
        (None, runs),
        (namespace, values["prefect"]["server"]["secret"]),
        (namespace, values["prefect"]["server"]["environmentSecret"]),
        (runs, values["runs"]["authSecret"]["name"]),
    }
