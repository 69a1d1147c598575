"""Allowed connections in the namespace, by the policies as rendered."""

import pytest

from stenopool.orchestration.deploy.pools import template
from tests.helm.conftest import SMALLEST
from tests.support.helm.chart import NAMESPACE, Chart, Manifest, pods
from tests.support.helm.network import Peer, Policies

NAME, COMPONENT = "app.kubernetes.io/name", "app.kubernetes.io/component"
RUNS = "stenopool-runs"
SERVER = Peer("10.0.1.1", NAMESPACE, {NAME: "prefect-server", COMPONENT: "server"})
SERVICES = Peer("10.0.1.2", NAMESPACE, {NAME: "prefect-server", COMPONENT: "services"})
DEPLOY = Peer("10.0.1.3", NAMESPACE, {NAME: "stenopool", COMPONENT: "deploy"})
WORKER = Peer("10.0.1.4", NAMESPACE, {NAME: "prefect-worker", COMPONENT: "worker-gpu"})
RUN = Peer("10.0.1.5", RUNS, template("gpu", "kubernetes")["job_configuration"]["labels"])
STRANGER = Peer("10.0.1.6", RUNS, {NAME: "miner"})
PROMETHEUS = Peer("10.0.2.1", "monitoring", {NAME: "prometheus"})
NEIGHBOUR = Peer("10.0.2.2", "default", {NAME: "prefect-worker"})
NAMES = Peer("10.0.3.1", "kube-system", {"k8s-app": "kube-dns"})
DATABASE = Peer("10.0.4.1")
KUBERNETES = Peer("172.20.0.1")
S3 = Peer("52.219.1.1")
METADATA = Peer("169.254.169.254")
AGENT = Peer("169.254.170.23")


@pytest.fixture(scope="module")
def policies(rendered: list[Manifest]) -> Policies:
    return Policies(rendered)


@pytest.fixture(scope="module")
def ours(rendered: list[Manifest]) -> dict[str, Peer]:
    return {
        name.removeprefix("stenopool-"): Peer("10.0.1.9", NAMESPACE, pod["metadata"]["labels"])
        for name, pod in pods(rendered).items()
    }


@pytest.mark.parametrize("source", [WORKER, RUN, DEPLOY, SERVICES], ids=["worker", "run", "deploy", "services"])
def test_workers_and_runs_reach_prefect(policies: Policies, source: Peer) -> None:
    assert policies.allow(source, SERVER, 4200)
    assert not policies.allow(source, SERVER, 22)
    assert not policies.allow(SERVER, source, 8080)
    assert policies.allow(source, DATABASE, 5432) == (source is SERVICES)


@pytest.mark.parametrize("name", ["api", "exporter"])
def test_our_services_reach_what_they_need(policies: Policies, ours: dict[str, Peer], name: str) -> None:
    assert policies.allow(ours[name], SERVER, 4200)
    assert policies.allow(ours[name], S3, 443)
    assert policies.allow(ours[name], NAMES, 53, "UDP")
    assert policies.allow(PROMETHEUS, ours[name], {"api": 8200, "exporter": 9480}[name])
    assert not policies.allow(NEIGHBOUR, ours[name], 8200)
    assert not policies.allow(RUN, ours[name], 8200)


def test_a_run_reaches_the_store_and_its_role_and_accepts_no_connections(
    policies: Policies, ours: dict[str, Peer]
) -> None:
    assert policies.allow(RUN, S3, 443)
    assert policies.allow(RUN, AGENT, 80)
    assert not policies.allow(RUN, METADATA, 80)
    assert not policies.allow(RUN, METADATA, 443)
    assert not policies.allow(RUN, S3, 80)
    for source in (WORKER, STRANGER, PROMETHEUS, NEIGHBOUR, SERVER, ours["api"]):
        assert not policies.allow(source, RUN, 8080)


@pytest.mark.parametrize("part", [SERVER, SERVICES], ids=["server", "services"])
def test_prefects_server_reaches_its_databases_and_nothing_outside(policies: Policies, part: Peer) -> None:
    assert policies.allow(part, DATABASE, 5432)
    assert policies.allow(part, DATABASE, 6379)
    assert not policies.allow(part, S3, 443)


def test_a_worker_reaches_the_kubernetes_api_and_a_run_has_no_token(policies: Policies) -> None:
    assert policies.allow(WORKER, KUBERNETES, 443)
    assert not policies.allow(WORKER, S3, 443)


def test_prometheus_reaches_the_workers(policies: Policies) -> None:
    assert policies.allow(PROMETHEUS, WORKER, 9481)
    assert not policies.allow(RUN, WORKER, 9481)


def test_other_pods_reach_only_dns(policies: Policies) -> None:
    assert policies.allow(STRANGER, NAMES, 53, "UDP")
    assert not policies.allow(STRANGER, SERVER, 4200)
    assert not policies.allow(STRANGER, S3, 443)
    assert not policies.allow(NEIGHBOUR, SERVER, 4200)


def test_namespaces_are_admitted_by_name(chart: Chart, ours: dict[str, Peer]) -> None:
    values = SMALLEST | {
        "networkPolicy": {"apiFromNamespaces": ["ingress-nginx"], "prefectFromNamespaces": ["default"]}
    }
    policies = Policies(chart.render(values))
    ingress = Peer("10.0.2.3", "ingress-nginx")
    assert policies.allow(ingress, ours["api"], 8200)
    assert not policies.allow(ingress, ours["exporter"], 9480)
    assert policies.allow(NEIGHBOUR, SERVER, 4200)


def test_a_store_on_the_internal_network_without_an_agent_is_reachable(chart: Chart) -> None:
    values = SMALLEST | {
        "networkPolicy": {"storageCidrs": ["10.7.0.0/16"], "storagePorts": [8333], "podIdentityAgent": False}
    }
    policies = Policies(chart.render(values))
    assert policies.allow(RUN, Peer("10.7.0.9"), 8333)
    assert not policies.allow(RUN, S3, 443)
    assert not policies.allow(RUN, AGENT, 80)


def test_a_load_balancer_and_a_database_in_the_cluster(chart: Chart, ours: dict[str, Peer]) -> None:
    values = SMALLEST | {
        "networkPolicy": {
            "apiFromCidrs": ["10.9.0.0/16"],
            "databaseCidrs": [],
            "databasePeers": [{"podSelector": {"matchLabels": {NAME: "postgres"}}}],
        }
    }
    policies = Policies(chart.render(values))
    assert policies.allow(Peer("10.9.0.7"), ours["api"], 8200)
    assert not policies.allow(Peer("10.9.0.7"), SERVER, 4200)
    assert not policies.allow(SERVER, DATABASE, 5432)


def test_a_policy_that_closes_nothing_is_found(spoilt: Chart) -> None:
    spoilt.replace(
        "templates/network.yaml",
        "policyTypes: [Ingress, Egress]\n  egress: {{- toYaml (list $dns)",
        "policyTypes: [Egress]\n  egress: {{- toYaml (list $dns)",
    )
    assert Policies(spoilt.render(SMALLEST)).allow(PROMETHEUS, RUN, 8080)
