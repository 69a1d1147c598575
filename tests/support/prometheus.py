"""Debian's Prometheus on a separate port, and promtool, for real scrapes and checks of our pages."""

import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
import yaml

from tests.support.processes import Server, free_port

needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")), reason="Debian's prometheus is not installed"
)


class Prometheus(Server):
    """Scrapes ``targets`` (host:port by job) at the interval ``every``, and evaluates the files of
    ``rules`` as often.
    """

    def __init__(
        self, folder: Path, targets: Mapping[str, str], rules: tuple[Path, ...] = (), every: str = "1s"
    ) -> None:
        super().__init__("Prometheus", folder / "prometheus.log")
        self._folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._config = folder / "prometheus.yaml"
        jobs = [{"job_name": job, "static_configs": [{"targets": [target]}]} for job, target in targets.items()]
        config = {
            "global": {"scrape_interval": every, "evaluation_interval": every},
            "scrape_configs": jobs,
            "rule_files": [str(path) for path in rules],
        }
        self._config.write_text(yaml.safe_dump(config))

    def start(self) -> None:
        command = ["prometheus", f"--config.file={self._config}", f"--storage.tsdb.path={self._folder / 'tsdb'}"]
        self.spawn([*command, f"--web.listen-address=127.0.0.1:{self.port}"], self._ready)

    def query(self, expression: str) -> dict[tuple[str, ...], float]:
        """The current value of each series, by its label values in order of the label names."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}).raise_for_status().json()
        return {_labels(one["metric"]): float(one["value"][1]) for one in answer["data"]["result"]}

    def scraped(self, seconds: float = 20) -> None:
        """Wait until every target has been scraped once more, with success."""
        since = time.time()
        deadline = time.monotonic() + seconds
        while not all(seen > since for seen in self.query("timestamp(up == 1)").values()) or not self.query("up == 1"):
            assert time.monotonic() < deadline, f"not scraped: {self.query('up')}"
            time.sleep(0.2)

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready", timeout=5).is_success
        except httpx.TransportError:
            return False


def _labels(metric: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(value for name, value in sorted(metric.items()) if name not in ("__name__", "job", "instance"))


def lint(page: str) -> str:
    """The output of `promtool check metrics` for a page; empty if it finds nothing."""
    done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True)
    return (done.stdout + done.stderr).strip()
