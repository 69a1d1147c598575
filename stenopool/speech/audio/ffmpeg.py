"""Run the ffmpeg program (bundled with imageio-ffmpeg) within limits."""

import contextlib
import math
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import imageio_ffmpeg

from stenopool.speech.audio import sandbox

INPUT = ("-fd", "0", "-i", "fd:")
"""The source of `run` as ffmpeg's input: an open file, so that its name is never interpreted."""

OPEN_FILES = 64
_MESSAGES_KEPT = 64 * 1024
_READ = 1024 * 1024
_SIGNALLED = 255  # ffmpeg's exit code after a signal; only SIGXCPU is sent
# Set by a shell, so that the limits hold from ffmpeg's first instruction: no core, no files, open files, KiB of memory,
# CPU seconds until SIGXCPU and until SIGKILL.
_SHELL = "limits of ffmpeg"  # the prefix of the shell's own errors
_LIMITED = """
ulimit -c 0 && ulimit -f 0 && ulimit -n "$1" && ulimit -v "$2" && ulimit -S -t "$3" && ulimit -H -t "$4" || exit 1
shift 4
exec "$@"
"""


@dataclass(frozen=True)
class Report:
    """Exit code and messages, each line with its level in brackets."""

    code: int
    messages: str


def run(
    source: BinaryIO,
    arguments: Sequence[str],
    *,
    seconds: Callable[[], float],
    most_seconds: float,
    memory: int,
    take: Callable[[bytes], object] = len,
) -> Report:
    """Run ffmpeg on ``source`` (`INPUT` among the arguments) and hand each piece of its standard output to ``take``.

    ``seconds()`` is the time limit, asked again as output arrives; it never exceeds ``most_seconds``, which also limits
    CPU time should this process die. ``memory`` is in bytes. ffmpeg writes no file, and it and its children have ended
    when this returns or raises. Raises `TimeoutError`, `PermissionError` if the limits cannot be set, and what ``take``
    raises.
    """
    messages = bytearray()
    started = time.monotonic()
    seconds_of_cpu = math.ceil(most_seconds)
    limits = (OPEN_FILES, memory // 1024, seconds_of_cpu, seconds_of_cpu + 1)
    with _running(source, arguments, limits) as process, selectors.DefaultSelector() as selector:
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
        try:  # both pipes are closed, so it is about to end
            process.wait(max(1.0, started + seconds() - time.monotonic()))
        except subprocess.TimeoutExpired as error:
            raise TimeoutError from error
    if messages.startswith(_SHELL.encode()):  # this machine's fault, not the recording's
        raise PermissionError(messages.decode(errors="replace"))
    if process.returncode in (-signal.SIGXCPU, _SIGNALLED):
        raise TimeoutError
    return Report(process.returncode, messages.decode(errors="replace"))


@contextlib.contextmanager
def _running(source: BinaryIO, arguments: Sequence[str], limits: Sequence[int]) -> Iterator[subprocess.Popen[bytes]]:
    limited = ["/bin/sh", "-c", _LIMITED, _SHELL, *map(str, limits)]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-nostats", "-loglevel", "level+warning"]
    whole = [*limited, *command, *arguments]
    process = sandbox.start(whole, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process:
        try:
            yield process
        finally:
            # Before waiting for it: until then no other process can have its group's id.
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
