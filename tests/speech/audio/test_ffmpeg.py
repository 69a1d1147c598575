"""Limits of the decoder: each limit takes effect, and the decoder never outlives the process that started it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stenopool.errors import ErrorCode, RecordingError
from stenopool.settings import get_settings
from stenopool.speech.audio import ffmpeg
from tests.speech.audio.media import prepare, tone
from tests.support.process_tree import descendants
from tests.support.waiting import wait_until

ENDLESS = ["-f", "lavfi", "-i", "testsrc=s=640x360:r=60", "-f", "null", "-"]
BOUNDS = {"seconds": lambda: 60.0, "most_seconds": 60.0, "memory": 2**32}


def run(arguments: list[str], **bounds: object) -> ffmpeg.Report:
    with Path(os.devnull).open("rb") as nothing:
        return ffmpeg.run(nothing, arguments, **(BOUNDS | bounds))


def test_cpu_time_is_limited() -> None:
    """The kernel enforces the limit, without any clock in our code."""
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        run(ENDLESS, most_seconds=1.0)
    assert time.monotonic() - started < 30


def test_wall_time_is_limited() -> None:
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        run(["-re", *ENDLESS], seconds=lambda: 0.5)
    assert time.monotonic() - started < 10


def test_ffmpeg_writes_no_file(tmp_path: Path) -> None:
    report = run(["-f", "lavfi", "-i", "sine=d=1", f"file:{tmp_path / 'a.wav'}"])
    assert report.code != 0
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) == 0


def test_a_limit_that_cannot_be_set_is_not_a_recording_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ffmpeg, "OPEN_FILES", 2**62)
    with pytest.raises(PermissionError, match="limit"):
        run(ENDLESS)


def test_memory_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording that needs more is refused with the right code, and one that needs less is prepared."""
    wav = tone(tmp_path / "a.wav", 1)
    monkeypatch.setenv("STENOPOOL_AUDIO__DECODE_MEMORY", str(2**30))
    get_settings.cache_clear()
    assert prepare(wav, tmp_path / "a.flac").audio.duration == 1.0
    refused: dict[ErrorCode, str] = {}
    # It needs about 230 MB before it reads anything; with much less, not even its libraries fit.
    for size in range(190, 230, 5):
        monkeypatch.setenv("STENOPOOL_AUDIO__DECODE_MEMORY", str(size * 2**20))
        get_settings.cache_clear()
        try:
            prepare(wav, tmp_path / "b.flac")
        except RecordingError as error:
            refused[error.code] = error.remedy
    assert "STENOPOOL_AUDIO__DECODE_MEMORY" in refused[ErrorCode.DECODE_MEMORY]
    assert set(refused) <= {ErrorCode.DECODE_MEMORY, ErrorCode.INPUT_CORRUPT}


def test_limits_apply_only_to_the_child() -> None:
    """Read from the kernel while the child runs."""
    seen: dict[str, list[str]] = {}

    program = (
        "import os, sys, time; from pathlib import Path; from stenopool.speech.audio import ffmpeg\n"
        "from tests.support.process_tree import descendants\n"
        "def look(_):\n"
        "    for child in descendants(os.getpid()):\n"
        "        if b'ffmpeg' in Path(f'/proc/{child}/cmdline').read_bytes():\n"
        "            print(Path(f'/proc/{child}/limits').read_text(), Path(f'/proc/{child}/status').read_text())\n"
        "    raise KeyError\n"
        "with open(os.devnull, 'rb') as nothing:\n"
        "    arguments = ['-f', 'lavfi', '-i', 'sine', '-f', 's16le', 'pipe:1']\n"
        "    ffmpeg.run(nothing, arguments, seconds=lambda: 60, most_seconds=60, memory=2**32, take=look)\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout
    for line in said.splitlines():
        name, _, rest = line.partition("  ")
        seen[name.strip()] = rest.split()
    assert seen["Max address space"][:2] == [str(2**32)] * 2
    assert seen["Max cpu time"][:2] == ["60", "61"]
    assert seen["Max open files"][:2] == ["64", "64"]
    assert seen["Max file size"][:2] == ["0", "0"]
    assert "Seccomp:\t2" in said
    assert "NoNewPrivs:\t1" in said


def test_it_does_not_outlive_a_killed_parent() -> None:
    """The launcher does not outlive it either."""
    program = (
        "import os; from stenopool.speech.audio import ffmpeg\n"
        "with open(os.devnull, 'rb') as nothing:\n"
        "    arguments = ['-f', 'lavfi', '-i', 'sine', '-f', 's16le', 'pipe:1']\n"
        "    ffmpeg.run(nothing, arguments, seconds=lambda: 60, most_seconds=60, memory=2**32,\n"
        "        take=lambda _: print('going', flush=True))\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        parent.stdout.readline()
        children = descendants(parent.pid)
        assert len(children) >= 2  # the launcher and ffmpeg
        parent.send_signal(signal.SIGKILL)
        parent.stdout.read()
    wait_until(lambda: not any(_runs(child) for child in children), "ffmpeg is gone", seconds=10)


def _runs(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    return False
