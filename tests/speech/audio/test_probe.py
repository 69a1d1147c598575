"""Headers are read correctly, and a prober that crashes or hangs does not affect other files."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from stenopool.errors import ErrorCode, RecordingError
from stenopool.settings import get_settings
from stenopool.speech.audio import sandbox
from stenopool.speech.audio.probe import probe
from tests.speech.audio.media import make, tone


def refusal(path: Path) -> ErrorCode:
    with pytest.raises(RecordingError) as caught:
        probe(path)
    return caught.value.code


def launcher_pid() -> int:
    return sandbox._launchers().get(True).process.pid


def test_each_file_has_its_own_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prober that a file takes over must not answer for later files. One launcher forks them, because Python starts
    slowly.
    """
    pids, start = [], sandbox.start_prober

    def watched(*arguments: object, **options: object) -> sandbox.Confined:
        child = start(*arguments, **options)
        pids.append(child.pid)
        return child

    monkeypatch.setattr(sandbox, "start_prober", watched)
    first, second = tone(tmp_path / "a.flac", 1), tone(tmp_path / "b.wav", 2, "-ac", "2")
    assert probe(first).codec == "flac"
    launcher = launcher_pid()
    found = probe(second)
    assert (found.codec, found.channels, found.sample_rate, found.duration) == ("pcm_s16le", 2, 16000, 2.0)
    assert len(set(pids)) == 2
    assert launcher_pid() == launcher


def test_a_dead_launcher_is_replaced(tmp_path: Path) -> None:
    """Killed between two files: the next file is not affected."""
    path = tone(tmp_path / "a.flac", 1)
    probe(path)
    os.kill(launcher_pid(), signal.SIGKILL)
    assert probe(path).duration == 1.0


def test_a_launcher_killed_during_a_file_is_replaced(tmp_path: Path) -> None:
    """The file is read again by the new launcher."""
    path = tone(tmp_path / "a.flac", 1)
    probe(path)
    pid = launcher_pid()
    os.kill(pid, signal.SIGSTOP)
    killer = threading.Timer(0.5, os.kill, (pid, signal.SIGKILL))
    killer.start()
    started = time.monotonic()
    assert probe(path).duration == 1.0
    assert time.monotonic() - started > 0.4
    assert launcher_pid() != pid


