"""Run the ffmpeg program (bundled with imageio-ffmpeg) within limits."""

import math
import os
import re
import resource
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import imageio_ffmpeg

from stenopool.speech.audio import sandbox

INPUT = ("-fd", "0", "-i", "fd:")
"""ffmpeg's arguments for the source of `run`: an open file, so that its name is never interpreted."""


def stretch(start: int, end: int) -> tuple[str, ...]:
    """Like `INPUT`, for the bytes of the source from ``start`` to ``end``."""
    return "-fd", "0", "-i", f"subfile,,start,{start},end,{end},,:fd:"


OPEN_FILES = 64
_MESSAGES_KEPT = 64 * 1024
_READ = 1024 * 1024
_CHATTER = re.compile(rb"(?:\[[^\]]* @ [^\]]*\] )*\[(?:info|verbose)\] ")
_READ_IN_ALL = re.compile(rb"  Input stream #0:\d+ \(audio\): (\d+) packets read \((\d+) bytes\)")
_SIGNALLED = 255  # ffmpeg's exit code after a signal; only SIGXCPU is sent


@dataclass(frozen=True)
class Report:
    """Exit code and messages (warnings and errors), each line with its level in brackets."""

    code: int
    messages: str
    packets: int = 0  # number of audio packets read
    packet_bytes: int = 0


def run(
    source: BinaryIO,
    arguments: Sequence[str],
    *,
    seconds: Callable[[], float],
    most_seconds: float,
    memory: int,
    take: Callable[[bytes], object] = len,
) -> Report:
    """Run ffmpeg on ``source`` (with `INPUT` in the arguments) and pass each piece of its standard output to ``take``.

    ``seconds()`` is the time limit, evaluated again as output arrives. It never exceeds ``most_seconds``, which also
    limits CPU time in case this process dies. ``memory`` is in bytes. ffmpeg writes no file, and it and its children
    have ended when this returns or raises. Raises `TimeoutError`, `OSError` if it cannot be started or limited, and any
    exception of ``take``.
    """
    messages = _Messages()
    started = time.monotonic()
    seconds_of_cpu = math.ceil(most_seconds)
    limits = {
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_FSIZE: (0, 0),
        resource.RLIMIT_NOFILE: (OPEN_FILES, OPEN_FILES),
        resource.RLIMIT_AS: (memory, memory),
        resource.RLIMIT_CPU: (seconds_of_cpu, seconds_of_cpu + 1),
    }
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-nostats", "-loglevel", "level+verbose"]
    running = sandbox.start(
        [*command, *arguments], stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE, limits=limits
    )
    with running as process, selectors.DefaultSelector() as selector:
        assert process.stdout is not None  # noqa: S101 (for mypy)
        assert process.stderr is not None  # noqa: S101 (for mypy)
        selector.register(process.stdout, selectors.EVENT_READ, take)
        selector.register(process.stderr, selectors.EVENT_READ, messages.add)
        while selector.get_map():
            left = started + seconds() - time.monotonic()
            if left <= 0:
                raise TimeoutError
            for key, _ in selector.select(left):
                piece = os.read(key.fd, _READ)
                if not piece:
                    selector.unregister(key.fileobj)
                else:
                    key.data(piece)
        try:  # both pipes are closed, so it is about to end
            code = process.wait(max(1.0, started + seconds() - time.monotonic()))
        except subprocess.TimeoutExpired as error:
            raise TimeoutError from error
    if code in (-signal.SIGXCPU, _SIGNALLED):
        raise TimeoutError
    return messages.report(code)


class _Messages:
    """Collects ffmpeg's messages: the first 64 KiB of warnings and errors, and the number of packets read."""

    def __init__(self) -> None:
        self._kept = bytearray()
        self._line = bytearray()
        self._packets = self._bytes = 0

    def add(self, piece: bytes) -> None:
        *lines, last = piece.split(b"\n")
        for line in lines:
            self._end_line(bytes(self._line + line))
            self._line.clear()
        self._line += last[: _MESSAGES_KEPT - len(self._line)]

    def _end_line(self, line: bytes) -> None:
        if _CHATTER.match(line):
            if found := _READ_IN_ALL.search(line):
                self._packets += int(found[1])
                self._bytes += int(found[2])
        elif len(self._kept) < _MESSAGES_KEPT:
            self._kept += line[:_MESSAGES_KEPT] + b"\n"

    def report(self, code: int) -> Report:
        """The complete report, once ffmpeg has ended."""
        self._end_line(bytes(self._line))
        return Report(code, self._kept.decode(errors="replace"), self._packets, self._bytes)
