"""The real `stenopool exporter` in a process of its own."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx

from tests.support.processes import Server, free_port


class Exporter(Server):
    """It looks every ``interval`` seconds. ``environment``: what it has besides this process's."""

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
        """Start it and wait until it is ready: until it has looked at all once."""
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
