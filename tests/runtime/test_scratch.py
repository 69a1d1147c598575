"""Scratch folders: private, limited, and removed after success, exception, SIGTERM, and (at the next start) SIGKILL."""

import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from stenopool.errors import ErrorCode, TransientError
from stenopool.runtime.scratch import Scratch, sweep
from stenopool.settings import ScratchSettings

FINGERPRINT = "0123456789abcdef" * 2


def made(tmp_path: Path, max_bytes: int = 10_000) -> Scratch:
    return Scratch(ScratchSettings(dir=tmp_path, max_bytes=max_bytes))


def test_a_scratch_folder_is_private_and_removed_afterwards(tmp_path: Path) -> None:
    with made(tmp_path) as scratch:
        folder = scratch.folder(FINGERPRINT)
        (folder / "audio.flac").write_bytes(b"x")
        assert stat.S_IMODE(scratch.path.stat().st_mode) == 0o700
        assert scratch.path.name.startswith(f".stenopool-scratch-{os.getpid()}-")
    assert list(tmp_path.iterdir()) == []


def test_it_is_removed_after_an_exception(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), made(tmp_path) as scratch:
        scratch.folder(FINGERPRINT).joinpath(str(1 // 0))
    assert list(tmp_path.iterdir()) == []


def test_the_limit_counts_files_and_reservations(tmp_path: Path) -> None:
    with made(tmp_path) as scratch:
        one = scratch.folder("a" * 32, reserve=6000)
        with pytest.raises(TransientError) as caught:
            scratch.folder("b" * 32, reserve=5000)
        assert caught.value.code is ErrorCode.SCRATCH_FULL
        (one / "file").write_bytes(b"x" * 6000)  # now the reservation is used up, and counts once
        scratch.folder("b" * 32, reserve=4000)
        with pytest.raises(TransientError):
            scratch.folder("c" * 32, reserve=1)
        scratch.release("a" * 32)
        assert not one.exists()
        scratch.folder("c" * 32, reserve=6000)


def test_files_beyond_their_reservation_count(tmp_path: Path) -> None:
    with made(tmp_path) as scratch:
        (scratch.folder(FINGERPRINT) / "file").write_bytes(b"x" * 10_001)
        with pytest.raises(TransientError):
            scratch.folder("b" * 32, reserve=1)


def test_free_disk_space_is_also_a_limit(tmp_path: Path) -> None:
    with made(tmp_path, max_bytes=2**62) as scratch, pytest.raises(TransientError) as caught:
        scratch.folder(FINGERPRINT, reserve=2**60)
    assert caught.value.code is ErrorCode.SCRATCH_FULL


@pytest.mark.parametrize("name", ["", "..", "a/b", "calls/1.wav", "-x"])
def test_keys_are_not_used_as_file_names(tmp_path: Path, name: str) -> None:
    with made(tmp_path) as scratch, pytest.raises(ValueError, match="fingerprint"):
        scratch.folder(name)


CHILD = """
    import sys, time
    from pathlib import Path
    from stenopool.runtime.scratch import Scratch
    from stenopool.settings import ScratchSettings
    {first}
    with Scratch(ScratchSettings(dir=Path(sys.argv[1]))) as scratch:
        (scratch.folder("f" * 32) / "file").write_bytes(b"x")
        print("ready", len(list(Path(sys.argv[1]).iterdir())), flush=True)
        {then}
    print("left", flush=True)
"""


# Short sleeps: a signal in the instant before a sleep starts does not interrupt it (CPython).
WAIT = "for _ in range(600): time.sleep(0.1)"


ENTRY = "from stenopool.runtime.signals import exit_on_sigterm; exit_on_sigterm()"


def child(tmp_path: Path, then: str = WAIT, first: str = ENTRY) -> subprocess.Popen[str]:
    """A process with a scratch folder, which exists once the process has said so."""
    code = textwrap.dedent(CHILD).format(then=then, first=first)
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready 1\n"
    return process


def test_it_is_removed_after_sigterm(tmp_path: Path) -> None:
    process = child(tmp_path)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


def test_it_is_removed_when_the_grace_period_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STENOPOOL_STOP__GRACE", "0.2")
    process = child(tmp_path, first="from stenopool.runtime.signals import stop_at_safe_points; stop_at_safe_points()")
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []


def test_it_is_removed_if_the_process_ends_without_closing_it(tmp_path: Path) -> None:
    process = child(tmp_path, then="Scratch.__exit__ = lambda *_: None")
    assert process.wait(10) == 0
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_sigkill_are_swept_and_folders_in_use_are_not(tmp_path: Path) -> None:
    dead, living = child(tmp_path / "d"), child(tmp_path / "l")
    dead.kill()
    dead.wait()
    for name, left in (("l", 1), ("d", 0)):
        assert len(list((tmp_path / name).iterdir())) == 1
        sweep(tmp_path / name)
        assert len(list((tmp_path / name).iterdir())) == left
    living.terminate()
    living.wait()


def test_startup_sweeps(tmp_path: Path) -> None:
    process = child(tmp_path)
    process.kill()
    process.wait()
    with made(tmp_path) as scratch:
        assert list(tmp_path.iterdir()) == [scratch.path]


def test_only_our_folders_are_swept(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / ".stenopool-scratch-1-aaaaaaaa").write_bytes(b"")
    (tmp_path / ".stenopool-scratch-2-aaaaaaaa").symlink_to(tmp_path / "other")
    sweep(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


def test_threads_can_use_scratch_folders_in_parallel(tmp_path: Path) -> None:
    """Signals can be handled in the main thread only; scratch must also work in other threads."""
    barrier = threading.Barrier(4)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with made(tmp_path) as scratch:
                scratch.folder(FINGERPRINT)
                barrier.wait(10)
                assert scratch.path.exists()
                barrier.wait(10)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert list(tmp_path.iterdir()) == []


def test_it_installs_no_signal_handlers(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with made(tmp_path):
        assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    "name", ["stenopool-results", "stenopool-demo", ".stenopool-scratch", ".stenopool-scratch-mine"]
)
def test_a_sweep_ignores_foreign_folders(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    sweep(tmp_path)
    assert (tmp_path / name).exists()
