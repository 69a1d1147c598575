"""Servers as child processes: they end with the test run, even if it is killed."""

import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from stenopool.runtime.processes import end, spawn


def free_port() -> int:
    """A free port on loopback, below those that the kernel gives to connections, so it is still free when used."""
    while True:
        port = 20000 + secrets.randbelow(10000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Server:
    """One server process. ``start``, ``stop`` and ``kill`` may be called repeatedly: address and data stay."""

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    def spawn(
        self,
        command: Sequence[str],
        answers: Callable[[], bool],
        *,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
        seconds: float = 120,
    ) -> None:
        """Start it and wait until ``answers()``; raises RuntimeError with the log's end if it does not respond."""
        with self.log.open("ab") as output:
            self.process = spawn(
                command,
                at_our_end=signal.SIGKILL,
                env=environment,
                user=user,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.log.parent,
            )
        deadline = time.monotonic() + seconds
        while not answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{self.name} did not start:\n{self.log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.1)

    def stop(self, seconds: float = 10) -> None:
        """Stop it cleanly; kill it if that takes too long."""
        if self.process and self.process.poll() is None:
            end(self.process, seconds)
        self.process = None

    def kill(self) -> None:
        """SIGKILL, as from the kernel or a power cut."""
        if self.process:
            self.process.kill()
            self.process.wait()
        self.process = None


def without_prefect() -> dict[str, str]:
    """This process's environment, without variables that would change a Prefect server or worker."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "STENOPOOL_"))}
