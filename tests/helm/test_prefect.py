"""Prefect's server and workers, as the chart installs them: order of the start, settings, permissions, secrets."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from stenopool.orchestration.deploy.pools import read_changes, template
from stenopool.orchestration.deploy.server import SECRETS, settings
from stenopool.orchestration.names import QUEUES
from stenopool.orchestration.workers.rights import WORKER_RIGHTS
from tests.helm.conftest import SMALLEST
from tests.helm.test_chart import VALUE_SETS, by_kind
from tests.support.helm.chart import REPOSITORY, VALUES, Chart, Manifest, pods

RUNS = "stenopool-runs"


def containers(pod: Manifest) -> list[dict[str, Any]]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def names_set_twice(manifests: list[Manifest]) -> list[str]:
    """Environment variables that a container sets twice: Helm 4 refuses them, and Helm 3 may lose one."""
    found = []
    for name, pod in pods(manifests).items():
        for container in containers(pod):
            set_ = [each["name"] for each in container.get("env", [])]
            found += [f"{name}: {each}" for each in sorted({one for one in set_ if set_.count(one) > 1})]
    return found


@pytest.mark.parametrize("values", VALUE_SETS)
def test_no_variable_is_set_twice(chart: Chart, values: str) -> None:
    assert names_set_twice(chart.render(VALUE_SETS[values])) == []


def test_a_variable_that_is_set_twice_is_found(spoilt: Chart) -> None:
    spoilt.replace(
        "templates/workers.yaml", "          ports:", "            - { name: HOME, value: /root }\n          ports:"
    )
    assert names_set_twice(spoilt.render(SMALLEST)) == ["prefect-worker-cpu: HOME", "prefect-worker-gpu: HOME"]


def unready(manifests: list[Manifest]) -> list[str]:
    """What keeps `helm install --wait` from ending on an empty cluster: pods that need what only a hook does.

    Helm waits for the pods of an installation before it runs its post-install hooks.
    """
    found = [
        f"{each['kind']} {each['metadata']['name']} is a hook"
        for each in manifests
        if "helm.sh/hook" in each["metadata"].get("annotations", {})
    ]
    server = pods(manifests)["prefect-server"]["spec"]
    if not any(
        each["args"][:4] == ["prefect", "server", "database", "upgrade"] for each in server.get("initContainers", [])
    ):
        found.append("the server starts before its tables exist")
    services = pods(manifests)["prefect-services"]["spec"]
    if not any("http://prefect-server" in each["args"][-1] for each in services.get("initContainers", [])):
        found.append("the services start before the server")
    return found


def test_a_first_install_needs_no_hook(rendered: list[Manifest]) -> None:
    assert unready(rendered) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("[prefect, server, database, upgrade, --yes]", "[prefect, server, database, reset]"),
        (
            '  {{- if eq $component "services" }}\n  annotations:',
            "  {{- if true }}\n  annotations:\n    helm.sh/hook: post-install",
        ),
    ],
    ids=["no tables", "a hook"],
)
def test_an_install_that_waits_for_ever_is_found(spoilt: Chart, old: str, new: str) -> None:
    spoilt.replace("templates/prefect.yaml", old, new)
    assert unready(spoilt.render(SMALLEST)) != []


def test_settings_are_those_of_compose(rendered: list[Manifest]) -> None:
    data = by_kind(rendered, "ConfigMap")["prefect-server-settings"]["data"]
    assert data == settings()
    assert not data.keys() & set(SECRETS)
    for name in ("prefect-server", "prefect-services"):
        (container,) = pods(rendered)[name]["spec"]["containers"]
        assert {"configMapRef": {"name": "prefect-server-settings"}} in container["envFrom"]
        assert {"secretRef": {"name": "prefect-server-environment"}} in container["envFrom"]
        own = {each["name"] for each in container["env"]}
        assert {"PREFECT_SERVER_API_AUTH_STRING", "PREFECT_SERVER_DATABASE_CONNECTION_URL"} <= own


@pytest.mark.parametrize("pool", QUEUES)
def test_workers_watch_the_runs_and_hide_the_password(rendered: list[Manifest], pool: str) -> None:
    (container,) = pods(rendered)[f"prefect-worker-{pool}"]["spec"]["containers"]
    environment = {each["name"]: each.get("value") for each in container["env"]}
    prefix = "PREFECT_INTEGRATIONS_KUBERNETES"
    assert environment[f"{prefix}_OBSERVER_NAMESPACES"] == RUNS
    assert environment[f"{prefix}_WORKER_API_AUTH_STRING_SECRET_NAME"] == "prefect-auth"
    # Runs get the address from the worker, and are in another namespace.
    assert environment["PREFECT_API_URL"] == "http://prefect-server.stenopool.svc:4200/api"
    assert container["args"][2:4] == ["--pool", pool]


def test_workers_have_the_permissions_that_they_need_and_no_others(rendered: list[Manifest]) -> None:
    (role,) = by_kind(rendered, "Role").values()
    (binding,) = by_kind(rendered, "RoleBinding").values()
    given = {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert given == {(right.group, right.resource, right.verb) for right in WORKER_RIGHTS}
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == RUNS
    assert {(each["namespace"], each["name"]) for each in binding["subjects"]} == {
        ("stenopool", pods(rendered)[f"prefect-worker-{pool}"]["spec"]["serviceAccountName"]) for pool in QUEUES
    }
    text = (REPOSITORY / "workers" / "README.md").read_text()
    assert yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])["rules"] == role["rules"]


def test_runs_are_not_where_the_secrets_of_the_server_are(rendered: list[Manifest]) -> None:
    secrets = {
        each["secretRef"]["name"]
        for pod in pods(rendered).values()
        for container in containers(pod)
        for each in container.get("envFrom", [])
        if "secretRef" in each
    }
    assert "prefect-server-environment" in secrets
    namespaces = {
        account["metadata"]["name"]: account["metadata"]["namespace"]
        for account in by_kind(rendered, "ServiceAccount").values()
    }
    assert {name for name, namespace in namespaces.items() if namespace == RUNS} == {"stenopool-cpu", "stenopool-gpu"}
    declared = list(yaml.safe_load_all((VALUES / "namespace.yaml").read_text()))
    assert [each["metadata"]["name"] for each in declared] == ["stenopool", RUNS]
    assert {each["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] for each in declared} == {"restricted"}


def test_the_deploy_job_passes_what_the_values_say(chart: Chart, tmp_path: Path) -> None:
    values = SMALLEST | {
        "storage": {"region": "eu-central-1"},
        "runs": {
            "env": {"STENOPOOL_MODELS__MIRROR": "s3://models"},
            "gpu": {
                "tag": "1.2.3-cuda12", "variables": {"runtime_class_name": "nvidia"}, "env": {"HF_HUB_OFFLINE": "1"},
                "gpuResource": "nvidia.com/mig-1g.10gb", "jobManifest": {"spec": {"suspend": True}},
            },
        },
        "deploy": {"gpus": 4},
    }  # fmt: skip
    manifests = chart.render(values)
    (job,) = by_kind(manifests, "Job").values()
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert "--gpus=4" in container["args"]
    file = tmp_path / "pools.yaml"
    file.write_text(by_kind(manifests, "ConfigMap")["stenopool-deploy"]["data"]["pools.yaml"])
    changes = read_changes(file)["gpu"]
    environment = {"AWS_REGION": "eu-central-1", "STENOPOOL_MODELS__MIRROR": "s3://models", "HF_HUB_OFFLINE": "1"}
    assert changes.variables["env"] == environment
    made = template("gpu", "kubernetes", changes)
    defaults = {name: each.get("default") for name, each in made["variables"]["properties"].items()}
    assert defaults["runtime_class_name"] == "nvidia"
    assert defaults["image"] == "ghcr.io/stenopool/stenopool:1.2.3-cuda12"
    manifest = made["job_configuration"]["job_manifest"]
    assert manifest["spec"]["suspend"] is True
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"memory": "{{ memory_limit }}", "nvidia.com/mig-1g.10gb": "1"}


def test_gpu_nodes_are_what_the_job_template_asks_for() -> None:
    plugin = yaml.safe_load((VALUES / "nvidia-device-plugin.yaml").read_text())
    properties = template("gpu", "kubernetes")["variables"]["properties"]
    assert plugin["nodeSelector"] == properties["node_selector"]["default"]
    assert plugin["tolerations"] == properties["tolerations"]["default"]
