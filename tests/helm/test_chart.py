"""The chart renders objects that a strict API server accepts, for all values; each check finds a planted mistake."""

import re
from typing import Any

import pytest
import yaml

from monitoring.render import RULES
from stenopool import __version__
from stenopool.orchestration.deploy.pools import template
from stenopool.runtime.health import _PATIENCE as PATIENCE
from stenopool.settings import Settings
from tests.docs.test_commands import complaint
from tests.helm.conftest import SMALLEST
from tests.monitoring.known import JOBS
from tests.support.helm.chart import Chart, Manifest, Refused, complaints, pods

PLACES = SMALLEST["api"]
VALUE_SETS: dict[str, dict[str, Any]] = {
    "smallest": SMALLEST,
    "everything": {
        "image": {"repository": "registry.example/steno", "tag": "1.2.3-cpu", "pullSecrets": [{"name": "registry"}]},
        "storage": {"region": "eu-central-1", "endpoint": "http://seaweedfs.storage:8333"},
        "serviceAccounts": {"cpu": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/runs"}}},
        "api": PLACES | {
            "replicas": 3,
            "env": {"STENOPOOL_API__MODEL": "large-v3"},
            "callbacksSecret": "stenopool-callbacks",
            "ingress": {
                "enabled": True, "className": "nginx", "host": "speech.example.org", "tlsSecret": "speech-tls",
                "annotations": {"nginx.ingress.kubernetes.io/proxy-body-size": "4g"},
            },
            "autoscaling": {"by": "hpa", "min": 3, "max": 9},
        },
        "exporter": {"env": {"STENOPOOL_PRICES__GPU_HOUR": "1.2"}},
        "modelCache": {"enabled": True, "storageClass": "efs"},
        "networkPolicy": {
            "apiFromNamespaces": ["ingress-nginx"], "prefectFromNamespaces": ["ingress-nginx"],
            "dnsCidrs": ["169.254.20.10/32"], "storageCidrs": ["10.1.0.0/16"], "storagePorts": [8333],
        },
        "verticalAutoscaling": {"enabled": True},
        "monitoring": {"enabled": True, "labels": {"release": "kube-prometheus-stack"}},
        "pods": {"labels": {"team": "speech"}, "nodeSelector": {"pool": "a"}, "tolerations": [{"operator": "Exists"}]},
        "deploy": {"gpus": 2, "notify": "slack-webhook/ops"},
    },
    "OpenShift, with a gateway": {
        "api": PLACES | {
            "route": {"enabled": True, "host": "speech.example.org", "parentRefs": [{"name": "gateway"}]},
            "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
            "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/company"}],
        },
        "pods": {"user": 0},
        "networkPolicy": {
            "apiFromCidrs": ["10.0.0.0/16"], "databasePeers": [{"podSelector": {"matchLabels": {"app": "postgres"}}}],
        },
    },
    "one namespace": SMALLEST | {"runs": {"namespace": "stenopool", "authSecret": {"name": "prefect-server"}}},
    "another server": SMALLEST | {
        "prefect": {"apiUrl": "https://prefect.example.org/api", "server": {"enabled": False}},
    },
    "keda": {"api": PLACES | {"autoscaling": {"by": "keda"}}},
    "keda with a query": {
        "api": PLACES | {
            "autoscaling": {
                "by": "keda",
                "triggers": [{
                    "type": "prometheus",
                    "metadata": {
                        "serverAddress": "http://prometheus.monitoring:9090",
                        "query": "sum(stenopool_api_requests_in_progress)",
                        "threshold": "20",
                    },
                }],
            },
        },
    },
    "one of each": {"api": PLACES | {"replicas": 1}, "prefect": {"authSecret": {"name": ""}}},
    "exporter only": {"api": {"enabled": False}, "exporter": {"destination": "s3://transcripts"}},
    "only policies": {
        "api": {"enabled": False}, "exporter": {"enabled": False}, "serviceAccounts": {"create": False},
        "podDisruptionBudgets": {"enabled": False}, "workers": {"enabled": False}, "deploy": {"enabled": False},
    },
    "no policies": SMALLEST | {"networkPolicy": {"enabled": False}},
    "no Prometheus": SMALLEST | {"networkPolicy": {"prometheusNamespace": ""}},
}  # fmt: skip