def lies(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """In place of the prober, a confined child that a file has taken over."""

    def start(_options: object, **streams: object) -> sandbox.Confined:
        return sandbox.start([sys.executable, "-S", "-c", program], stdout=subprocess.PIPE, **streams)

    monkeypatch.setattr(sandbox, "start_prober", start)


GOOD = {"container": "wav", "codec": "x", "stream": 0, "sample_rate": 8000, "channels": 1, "layout": None, "start": 0.0}


@pytest.mark.parametrize(
    "answer",
    [
        "'x' * 10**6",
        "'[' * 60_000",
        "json.dumps({'error': 'RECORDING_DELETED', 'message': 'x'})",
        "json.dumps({'error': 'NOT_AUDIO'})",
        "json.dumps(GOOD | {'start': float('nan'), 'duration': 1.0})",
        "json.dumps(GOOD | {'start': float('inf'), 'duration': 1.0})",
        "json.dumps(GOOD | {'start': -1.0, 'duration': 1.0})",
        "json.dumps(GOOD | {'channels': 10**30, 'duration': 1.0})",
        "json.dumps(GOOD | {'channels': 0, 'duration': 1.0})",
        "json.dumps(GOOD | {'stream': -1, 'duration': 1.0})",
        "json.dumps(GOOD | {'codec': ['x'], 'duration': 1.0})",
        "'null'",
    ],
)
def test_impossible_answers_are_refused(answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prober with such an answer counts as broken; more than 64 KiB are not read."""
    lies(monkeypatch, f"import json\nGOOD = {GOOD!r}\nprint({answer})")
    assert refusal(tone(tmp_path / "a.wav", 1)) == ErrorCode.INPUT_CORRUPT


def test_error_messages_are_short_and_printable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They go into receipts and to clients."""
    path, odd = tone(tmp_path / "a.wav", 1), "\x1b[31m\u202eA\n\x00\ufeff" + "secret " * 1000
    lies(monkeypatch, f"import json\nprint(json.dumps({{'error': 'NOT_AUDIO', 'message': {odd!r}}}))")
    with pytest.raises(RecordingError) as caught:
        probe(path)
    message = caught.value.message
    assert len(message) == 500
    assert message.isprintable()
    assert "A" in message
    lies(monkeypatch, f"import json\nprint(json.dumps({GOOD!r} | {{'codec': {odd!r}, 'duration': 1.0}}))")
    codec = probe(path).codec
    assert len(codec) == 500
    assert codec.isprintable()


def test_a_hanging_prober_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is never completely read costs the timeout; the next one is read."""
    path, pipe = tone(tmp_path / "a.flac", 1), tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)
    monkeypatch.setattr(Path, "stat", lambda path: os.stat_result((0,) * 6 + (1,) + (0,) * 3))  # it claims a size
    monkeypatch.setenv("STENOPOOL_AUDIO__PROBE_TIMEOUT", "0.5")
    get_settings.cache_clear()
    started = time.monotonic()
    assert refusal(pipe) == ErrorCode.DECODE_TIMEOUT
    assert time.monotonic() - started < 5
    os.close(writer)
    monkeypatch.setenv("STENOPOOL_AUDIO__PROBE_TIMEOUT", "30")
    get_settings.cache_clear()
    assert probe(path).duration == 1.0


def test_threads_get_their_own_answers(tmp_path: Path) -> None:
    """Results of concurrent calls are not mixed up."""
    paths = [tone(tmp_path / f"{n}.wav", n) for n in (1, 2, 3, 4)]
    answers: dict[int, float | None] = {}

    def ask(n: int) -> None:
        for _ in range(20):
            answers[n] = probe(paths[n - 1]).duration
            assert answers[n] == float(n)

    threads = [threading.Thread(target=ask, args=(n,)) for n in (1, 2, 3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {1: 1.0, 2: 2.0, 3: 3.0, 4: 4.0}


def test_a_forked_process_starts_its_own_launcher(tmp_path: Path) -> None:
    """Also if its parent's launcher was in use; and its end does not affect that one."""
    path = tone(tmp_path / "a.flac", 1)
    probe(path)
    launcher = launcher_pid()
    pid = os.fork()
    if pid == 0:
        status = 0 if probe(path).duration == 1.0 and launcher_pid() != launcher else 1
        sandbox.stop_launchers()
        os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert probe(path).duration == 1.0
    assert launcher_pid() == launcher


def test_the_launcher_ends_completely_with_its_parent(tmp_path: Path) -> None:
    """Not even a zombie remains: in a container, the first process may never wait for it."""
    program = (
        "import os, sys; from pathlib import Path; from stenopool.speech.audio import probe, sandbox\n"
        "probe.probe(Path(sys.argv[1])); print(sandbox._launchers().get(True).process.pid)"
    )
    command = [sys.executable, "-c", program, str(tone(tmp_path / "a.wav", 1))]
    pid = int(subprocess.run(command, capture_output=True, check=True).stdout)
    assert not Path(f"/proc/{pid}").exists()


def test_the_default_track_is_chosen(tmp_path: Path) -> None:
    """Like a player: the track marked as default, although it is the second."""
    a, b = tone(tmp_path / "a.wav", 1), tone(tmp_path / "b.wav", 2, "-ac", "2")
    dispositions = ("-disposition:a:0", "0", "-disposition:a:1", "default")
    two = make(tmp_path / "t.mka", "-i", a, "-i", b, "-map", "0", "-map", "1", "-c:a", "flac", *dispositions)
    found = probe(two)
    assert (found.stream, found.channels, found.duration) == (1, 2, 2.0)


def test_the_header_of_a_truncated_file_gives_the_original_length(tmp_path: Path) -> None:
    """A truncated WAV still has its original length in the header; libav itself would return the available length."""
    whole = tone(tmp_path / "a.wav", 4)
    cut = tmp_path / "cut.wav"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert probe(cut).duration == pytest.approx(4.0)


def test_an_unknown_codec_is_refused(tmp_path: Path) -> None:
    """A WAV whose format tag is not registered, and whose other fields are not those of plain samples either."""
    data = bytearray(tone(tmp_path / "a.wav", 1).read_bytes())
    tag = data.index(b"fmt ") + 8
    data[tag : tag + 2] = b"\x99\x99"
    data[tag + 14 : tag + 16] = b"\4\0"  # bits per sample
    odd = tmp_path / "odd.wav"
    odd.write_bytes(data)
    assert refusal(odd) == ErrorCode.UNSUPPORTED_CODEC
