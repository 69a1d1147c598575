"""Run the ffmpeg program (bundled with imageio-ffmpeg) within limits."""

import math
import os
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
"""The source of `run` as ffmpeg's input: an open file, so that its name is never interpreted."""

OPEN_FILES = 64
_MESSAGES_KEPT = 64 * 1024
_READ = 1024 * 1024
_SIGNALLED = 255  # ffmpeg's exit code after a signal; only SIGXCPU is sent


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
    when this returns or raises. Raises `TimeoutError`, `OSError` if it cannot be started or limited, and what ``take``
    raises.
    """
    messages = bytearray()
    started = time.monotonic()
    seconds_of_cpu = math.ceil(most_seconds)
    limits = {
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_FSIZE: (0, 0),
        resource.RLIMIT_NOFILE: (OPEN_FILES, OPEN_FILES),
        resource.RLIMIT_AS: (memory, memory),
        resource.RLIMIT_CPU: (seconds_of_cpu, seconds_of_cpu + 1),
    }
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-nostats", "-loglevel", "level+warning"]
    running = sandbox.start(
        [*command, *arguments], stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE, limits=limits
    )
    with running as process, selectors.DefaultSelector() as selector:
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
            code = process.wait(max(1.0, started + seconds() - time.monotonic()))
        except subprocess.TimeoutExpired as error:
            raise TimeoutError from error
    if code in (-signal.SIGXCPU, _SIGNALLED):
        raise TimeoutError
    return Report(code, messages.decode(errors="replace"))
