"""Files for compose and Kubernetes: Prometheus' configuration, Grafana's provisioning, resources of operators."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from cloudcoil.models.keda.v1alpha1 import ScaledObject
from cloudcoil.models.prometheus_operator.v1 import PodMonitor, PrometheusRule
from pydantic import BaseModel, ValidationError

from monitoring.render import FOLDER
from tests.monitoring.known import JOBS, unknown

MODELS: tuple[type[BaseModel], ...] = (ScaledObject, PodMonitor, PrometheusRule)
KINDS = {model.__name__: model for model in MODELS}
RESOURCES = [
    pytest.param(resource, id=f"{path.name}-{resource['kind']}-{resource['metadata']['name']}")
    for folder in ("kubernetes", "autoscaling")
    for path in sorted((FOLDER / folder).glob("*.yaml"))
    for resource in yaml.safe_load_all(path.read_text())
]

needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool: apt-get install prometheus")


def validate(resource: dict[str, Any]) -> None:
    """Raises if a resource does not match its schema, of Kubernetes or of an operator."""
    if model := KINDS.get(resource["kind"]):
        model.model_validate(resource, extra="forbid")
    else:
        kubernetes_validate.validate(resource, "1.31", strict=True)


@pytest.mark.parametrize("resource", RESOURCES)
def test_resources_match_their_schemas(resource: dict[str, Any]) -> None:
    validate(resource)


@pytest.mark.parametrize("resource", RESOURCES)
def test_a_mistake_in_a_resource_is_found(resource: dict[str, Any]) -> None:
    with pytest.raises((ValidationError, kubernetes_validate.ValidationError)):
        validate({**resource, "spec": {**resource["spec"], "maxReplicaCountt": 4}})


def test_metrics_that_scale_workers_are_exported() -> None:
    scaled = yaml.safe_load((FOLDER / "autoscaling" / "worker-keda.yaml").read_text())
    assert [unknown(trigger["metadata"]["query"]) for trigger in scaled["spec"]["triggers"]] == [[], []]


@needs_promtool
def test_prometheus_accepts_its_configuration(tmp_path: Path) -> None:
    def check(folder: Path) -> int:
        command = ["promtool", "check", "config", str(folder / "prometheus.yaml")]
        return subprocess.run(command, capture_output=True, check=False).returncode

    assert check(FOLDER) == 0
    shutil.copytree(FOLDER / "rules", tmp_path / "rules")
    text = (FOLDER / "prometheus.yaml").read_text()
    (tmp_path / "prometheus.yaml").write_text(text.replace("dns_sd_configs", "dns_configs"))
    assert check(tmp_path) != 0


def test_jobs_have_the_names_that_alerts_use() -> None:
    scraped = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())["scrape_configs"]
    assert {job["job_name"] for job in scraped} >= JOBS
    monitors = yaml.safe_load_all((FOLDER / "kubernetes" / "monitors.yaml").read_text())
    relabelings = [monitor["spec"]["podMetricsEndpoints"][0]["relabelings"] for monitor in monitors]
    assert {relabeling["replacement"] for (relabeling,) in relabelings} == JOBS


def test_grafana_finds_the_dashboards() -> None:
    (source,) = yaml.safe_load((FOLDER / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((FOLDER / "grafana/provisioning/dashboards/stenopool.yaml").read_text())["providers"]
    scraping = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())["global"]
    assert source["isDefault"]
    assert source["jsonData"]["timeInterval"] == scraping["scrape_interval"]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
