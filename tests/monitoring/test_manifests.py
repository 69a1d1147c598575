"""Files for compose: Prometheus' configuration and Grafana's provisioning. The chart has its own tests."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from monitoring.render import FOLDER
from tests.monitoring.known import JOBS

needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool: apt-get install prometheus")


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


def test_grafana_finds_the_dashboards() -> None:
    (source,) = yaml.safe_load((FOLDER / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((FOLDER / "grafana/provisioning/dashboards/stenopool.yaml").read_text())["providers"]
    scraping = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())["global"]
    assert source["isDefault"]
    assert source["jsonData"]["timeInterval"] == scraping["scrape_interval"]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
