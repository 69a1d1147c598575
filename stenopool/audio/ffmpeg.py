"""The ffmpeg program (it comes inside imageio-ffmpeg), run so that it can be bounded and killed."""

import contextlib
import os
import resource
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg

MEMORY = 4 * 1024**3
OPEN_FILES = 64
_MESSAGES_KEPT = 64 * 1024
_READ = 1024 * 1024


@dataclass(frozen=True)
class Report:
    """How a run ended: exit code and the messages, each line with its level in brackets."""

    code: int
    messages: str


def file_url(path: Path) -> str:
    """The path as ffmpeg takes it whatever it is called: leading dashes, colons, quotes and spaces included."""
    return f"file:{path.absolute()}"


def run(
    arguments: Sequence[str],
    *,
    seconds: Callable[[], float],
    take: Callable[[bytes], object] = len,
) -> Report:
    """Run ffmpeg and hand each piece of its standard output to ``take``.

    ``seconds()`` is the time it may have used by now; it is asked again as output arrives. Whatever ends the run,
    ffmpeg and its children are gone afterwards. Raises `TimeoutError`, and what ``take`` raises.
    """
    messages = bytearray()
    started = time.monotonic()
    with _running(arguments) as process, selectors.DefaultSelector() as selector:
        assert process.stdout is not None  # noqa: S101 (for mypy)
        assert process.stderr is not None  # noqa: S101 (for mypy)
        selector.register(process.stdout, selectors.EVENT_READ, take)
        selector.register(process.stderr, selectors.EVENT_READ, messages.extend)
        while selector.get_map():
            left = started + seconds() - time.monotonic()
            if left <= 0:
                raise TimeoutError
            for key, _ in selector.select(left):
                piece = os.read(key.fd, _READ)
                if not piece:
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stdout or len(messages) < _MESSAGES_KEPT:
                    key.data(piece)
        try:  # both pipes are closed: it is about to end
            process.wait(max(1.0, started + seconds() - time.monotonic()))
        except subprocess.TimeoutExpired as error:
            raise TimeoutError from error
    return Report(process.returncode, messages.decode(errors="replace"))


@contextlib.contextmanager
def _running(arguments: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-nostats", "-loglevel", "level+warning"]
    process = subprocess.Popen(
        [*command, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # a process group of its own, to be killed as one
    )
    with process:
        try:
            for limit, value in (
                (resource.RLIMIT_AS, MEMORY),
                (resource.RLIMIT_NOFILE, OPEN_FILES),
                (resource.RLIMIT_CORE, 0),
            ):
                with contextlib.suppress(ProcessLookupError):  # it may have ended already
                    resource.prlimit(process.pid, limit, (value, value))
            yield process
        finally:
            # Before it is waited for: until then its id, and so the group's, belongs to nobody else.
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
