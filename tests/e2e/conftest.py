"""The installed program in separate processes, with an empty home folder."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.api_stack import installation

__all__ = ["installation"]  # a fixture


class Program:
    """The `stenopool` command with a separate home and scratch folder, run in ``folder``."""

    def __init__(self, home: Path, python: Path | None = None, folder: Path | None = None) -> None:
        self.home = home
        self.path = (python or Path(sys.executable)).with_name("stenopool")
        self.folder = folder
        self.scratch = home / "scratch"
        self.extra: dict[str, str] = {}

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment without variables that would change the program; AWS_* of other fixtures stay."""
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "STENOPOOL_"))},
            "HOME": str(self.home),
            "STENOPOOL_SCRATCH__DIR": str(self.scratch),
            # Joined and converted weights are shared, because creating them again costs seconds each time.
            "STENOPOOL_MODELS__CACHE": str(Path.home() / ".cache" / "stenopool" / "models"),
            **self.extra,
        }

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start the command in the background, with its output in pipes."""
        return subprocess.Popen(
            [self.path, *arguments],
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: str | Path, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def json(self, *arguments: str | Path, exit_status: int = 0) -> dict[str, Any]:
        """The command's output with ``--json``."""
        done = self(*arguments, "--json")
        assert done.returncode == exit_status, done.stderr[-3000:]
        return dict(json.loads(done.stdout))


@pytest.fixture
def stenopool(tmp_path: Path) -> Program:
    home = tmp_path / "home"
    home.mkdir()
    return Program(home)


@pytest.fixture
def shared_server(prefect_api: None, stenopool: Program) -> None:
    """The program uses the session's Prefect server, which saves starting one where the start is not tested."""
    from prefect.settings import PREFECT_API_URL

    stenopool.extra["PREFECT_API_URL"] = str(PREFECT_API_URL.value())
