"""The CPU image, really built and really used: nobody's user, a read-only root, a recording in and its words out."""

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.images import BASES, PROGRAMS, Images, transcribe
from tests.support.speech import needs_speech, recording_path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    needs_speech,
    pytest.mark.skipif(os.geteuid() != 0, reason="images are built as root"),
    pytest.mark.skipif(
        not all(map(shutil.which, PROGRAMS)), reason=f"not all of {', '.join(PROGRAMS)} are installed: Debian has them"
    ),
]
IMAGE = "localhost/stenopool:cpu"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    images = Images(tmp_path_factory.mktemp("images"))
    try:
        images.make_bases()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"Debian's archive cannot be reached: {error}")
    yield images
    # Gigabytes; pytest would keep them for three runs.
    shutil.rmtree(images.folder)


def test_it_prepares_and_transcribes_as_nobody_on_a_read_only_root(images: Images) -> None:
    size = images.build("cpu.Dockerfile", IMAGE, **BASES)
    assert size <= 900e6
    user, version, *text = transcribe(images, IMAGE, recording_path("en/LJ001-0001.flac")).splitlines()
    assert user == "10001"
    assert version.startswith("stenopool ")
    assert "Printing" in text[0]
    assert "root is writable" not in text
