"""What an image does before its command, as processes: it ends up being the command."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stenopool.orchestration.workers.entrypoint import read_secrets


def entry(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stenopool.orchestration.workers.entrypoint", *command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


class TestSecrets:
    def test_files_named_like_variables_become_variables(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
        (tmp_path / "AWS_SECRET_ACCESS_KEY").write_text("a=b c\n")
        read_secrets(tmp_path)
        assert os.environ.pop("AWS_SECRET_ACCESS_KEY") == "a=b c"

    def test_other_files_and_folders_are_left_alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        before = dict(os.environ)
        (tmp_path / "api-keys").write_text("front-desk")
        (tmp_path / "Keys").write_text("front-desk")
        (tmp_path / "FOLDER").mkdir()
        read_secrets(tmp_path)
        read_secrets(tmp_path / "that there is not")
        assert dict(os.environ) == before

    def test_what_is_set_stays(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_TOKEN", "mine")
        (tmp_path / "HF_TOKEN").write_text("theirs")
        read_secrets(tmp_path)
        assert os.environ["HF_TOKEN"] == "mine"


class TestCommand:
    def test_its_exit_code_is_the_containers(self) -> None:
        done = entry("sh", "-c", "echo here; exit 7")
        assert (done.returncode, done.stdout, done.stderr) == (7, "here\n", "")

    def test_signals_reach_it(self) -> None:
        command = [
            sys.executable,
            "-m",
            "stenopool.orchestration.workers.entrypoint",
            "sh",
            "-c",
            "trap 'exit 9' TERM; echo up; sleep 30 & wait",
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            assert process.stdout.readline() == "up\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 9

    def test_one_that_there_is_not(self) -> None:
        done = entry("stenopol")
        assert done.returncode == 1
        assert done.stderr == "stenopol cannot be started: No such file or directory.\n"

    def test_none(self) -> None:
        assert "stenopool --help" in entry().stderr

    def test_a_selftest_that_fails_comes_before_it(self) -> None:
        done = entry("echo", "here", STENOPOOL_SELFTEST="gpu")
        assert done.returncode == 70
        assert "STENOPOOL_SELFTEST=gpu is not one of cuda, cpu, off" in done.stderr
        assert done.stdout == ""
