"""The values for Prefect's charts: known keys, consistent with other settings, without secrets."""

import subprocess
from pathlib import Path
from typing import Any

import prefect
import pytest
import yaml

from stenopool.orchestration.deploy.server import SECRETS, settings
from stenopool.orchestration.names import QUEUES
from stenopool.orchestration.workers.rights import WORKER_RIGHTS
from tests.support.helm.chart import REPOSITORY, VALUES
from tests.support.helm.prefect_charts import Name, unknown

POOLS = tuple(QUEUES)


def merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Merge value files like Helm."""
    both = under | over
    for key in under.keys() & over.keys():
        if isinstance(under[key], dict) and isinstance(over[key], dict):
            both[key] = merged(under[key], over[key])
    return both


def read(*names: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in names:
        values = merged(values, yaml.safe_load((VALUES / f"{name}.yaml").read_text()))
    return values


SERVER = read("prefect-server")
WORKERS = {pool: read("prefect-worker", f"prefect-worker-{pool}") for pool in POOLS}


@pytest.mark.parametrize(
    ("chart", "values"), [("prefect-server", SERVER), *(("prefect-worker", each) for each in WORKERS.values())]
)
def test_the_charts_know_every_key(chart: Name, values: dict[str, Any]) -> None:
    assert unknown(chart, values) == []


@pytest.mark.parametrize(
    ("chart", "wrong", "path"),
    [
        ("prefect-server", {"server": {"replicas": 2}}, "server.replicas"),
        ("prefect-server", {"server": {"uiConfig": {"apiUrl": "/api"}}}, "server.uiConfig.apiUrl"),
        ("prefect-server", {"backgroundService": {}}, "backgroundService"),
        ("prefect-worker", {"worker": {"serverApiConfig": {"apiUrl": "x"}}}, "worker.serverApiConfig"),
        ("prefect-worker", {"worker": {"config": "gpu"}}, "worker.config"),
        ("prefect-worker", {"worker": {"basicAuth": {"enabled": True}}}, "worker.basicAuth"),
    ],
)
def test_a_wrong_key_is_found(chart: Name, wrong: dict[str, Any], path: str) -> None:
    assert unknown(chart, wrong) == [path]


def test_every_pool_has_its_worker() -> None:
    assert {pool: values["worker"]["config"]["workPool"] for pool, values in WORKERS.items()} == {
        "cpu": "stenopool-cpu",
        "gpu": "stenopool-gpu",
    }
    # Two releases in one namespace must have different names.
    assert len({values["fullnameOverride"] for values in WORKERS.values()}) == len(POOLS)


@pytest.mark.parametrize("pool", POOLS)
def test_workers_watch_their_namespace_and_hide_the_password(pool: str) -> None:
    worker = WORKERS[pool]["worker"]
    environment = {each["name"]: each.get("value") for each in worker["extraEnvVars"]}
    prefix = "PREFECT_INTEGRATIONS_KUBERNETES"
    assert environment[f"{prefix}_OBSERVER_NAMESPACES"] == "$(NAMESPACE)"
    # Kubernetes substitutes only variables that are defined earlier.
    assert worker["extraEnvVars"][0] == {
        "name": "NAMESPACE",
        "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}},
    }
    secret = SERVER["server"]["basicAuth"]["existingSecret"]
    assert worker["selfHostedServerApiConfig"]["basicAuth"] == {"enabled": True, "existingSecret": secret}
    assert environment[f"{prefix}_WORKER_API_AUTH_STRING_SECRET_NAME"] == secret
    assert WORKERS[pool]["role"]["create"]
    assert WORKERS[pool]["rolebinding"]["create"]


def test_the_role_in_the_readme_is_what_a_worker_needs() -> None:
    text = (REPOSITORY / "workers" / "README.md").read_text()
    rules = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])["rules"]
    given = {
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert given == {(right.group, right.resource, right.verb) for right in WORKER_RIGHTS}


def test_prefects_images_are_of_the_version_that_is_installed() -> None:
    tags = [SERVER["global"]["prefect"]["image"]["prefectTag"]]
    tags += [values["worker"]["image"]["prefectTag"] for values in WORKERS.values()]
    assert {tag.partition("-")[0] for tag in tags} == {prefect.__version__}


@pytest.mark.parametrize("part", ["server", "backgroundServices"])
def test_a_restricted_namespace_accepts_the_servers_pods(part: str) -> None:
    values = SERVER[part]
    # The charts set the rest: user 1001, not root, no additional capabilities, a read-only root.
    assert values["podSecurityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert values["containerSecurityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert SERVER["migrations"]["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_databases_of_the_charts_are_off() -> None:
    assert [SERVER[name]["enabled"] for name in ("postgresql", "redis")] == [False, False]
    assert SERVER["secret"]["create"] is False


def test_values_contain_no_secrets() -> None:
    for values in (SERVER, *WORKERS.values()):
        text = yaml.safe_dump(values)
        assert "://" not in text.replace("http://prefect-server:4200/api", "")
        assert not any(f"{word}:" in text for word in ("password", "authString"))


def test_the_server_settings_become_a_config_map(programs: Path) -> None:
    """The command of docs/deploy/kubernetes.md, with the real kubectl."""
    file = REPOSITORY / "deployments" / "server.env"
    command = [str(programs / "kubectl"), "create", "configmap", "prefect-server-settings", f"--from-env-file={file}"]
    result = subprocess.run([*command, "--dry-run=client", "--output=yaml"], capture_output=True, text=True, check=True)
    made = yaml.safe_load(result.stdout)
    assert made["data"] == settings()
    assert not made["data"].keys() & set(SECRETS)
    for part in ("server", "backgroundServices"):
        assert SERVER[part]["extraEnvVarsCM"] == made["metadata"]["name"]


def test_gpu_nodes_match_the_job_template() -> None:
    from stenopool.orchestration.deploy.pools import template

    plugin = read("nvidia-device-plugin")
    pod = template("gpu", "kubernetes")["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    selector = template("gpu", "kubernetes")["variables"]["properties"]["node_selector"]["default"]
    assert plugin["nodeSelector"] == selector
    assert plugin["tolerations"] == pod["tolerations"]
