"""The real `stenopool exporter` in a separate process, and comparison of its counts with reports."""

import os
import re
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from stenopool.pipeline.report import BatchReport
from tests.support.processes import Server, free_port
from tests.support.prometheus import Prometheus


class Exporter(Server):
    """It refreshes every ``interval`` seconds. ``environment``: additions to this process's environment."""

    def __init__(
        self, folder: Path, *destinations: str, environment: Mapping[str, str] | None = None, interval: int = 1
    ) -> None:
        super().__init__("the exporter", folder / "exporter.log")
        self.port = free_port()
        self.target = f"127.0.0.1:{self.port}"
        self._destinations = destinations
        self._environment = environment or {}
        self._interval = interval

    def start(self) -> None:
        """Start it and wait until it is ready, after its first refresh."""
        command = [str(Path(sys.executable).with_name("stenopool")), "exporter", *self._destinations]
        command += ["--port", str(self.port), "--interval", str(self._interval)]
        self.spawn(command, self.ready, environment={**os.environ, **self._environment})

    def ready(self) -> bool:
        try:
            return self.get("/health/ready").is_success
        except httpx.TransportError:
            return False

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://{self.target}{path}", timeout=30)

    def looked(self, seconds: float = 30) -> None:
        """Wait for one more complete and successful refresh."""
        since, deadline = time.time(), time.monotonic() + seconds
        # A refresh that had already started is not enough, so wait for two.
        for _ in range(2):
            while not self._looks() or min(self._looks()) < since:
                assert time.monotonic() < deadline, self.log.read_text()[-2000:]
                time.sleep(0.2)
            since = time.time()

    def _looks(self) -> list[float]:
        page = self.get("/metrics").text
        return [float(at) for at in re.findall(r"^stenopool_collection_timestamp_seconds\{.*\} (\S+)$", page, re.M)]


def counted(exporter: Exporter, prometheus: Prometheus) -> dict[str, Any]:
    """Prometheus' values, after the next refresh and scrape."""
    exporter.looked()
    prometheus.scraped()
    failures = prometheus.query("stenopool_recordings_total{reason!=''} > 0")  # by reason and status
    return {
        "done": prometheus.query('stenopool_recordings_total{status="done"}')["done",],
        "failures": {reason: count for (reason, _), count in failures.items()},
        "quarantined": sum(count for (_, status), count in failures.items() if status == "quarantined"),
        "deferred": sum(count for (_, status), count in failures.items() if status == "deferred"),
        "audio": prometheus.query("stenopool_audio_seconds_total"),
    }


def said(reports: Sequence[BatchReport]) -> dict[str, Any]:
    """The reports' values, in the form of `counted`."""
    failures: Counter[str] = Counter()
    audio: dict[tuple[str, ...], float] = {}
    for report in reports:
        failures.update(report.failures_by_code)
        model = (report.options["engine"], report.options["model"])
        audio[model] = audio.get(model, 0.0) + report.audio_seconds
    return {
        "done": sum(report.done for report in reports),
        "failures": dict(failures),
        "quarantined": sum(report.quarantined for report in reports),
        "deferred": sum(report.deferred for report in reports),
        "audio": audio,
    }
