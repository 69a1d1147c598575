"""The ffmpeg program (it comes inside imageio-ffmpeg), run so that it can be bounded and killed."""

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
"""The file that `run` is given, as ffmpeg takes it: open already, so that no name of it is ever read as something."""

OPEN_FILES = 64
_MESSAGES_KEPT = 64 * 1024
_READ = 1024 * 1024
_SIGNALLED = 255  # how ffmpeg ends when a signal asks it to; only SIGXCPU does
# The limits stand before its first instruction: set from here they would come too late for a child that is quick. No
# core, no files, open files, KiB of memory, CPU seconds until SIGXCPU and until SIGKILL.
_SHELL = "limits of ffmpeg"  # what the shell's own complaints begin with
_LIMITED = """
ulimit -c 0 && ulimit -f 0 && ulimit -n "$1" && ulimit -v "$2" && ulimit -S -t "$3" && ulimit -H -t "$4" || exit 1
shift 4
exec "$@"
"""


@dataclass(frozen=True)
class Report:
    """How a run ended: exit code and the messages, each line with its level in brackets."""

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

    ``seconds()`` is the time it may have used by now; it is asked again as output arrives, and is never more than
    ``most_seconds``, which bounds its CPU seconds too, should nobody be left to ask. ``memory`` is in bytes; it writes
    no file. Whatever ends the run, ffmpeg and its children are gone afterwards. Raises `TimeoutError`,
    `PermissionError` where the limits cannot be set, and what ``take`` raises.
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
        try:  # both pipes are closed: it is about to end
            process.wait(max(1.0, started + seconds() - time.monotonic()))
        except subprocess.TimeoutExpired as error:
            raise TimeoutError from error
    if messages.startswith(_SHELL.encode()):  # this machine's fault, and none of the recording's
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
            # Before it is waited for: until then its id, and so the group's, belongs to nobody else.
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