def by_kind(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    return {each["metadata"]["name"]: each for each in manifests if each["kind"] == kind}


@pytest.mark.parametrize("values", VALUE_SETS)
def test_the_chart_is_valid(chart: Chart, values: str) -> None:
    chart.lint(VALUE_SETS[values])
    manifests = chart.render(VALUE_SETS[values])
    assert manifests
    assert [complaint for manifest in manifests for complaint in complaints(manifest)] == []
    names = [(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in manifests]
    assert len(names) == len(set(names))


# In a template, or in values: the mistake, and a word of the error message.
BROKEN: dict[str, tuple[str, str, str, str]] = {
    "unknown field": ("templates/api.yaml", "periodSeconds: 3\n", "periodSecond: 3\n", "periodSecond"),
    "wrong type": ("templates/api.yaml", "containerPort: 8200", 'containerPort: "8200"', "integer"),
    "unknown field of Prometheus'": (
        "templates/monitoring.yaml",
        "podMetricsEndpoints",
        "podMetricEndpoints",
        "podMetric",
    ),
    "unknown field of KEDA's": ("templates/autoscaling.yaml", "minReplicaCount", "minReplicas", "minReplicas"),
    "no YAML": ("templates/api.yaml", "spec:\n", "spec:\n\t", "yaml"),
    "unknown function": ("templates/_helpers.tpl", "sha256sum", "sha257sum", "sha257sum"),
    "missing value": ("values.yaml", "  scratch: 2Gi\n", "  scratch: 2 GB\n", "scratch"),
}


@pytest.mark.parametrize("mistake", BROKEN)
def test_a_planted_mistake_is_found(spoilt: Chart, mistake: str) -> None:
    file, old, new, word = BROKEN[mistake]
    spoilt.replace(file, old, new)
    everything = VALUE_SETS["everything"] | {"api": VALUE_SETS["keda"]["api"]}
    try:
        spoilt.lint(everything)
        found = [complaint for manifest in spoilt.render(everything) for complaint in complaints(manifest)]
    except Refused as refused:
        found = [str(refused)]
    assert any(word in complaint for complaint in found), found


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "api.destination"),
    "a misspelt value": ({"api": PLACES | {"replica": 2}}, "'replica' not allowed"),
    "a password": (SMALLEST | {"prefect": {"password": "x"}}, "'password' not allowed"),
    "a password in an address": (SMALLEST | {"prefect": {"apiUrl": "http://a:b@prefect/api"}}, "pattern"),
    "a secret in the environment": ({"api": PLACES | {"env": {"AWS_SECRET_ACCESS_KEY": "x"}}}, "AWS_SECRET_ACCESS_KEY"),
    "latest": (SMALLEST | {"image": {"tag": "latest"}}, "/image/tag"),
    "no store": ({"api": PLACES | {"source": "/srv/calls"}}, "/api/source"),
    "an ingress without a name": ({"api": PLACES | {"ingress": {"enabled": True}}}, "api.ingress.host"),
    "an unknown autoscaler": ({"api": PLACES | {"autoscaling": {"by": "magic"}}}, "/api/autoscaling/by"),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_wrong_values_are_refused(chart: Chart, wrong: str) -> None:
    values, word = REFUSED[wrong]
    with pytest.raises(Refused, match=re.escape(word)):
        chart.render(values)


def test_images_have_this_version(chart: Chart, rendered: list[Manifest]) -> None:
    said = yaml.safe_load((chart.folder / "Chart.yaml").read_text())
    assert (said["appVersion"], said["version"]) == (__version__, __version__)
    images = {container["image"] for pod in pods(rendered).values() for container in pod["spec"]["containers"]}
    assert images == {f"ghcr.io/stenopool/stenopool:{__version__}-cpu"}


def test_all_objects_have_the_recommended_labels(rendered: list[Manifest]) -> None:
    wanted = {"name", "instance", "component", "part-of", "version", "managed-by"}
    for manifest in rendered:
        for labels in (
            manifest["metadata"]["labels"],
            *(pod["metadata"]["labels"] for pod in pods([manifest]).values()),
        ):
            assert {f"app.kubernetes.io/{label}" for label in wanted} <= labels.keys(), manifest["metadata"]["name"]


def test_services_select_their_own_pods_and_no_runs(rendered: list[Manifest]) -> None:
    runs = [template(pool, "kubernetes")["job_configuration"]["labels"] for pool in ("cpu", "gpu")]
    services = by_kind(rendered, "Service")
    assert services.keys() == {"stenopool-api", "stenopool-exporter", "prefect-server"}
    for name, service in services.items():
        selector = service["spec"]["selector"].items()
        found = [pod for pod, each in pods(rendered).items() if selector <= each["metadata"]["labels"].items()]
        assert found == [name]
        # In the namespace stenopool, the instance label of a run is the name of the release.
        assert not any(selector <= (run | {"app.kubernetes.io/instance": "stenopool"}).items() for run in runs)


def test_containers_run_existing_commands(rendered: list[Manifest]) -> None:
    for pod in pods(rendered).values():
        for container in pod["spec"]["containers"]:
            # The image's entry point stays: as process 1, Python would ignore signals that it does not handle.
            assert "command" not in container
            if container["args"][0] == "stenopool":
                assert complaint([word.replace("=/etc/stenopool/", "=") for word in container["args"]]) is None
            else:
                assert container["args"][:2] == ["prefect", "server"]


@pytest.mark.parametrize("name", ["stenopool-api", "stenopool-exporter", "prefect-worker-cpu", "prefect-worker-gpu"])
def test_liveness_probes_check_only_what_a_restart_can_fix(rendered: list[Manifest], name: str) -> None:
    (container,) = pods(rendered)[name]["spec"]["containers"]
    paths = {
        probe: container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    # An unreachable store must not get its pods killed.
    assert paths == {
        "startupProbe": "/health/live", "livenessProbe": "/health/live", "readinessProbe": "/health/ready",
    }  # fmt: skip
    (port,) = container["ports"]
    assert port["name"] == container["readinessProbe"]["httpGet"]["port"]
    assert str(port["containerPort"]) in container["args"]
    assert container["readinessProbe"]["timeoutSeconds"] > PATIENCE


def test_settings_exist(chart: Chart) -> None:
    known = {
        f"STENOPOOL_{group}__{name}".upper()
        for group, field in Settings.model_fields.items()
        for name in getattr(field.annotation, "model_fields", {})
    }
    manifests = chart.render(VALUE_SETS["everything"])
    used = {name for each in by_kind(manifests, "ConfigMap").values() for name in each["data"] if "STENOPOOL" in name}
    assert "STENOPOOL_API__KEYS" in used
    assert used <= known


def test_secrets_appear_only_as_references(chart: Chart, rendered: list[Manifest]) -> None:
    assert by_kind(rendered, "Secret") == {}
    (container,) = pods(rendered)["stenopool-api"]["spec"]["containers"]
    assert container["env"] == [
        {
            "name": "PREFECT_API_AUTH_STRING",
            "valueFrom": {"secretKeyRef": {"name": "prefect-server", "key": "auth-string"}},
        }
    ]
    without = pods(chart.render(VALUE_SETS["one of each"]))["stenopool-api"]["spec"]["containers"][0]
    assert "env" not in without


def test_secret_files_are_mounted_where_settings_look_for_them(chart: Chart) -> None:
    manifests = chart.render(VALUE_SETS["everything"])
    (container,) = pods(manifests)["stenopool-api"]["spec"]["containers"]
    folders = {mount["mountPath"] for mount in container["volumeMounts"]}
    settings = by_kind(manifests, "ConfigMap")["stenopool-api"]["data"]
    for name in ("STENOPOOL_API__KEYS", "STENOPOOL_CALLBACKS__SECRETS"):
        assert settings[name].rpartition("/")[0] in folders


def test_changed_settings_change_the_pods(chart: Chart, rendered: list[Manifest]) -> None:
    changed = pods(chart.render({"api": PLACES | {"env": {"STENOPOOL_API__MODEL": "small"}}}))
    before = pods(rendered)
    assert changed["stenopool-api"]["metadata"] != before["stenopool-api"]["metadata"]
    assert changed["stenopool-exporter"]["metadata"] == before["stenopool-exporter"]["metadata"]


def test_a_disruption_budget_never_blocks_a_node_forever(chart: Chart) -> None:
    budgets = by_kind(chart.render(SMALLEST), "PodDisruptionBudget")
    assert budgets.keys() == {"stenopool-api", "prefect-server"}
    assert all(budget["spec"]["maxUnavailable"] == 1 for budget in budgets.values())
    assert "stenopool-api" not in by_kind(chart.render(VALUE_SETS["one of each"]), "PodDisruptionBudget")


def test_the_chart_does_not_override_an_autoscaler(chart: Chart) -> None:
    for values, kind in (("everything", "HorizontalPodAutoscaler"), ("keda", "ScaledObject")):
        manifests = chart.render(VALUE_SETS[values])
        assert by_kind(manifests, kind).keys() == {"stenopool-api"}
        assert "replicas" not in by_kind(manifests, "Deployment")["stenopool-api"]["spec"]
    vertical = by_kind(chart.render(VALUE_SETS["everything"]), "VerticalPodAutoscaler")
    assert {each["spec"]["targetRef"]["name"] for each in vertical.values()} == {"stenopool-api", "stenopool-exporter"}
    for each in vertical.values():
        # The exporter has one pod: by default, the updater wants two.
        assert each["spec"]["updatePolicy"] == {"updateMode": "Off", "minReplicas": 1}
        (policy,) = each["spec"]["resourcePolicy"]["containerPolicies"]
        assert policy["controlledResources"] == ["memory"]


def test_the_volume_for_weights_matches_the_job_template(chart: Chart) -> None:
    claims = by_kind(chart.render(SMALLEST | {"modelCache": {"enabled": True}}), "PersistentVolumeClaim")
    described = template("gpu", "kubernetes")["variables"]["properties"]["model_cache"]["description"]
    assert [f'"claimName": "{name}"' in described for name in claims] == [True]


def test_only_workers_have_a_service_account_token(rendered: list[Manifest]) -> None:
    accounts = by_kind(rendered, "ServiceAccount")
    assert all(account["automountServiceAccountToken"] is False for account in accounts.values())
    tokens = {
        name
        for name, pod in pods(rendered).items()
        for volume in pod["spec"]["volumes"]
        if any("serviceAccountToken" in source for source in volume.get("projected", {}).get("sources", []))
    }
    assert tokens == {"prefect-worker-cpu", "prefect-worker-gpu"}
    assert not any(pod["spec"]["automountServiceAccountToken"] for pod in pods(rendered).values())


def test_prometheus_finds_api_exporter_and_workers(chart: Chart) -> None:
    manifests = chart.render(VALUE_SETS["everything"])
    monitors = by_kind(manifests, "PodMonitor")
    found: dict[str, str] = {}
    for monitor in monitors.values():
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        for name, pod in pods(manifests).items():
            ports = {each["name"] for container in pod["spec"]["containers"] for each in container.get("ports", [])}
            if monitor["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items():
                assert endpoint["port"] in ports, name
                found[name] = endpoint["relabelings"][0]["replacement"]
    assert found == {
        "stenopool-api": "stenopool-api", "stenopool-exporter": "stenopool-exporter",
        "prefect-worker-cpu": "stenopool-worker", "prefect-worker-gpu": "stenopool-worker",
    }  # fmt: skip
    assert set(found.values()) == JOBS
    (rule,) = by_kind(manifests, "PrometheusRule").values()
    # By default, kube-prometheus-stack uses only resources with the label of its release.
    assert {each["metadata"]["labels"]["release"] for each in [rule, *monitors.values()]} == {"kube-prometheus-stack"}
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    assert rule["spec"]["groups"] == groups
    boards = by_kind(manifests, "ConfigMap")["stenopool-dashboards"]
    assert boards["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert boards["data"].keys() == {"cost.json", "operations.json", "performance.json"}
    assert not any(each["kind"] == "PodMonitor" for each in chart.render(SMALLEST))


def test_the_ingress_and_the_route_publish_only_what_clients_use(chart: Chart) -> None:
    (route,) = by_kind(chart.render(VALUE_SETS["OpenShift, with a gateway"]), "HTTPRoute").values()
    matches = {each["path"]["value"]: each["path"]["type"] for each in route["spec"]["rules"][0]["matches"]}
    assert matches == {"/": "Exact", "/page": "PathPrefix", "/v1": "PathPrefix", "/openapi.json": "Exact"}
    (ingress,) = (one for one in chart.render(VALUE_SETS["everything"]) if one["kind"] == "Ingress")
    paths = {one["path"]: one["pathType"] for one in ingress["spec"]["rules"][0]["http"]["paths"]}
    assert paths == {"/": "Exact", "/page": "Prefix", "/v1": "Prefix", "/openapi.json": "Exact"}
