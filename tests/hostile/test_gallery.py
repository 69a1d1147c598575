"""Every file of the gallery ends with its code, opens no planted file and connects to nothing; the batch continues."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import imageio_ffmpeg
import pytest

from stenopool.errors import RecordingError
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.pipeline import receipts
from stenopool.pipeline.catalog import Recording, fingerprint
from stenopool.pipeline.context import RunContext
from stenopool.pipeline.shards import WorkItem
from stenopool.pipeline.stages import FETCH, NORMALIZE, QUARANTINE
from stenopool.runtime.scratch import Scratch
from stenopool.settings import get_settings
from stenopool.speech.audio import ffmpeg
from stenopool.storage.local import LocalStore
from tests.hostile.files import GALLERY, LISTS, Attack
from tests.hostile.traps import Listener, Watch
from tests.speech.audio.media import prepare, tone
from tests.support.runs import carry

EVERYTHING = "file,http,tcp,udp,rtp,crypto,data,concat,subfile,fd"


class Traps(NamedTuple):
    """A watched folder with the planted file, and a listening socket."""

    watch: Watch
    listener: Listener
    places: dict[str, str]

    def sprung(self) -> tuple[set[str], int]:
        """The opened names, and the number of connections."""
        return self.watch.opened(), self.listener.calls()


@pytest.fixture(autouse=True)
def _less_patience(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One attack needs half a minute of CPU unless it is stopped."""
    monkeypatch.setenv("STENOPOOL_AUDIO__PROBE_TIMEOUT", "6")
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture
def traps(tmp_path: Path) -> Iterator[Traps]:
    folder = tmp_path / "planted"
    folder.mkdir()
    secret = tone(folder / "secret.wav", 2)
    with Watch(folder) as watch, Listener() as listener:
        port = str(listener.port)
        yield Traps(watch, listener, {"secret": str(secret), "address": f"127.0.0.1:{port}", "port": port})


@pytest.mark.parametrize("attack", GALLERY, ids=lambda attack: attack.name)
def test_an_attack_fails(attack: Attack, tmp_path: Path, traps: Traps) -> None:
    """Refused with its code, or accepted as a valid recording."""
    path = tmp_path / attack.name
    attack.write(path, traps.places)
    traps.sprung()
    if attack.codes:
        with pytest.raises(RecordingError) as caught:
            prepare(path, tmp_path / "a.flac")
        assert caught.value.code in attack.codes, caught.value
        assert caught.value.remedy
        assert traps.places["secret"] not in str(caught.value)
        assert not (tmp_path / "a.flac").exists()
    else:
        assert prepare(path, tmp_path / "a.flac").audio.duration == pytest.approx(1.0, abs=0.2)
    assert traps.sprung() == (set(), 0)


def test_the_traps_work(tmp_path: Path, traps: Traps) -> None:
    """An unrestricted ffmpeg opens the files that lists name, and connects to their addresses."""
    hls = ["-allowed_extensions", "ALL", "-extension_picky", "0"]
    opened, calls = set[str](), 0
    for name, options in (("file.m3u8", hls), ("http.m3u8", hls), ("script.ffconcat", ["-safe", "0"])):
        path = tmp_path / name
        next(one for one in LISTS if one.name == name).write(path, traps.places)
        command = [
            imageio_ffmpeg.get_ffmpeg_exe(),
            "-v",
            "quiet",
            "-protocol_whitelist",
            EVERYTHING,
            *options,
            "-i",
            path,
        ]
        with contextlib.suppress(subprocess.TimeoutExpired):  # nothing answers it
            subprocess.run([*command, "-f", "null", "-"], timeout=3, stdin=subprocess.DEVNULL)
        now = traps.sprung()
        opened, calls = opened | now[0], calls + now[1]
    assert opened == {"secret.wav"}
    assert calls > 0


@pytest.mark.parametrize("name", ["http.m3u8", "master.m3u8"])
def test_the_kernel_refuses_connections_even_if_libav_allows_them(name: str, tmp_path: Path, traps: Traps) -> None:
    """With all protocols and formats allowed in libav, the kernel still refuses every connection."""
    path = tmp_path / name
    next(one for one in LISTS if one.name == name).write(path, traps.places)
    options = ["-protocol_whitelist", EVERYTHING, "-allowed_extensions", "ALL", "-extension_picky", "0", "-f", "hls"]
    with path.open("rb") as file:
        arguments = [*options, *ffmpeg.INPUT, "-f", "null", "pipe:1"]
        report = ffmpeg.run(file, arguments, seconds=lambda: 30, most_seconds=30, memory=2**32)
    assert "Permission denied" in report.messages
    assert traps.listener.calls() == 0


def test_a_batch_of_attacks_stops_nothing(tmp_path: Path, traps: Traps) -> None:
    """The whole gallery as one batch with a recording at its end: that one is prepared, the rest is quarantined."""
    source = tmp_path / "source"
    source.mkdir()
    for attack in GALLERY:
        attack.write(source / attack.name, traps.places)
    tone(source / "zz-good.wav", 1)
    traps.sprung()
    store, destination, options = LocalStore(source), LocalStore(tmp_path / "out"), TranscriptionOptions()
    recordings = [
        Recording(uri=store.uri_of(one.key), key=one.key, size=one.size, etag=one.etag, modified=one.modified)
        for one in store.list()
    ]
    items = [WorkItem(recording=one, fingerprint=fingerprint(one, options), seconds=1.0) for one in recordings]
    assert len(items) == len(GALLERY) + 1
    with Scratch() as scratch:
        run = RunContext(store, destination, options, ExecutionOptions(), scratch)
        jobs, errors = carry(run, (FETCH, NORMALIZE, QUARANTINE), items)
    assert not errors
    sound = {job.key for job in jobs if job.failure is None}
    assert sound == {"zz-good.wav", *(attack.name for attack in GALLERY if not attack.codes)}
    written = {name.key: name.status for name in receipts.list_receipts(destination)}
    assert written == {attack.name: "quarantined" for attack in GALLERY if attack.codes}
    assert traps.sprung() == (set(), 0)
