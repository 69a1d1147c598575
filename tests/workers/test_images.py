"""The CPU image built from its Dockerfile and run, with the services of the compose file; needs root and minutes.

Differences to Docker: see tests/support/images.py and tests/support/compose_stack.py.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.images import BASES, PROGRAMS, REPOSITORY, Images, gpu_steps, transcribe
from tests.support.speech import recording_path

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

CPU = "localhost/stenopool:cpu"
RECORDING = "en/LJ001-0001.flac"
SAID = "Printing, in the only sense with which we are at present concerned"
MOST = 950_000_000
GPU_ROOM = 20_000_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Disk space for bases, images and containers, deleted afterwards: several gigabytes."""
    if os.getuid():
        pytest.skip("images are built by root")
    if missing := [name for name in PROGRAMS if not shutil.which(name)]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    if subprocess.run(["unshare", "--mount", "--net", "true"], check=False).returncode:
        pytest.skip("this machine does not allow namespaces")
    folder = tmp_path_factory.mktemp("images")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def images(folder: Path) -> Images:
    """A store with the base images."""
    images = Images(folder)
    try:
        images.make_bases()
    except (RuntimeError, subprocess.CalledProcessError) as error:
        pytest.skip(f"the base images cannot be created here: {error}")
    return images


@pytest.fixture(scope="module")
def size(images: Images) -> int:
    """The size of the CPU image in bytes, which is then available."""
    return images.build("cpu", CPU, **BASES)


def test_the_cpu_image_is_small(size: int) -> None:
    print(f"{size / 1e6:.0f} MB")
    assert size <= MOST


@pytest.mark.usefixtures("size")
def test_it_transcribes_as_another_user_on_a_read_only_root(images: Images) -> None:
    printed = transcribe(images, CPU, recording_path(RECORDING))
    user, version, text = printed.split("\n", 2)
    assert (user, version.split()[0]) == ("10001", "stenopool")
    assert text.startswith(SAID)
    assert "root is writable" not in text


@pytest.mark.usefixtures("size")
def test_compose_transcribes_and_survives_an_upgrade_and_the_loss_of_its_host(folder: Path) -> None:
    recording_path(RECORDING)  # the recording that compose_stack sends; skips this test if it is missing
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.compose_stack", folder],
        cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=1500,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    output = done.stdout
    assert SAID in output
    for service in ("postgres", "redis", "seaweedfs", "prefect-server", "api", "exporter", "worker-transcribe"):
        assert f"{service} is healthy" in output
    assert "down" not in output  # in Prometheus' view of a target
    assert "'status': 'done'}, '1'" in output
    assert "upgraded; of the old version: []" in output
    assert "restored: completed, with the same transcript" in output
    assert output.rstrip().endswith("all have ended")


def test_what_the_gpu_image_installs_passes_its_self_test(images: Images) -> None:
    """On the CPU, and without an image. Everything that the engines import is installed afterwards."""
    if (free := shutil.disk_usage(images.folder).free) < GPU_ROOM:
        pytest.skip(f"it takes {GPU_ROOM / 1e9:.0f} GB of disk, and {free / 1e9:.0f} are free")
    output = "\n".join(gpu_steps(images))
    for part in ("CUDA libraries", "CTranslate2", "torch"):
        assert f"ok    {part}" in output
    assert "fail" not in output
