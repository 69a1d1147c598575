"""The wheel, installed in a separate environment: it adds one name, and its commands work in an empty folder."""

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import Program
from tests.support.processes import free_port
from tests.support.speech import needs_speech, recording_path, recordings
from tests.support.up import Up
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
UV = shutil.which("uv")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(UV is None, reason="it is built and installed by uv"),
]


class Installed(Program):
    """The program of another environment; this one's PYTHONPATH and checkout are not visible."""

    @property
    def environment(self) -> dict[str, str]:
        return {name: value for name, value in super().environment.items() if name != "PYTHONPATH"}


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel; other packages come from the tests' environment."""
    folder = tmp_path_factory.mktemp("wheel")

    def uv(*arguments: str | Path) -> None:
        subprocess.run([str(UV), *arguments], cwd=ROOT, check=True, capture_output=True, text=True)

    uv("build", "--wheel", "--out-dir", folder)
    (wheel,) = folder.glob("*.whl")
    uv("venv", folder / "venv", "--python", sys.executable)
    interpreter = folder / "venv" / "bin" / "python"
    uv("pip", "install", "--python", interpreter, "--no-deps", wheel)
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib"))
    return interpreter


@pytest.fixture
def stenopool(python: Path, tmp_path: Path) -> Installed:
    home, empty = tmp_path / "home", tmp_path / "empty"
    home.mkdir()
    empty.mkdir()
    return Installed(home, python, empty)


@pytest.fixture
def up(stenopool: Installed) -> Iterator[Up]:
    ports = ("--port", str(free_port()), "--api-port", str(free_port()))
    running = Up(stenopool, "up", *ports, environment={"STENOPOOL_API__MODEL": "tiny.en"})
    try:
        yield running
    finally:
        running.remove()


def test_the_wheel_adds_one_top_level_name(python: Path) -> None:
    (site,) = python.parents[1].glob("lib/python*/site-packages")
    (record,) = site.glob("stenopool-*.dist-info/RECORD")
    tops = {line.partition(",")[0].partition("/")[0] for line in record.read_text().splitlines()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"..", "stenopool"}
    outside = [line for line in record.read_text().splitlines() if line.startswith("..")]
    assert [line.partition(",")[0] for line in outside] == ["../../../bin/stenopool"]


@needs_speech
def test_run_and_up_work_from_the_wheel(stenopool: Installed, up: Up, tmp_path: Path) -> None:
    where = stenopool("--version")
    assert where.returncode == 0
    audio = recording_path(recordings("en_short")[0]["file"])
    source, destination = tmp_path / "source", tmp_path / "transcripts"
    source.mkdir()
    shutil.copy(audio, source / "a.flac")
    run = stenopool("run", source, destination, "--model", "tiny.en", "--diarization", "off")
    assert run.returncode == 0, run.stderr
    assert len((destination / "a.flac" / "transcript.txt").read_text().split()) > 3

    with httpx.Client(base_url=up.rows["Web page"], timeout=120) as client:
        form = {"options": '{"diarization": "off"}'}
        sent = client.post("/v1/recordings", files={"file": ("a.flac", audio.read_bytes())}, data=form)
        location = sent.raise_for_status().headers["Location"]
        wait_until(lambda: client.get(location).json()["state"] == "completed", "a transcript", seconds=240)
    up.process.terminate()
    assert up.process.wait(60) == 0
    assert list(stenopool.folder.iterdir()) == []  # type: ignore[union-attr]
