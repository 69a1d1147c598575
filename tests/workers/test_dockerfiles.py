"""The Dockerfiles: checked by hadolint, and the rules for every image."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

WORKERS = Path(__file__).parents[2] / "workers"
CPU, GPU, BAKED = (WORKERS / f"{name}.Dockerfile" for name in ("cpu", "gpu", "baked"))


def hadolint(file: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("hadolint")
    return subprocess.run([program, "--no-color", file], capture_output=True, text=True, check=False)


def shellcheck(file: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("shellcheck")
    return subprocess.run([program, file], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("file", [CPU, GPU, BAKED], ids=lambda path: path.name)
def test_hadolint_finds_nothing(file: Path) -> None:
    found = hadolint(file)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("file", [WORKERS / "trim.sh", WORKERS / "compose/secrets.sh"], ids=lambda path: path.name)
def test_shellcheck_finds_nothing(file: Path) -> None:
    found = shellcheck(file)
    assert found.returncode == 0, found.stdout


PLANTED = {
    "an unpinned base": (r"FROM \$\{DEBIAN\} AS base", "FROM debian:latest AS base", "DL3007"),
    "an entry point that swallows SIGTERM": (r"ENTRYPOINT \[.*\]", "ENTRYPOINT tini -- python", "DL3025"),
    "the last user is root": (r"USER 10001:0", "USER root", "DL3002"),
    "package lists left in the layer": (r" \\\n && rm -rf /var/lib/apt/lists/\* /var/cache.*", "", "DL3009"),
    "a failure hidden by a pipe": (r"sh trim\.sh /opt/stenopool", "sh trim.sh /opt/stenopool | tail", "DL4006"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", PLANTED)
def test_a_planted_mistake_is_found(mistake: str, tmp_path: Path) -> None:
    pattern, replacement, finding = PLANTED[mistake]
    changed, count = re.subn(pattern, replacement, CPU.read_text(), count=1)
    assert count
    file = tmp_path / "Dockerfile"
    file.write_text(changed)
    found = hadolint(file)
    assert found.returncode != 0
    assert finding in found.stdout


def test_shellcheck_finds_a_planted_mistake(tmp_path: Path) -> None:
    script = tmp_path / "trim.sh"
    script.write_text((WORKERS / "trim.sh").read_text().replace('cd "$1"', "cd $1"))
    assert "SC2086" in shellcheck(script).stdout


@pytest.mark.parametrize("file", [CPU, GPU], ids=lambda path: path.name)
class TestDockerfile:
    def test_bases_are_pinned_by_digest(self, file: Path) -> None:
        bases = re.findall(r"(?m)^ARG (?:DEBIAN|UV)=(.*)", file.read_text())
        assert len(bases) == 2
        assert all(re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", base) for base in bases)

    def test_the_user_is_not_root_and_signals_reach_the_command(self, file: Path) -> None:
        text = file.read_text()
        assert re.findall(r"(?m)^USER (.*)", text) == ["10001:0"]
        command = ["/usr/bin/tini", "--", "python", "-P", "-m", "stenopool.orchestration.workers.container", "run"]
        assert f"ENTRYPOINT {json.dumps(command)}" in text

    def test_an_image_has_labels_and_a_health_check(self, file: Path) -> None:
        text = file.read_text()
        for label in ("title", "description", "source", "licenses", "version", "revision"):
            assert f"org.opencontainers.image.{label}=" in text
        command = ["python", "-P", "-m", "stenopool.orchestration.workers.container", "health"]
        assert re.search(rf"(?m)^HEALTHCHECK .* CMD {re.escape(json.dumps(command))}$", text)


def test_the_two_images_differ_only_in_installed_packages() -> None:
    """Two files, because the GPU's comments would make one file unreadable; their common part must stay the same."""

    def shared(file: Path) -> str:
        body = file.read_text().partition("# The digests are")[2]
        body = re.sub(r"--extra [a-z]+( --extra [a-z]+)*", "--extra ...", body)
        body = re.sub(
            r"STENOPOOL_SCRATCH__DIR=/tmp.*?\n# With `docker run", "# With `docker run", body, flags=re.DOTALL
        )
        return re.sub(r"(?m)^.*image\.(description|version)=.*$|^# as zombies.*$", "", body)

    assert shared(CPU) == shared(GPU)


def test_the_image_without_torch_installs_no_extra_that_needs_it() -> None:
    assert set(re.findall(r"--extra (\w+)", CPU.read_text())) == {"server", "kubernetes", "api"}
    assert {"whisper", "whisperx", "diarization"} <= set(re.findall(r"--extra (\w+)", GPU.read_text()))
