"""Debian's Alertmanager on a free port, with any configuration."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from tests.support.processes import Server, free_port


class Alertmanager(Server):
    """One Alertmanager without peers."""

    def __init__(self, folder: Path, config: Path) -> None:
        super().__init__("Alertmanager", folder / "alertmanager.log")
        self._folder = folder
        self._config = config
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.spawn(
            [
                "prometheus-alertmanager",
                f"--config.file={self._config}",
                f"--storage.path={self._folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--cluster.listen-address=",
            ],
            self._ready,
        )

    def fire(self, alerts: Sequence[Mapping[str, str]]) -> None:
        """Let alerts with these labels fire from now on."""
        body = [{"labels": dict(labels)} for labels in alerts]
        httpx.post(f"{self.url}/api/v2/alerts", json=body).raise_for_status()

    def read_alerts(self, count: int) -> dict[str, bool]:
        """Whether each of ``count`` firing alerts is sent, by name and severity; inhibited alerts are not."""
        deadline = time.monotonic() + 20
        before: dict[str, bool] = {}
        # Alertmanager computes inhibition asynchronously: two equal results in a row are final.
        while not before or before != (now := self._read(count)):
            assert time.monotonic() < deadline, before
            before = self._read(count)
            time.sleep(0.3)
        return now

    def _read(self, count: int) -> dict[str, bool]:
        alerts: list[dict[str, Any]] = httpx.get(f"{self.url}/api/v2/alerts").raise_for_status().json()
        if len(alerts) != count or any(alert["status"]["state"] == "unprocessed" for alert in alerts):
            return {}
        return {
            f"{alert['labels']['alertname']} {alert['labels']['severity']}": alert["status"]["state"] == "active"
            for alert in alerts
        }

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/-/ready", timeout=5).is_success
        except httpx.TransportError:
            return False
