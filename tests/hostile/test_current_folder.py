"""Modules among the recordings, in the folder where a command is started, are never executed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = str(Path(sys.executable).with_name("stenopool"))
# Names of Stenopool's packages, of its dependencies, of theirs, and of the standard library.
NAMES = (
    *("uvicorn", "prefect", "yaml", "typer", "pydantic", "httpx", "anyio", "boto3", "numpy", "flows", "api"),
    *("tomllib", "sqlite3", "json"),
)
PYTHON = [sys.executable, "-m"]  # without -P, as people type it
COMMANDS = {
    "python -m stenopool": [*PYTHON, "stenopool", "--version"],
    "a command": [*PYTHON, "stenopool", "doctor", "--help"],
    "keys": [*PYTHON, "stenopool.api.keys", "front-desk", "read"],
    "a job template": [*PYTHON, "stenopool.orchestration.deploy.pools", "cpu", "process"],
    "the health of a container": [*PYTHON, "stenopool.orchestration.workers.container", "health"],
    "the command of a container": [*PYTHON, "stenopool.orchestration.workers.container", "run", PROGRAM, "--version"],
    "stenopool plan": [PROGRAM, "plan", ".", "out"],
}
EMBEDDED = """
from stenopool.orchestration import embedded
embedded.begin()
embedded.ready()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Recordings, and next to them modules that write a file when they are imported."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    for name in NAMES:
        mark = f"open({str(tmp_path / 'run')!r}, 'a').write('{name} ')"
        (folder / f"{name}.py").write_text(f"{mark}\nraise SystemExit(99)\n")
    return folder


def run(command: list[str], folder: Path) -> None:
    unsafe = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    done = subprocess.run(
        command, cwd=folder, env=unsafe | {"HOME": str(folder.parent), "PREFECT_HOME": str(folder.parent / "prefect")},
        capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    mark = folder.with_name("run")
    assert not mark.exists(), f"{mark.read_text()}was run: {done.stderr[-500:]}"
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_executes_nothing_in_it(name: str, folder: Path) -> None:
    run(COMMANDS[name], folder)


def test_the_server_of_a_run_executes_nothing_in_it(folder: Path) -> None:
    run([sys.executable, "-P", "-c", EMBEDDED], folder)


def test_the_planted_modules_work(folder: Path) -> None:
    with pytest.raises(AssertionError, match="yaml was run"):
        run([sys.executable, "-c", "import yaml"], folder)
