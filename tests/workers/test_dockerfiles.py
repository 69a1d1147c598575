"""The Dockerfile: checked by hadolint, and the rules for both images."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.images import body

WORKERS = Path(__file__).parents[2] / "workers"
DOCKERFILE, BAKED = WORKERS / "Dockerfile", WORKERS / "baked.Dockerfile"


def hadolint(file: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("hadolint")
    return subprocess.run([program, "--no-color", file], capture_output=True, text=True, check=False)


def shellcheck(file: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("shellcheck")
    return subprocess.run([program, file], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("file", [DOCKERFILE, BAKED], ids=lambda path: path.name)
def test_hadolint_finds_nothing(file: Path) -> None:
    found = hadolint(file)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize(
    "file", [WORKERS / "trim.sh", *sorted(WORKERS.glob("compose/*.sh"))], ids=lambda path: path.name
)
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
    changed, count = re.subn(pattern, replacement, DOCKERFILE.read_text(), count=1)
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


def test_bases_are_pinned_by_digest() -> None:
    bases = re.findall(r"(?m)^ARG (?:DEBIAN|UV)=(.*)", DOCKERFILE.read_text())
    assert len(bases) == 2
    assert all(re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", base) for base in bases)


def test_the_user_is_not_root_and_signals_reach_the_command() -> None:
    text = body("runtime")
    assert re.findall(r"(?m)^USER (.*)", DOCKERFILE.read_text()) == ["10001:0"]
    command = ["/usr/bin/tini", "--", "python", "-P", "-m", "stenopool.orchestration.workers.container", "run"]
    assert f"ENTRYPOINT {json.dumps(command)}" in text
    command = ["python", "-P", "-m", "stenopool.orchestration.workers.container", "health"]
    assert re.search(rf"(?m)^HEALTHCHECK .* CMD {re.escape(json.dumps(command))}$", text)


@pytest.mark.parametrize("target", ["cpu", "cuda12"])
def test_labels_and_variables_of_each_image(target: str) -> None:
    """Both are the stage `runtime`, which has the user and the entry point, and their own environment."""
    assert re.search(rf"(?m)^FROM runtime AS {target}$", DOCKERFILE.read_text())
    text = body("runtime") + body(target)
    assert f"COPY --from={target}-environment " in text
    for label in ("title", "description", "source", "licenses", "version", "revision"):
        assert text.count(f"org.opencontainers.image.{label}=") == 1
    # Drivers that run CUDA 12.8 by minor version compatibility would be refused.
    assert "NVIDIA_REQUIRE_CUDA" not in text


def test_both_environments_differ_only_in_their_extras() -> None:
    """The image without torch has no extra that installs it."""
    cpu, cuda12 = body("cpu-environment"), body("cuda12-environment")
    assert set(re.findall(r"--extra (\w+)", cpu)) == {"server", "kubernetes", "api"}
    assert {"whisper", "whisperx", "diarization"} <= set(re.findall(r"--extra (\w+)", cuda12))
    one, other = (re.sub(r"--extra \w+( --extra \w+)*", "--extra ...", text) for text in (cpu, cuda12))
    assert one == other
