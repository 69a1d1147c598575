"""Read a file's audio headers in a child process, which may crash or hang without harm.

One child serves many files: starting Python for each would cost more than reading a short recording's headers.
"""

import atexit
import contextlib
import json
import os
import selectors
import subprocess
import sys
import threading
import time
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from stenopool.errors import ErrorCode, RecordingError
from stenopool.settings import get_settings
from stenopool.speech.audio import sandbox

# Containers of audio that are recognized by their content. Not playlists, concat scripts, subtitles and pictures, which
# can refer to other files; nor headerless formats, which any bytes pass for.
_DEMUXERS = (
    "aac,aax,ac3,ac4,adx,aiff,amr,amrnb,amrwb,ape,asf,asf_o,au,avi,caf,dsf,dts,dtshd,eac3,flac,flv,gsm,gxf,iff,ircam,"
    "lc3,loas,matroska,webm,mlp,mov,mp4,m4a,3gp,3g2,mj2,mmf,mp3,mpc,mpc8,mpeg,mpegts,mxf,nistsphere,nsv,nut,ogg,oma,"
    "osq,paf,pvf,qcp,rm,shn,smjpeg,sox,swf,tak,truehd,tta,voc,vqf,w64,wav,wsd,wtv,wv,xwma"
)
# libav's options: the same for prober and decoder, so that both see the same streams.
INPUT_OPTIONS = {
    # The reader gets one open file and cannot open any other that the file refers to.
    "protocol_whitelist": "fd",
    "format_whitelist": _DEMUXERS,
    "max_streams": "128",  # a broadcast multiplex has some dozens; headers of a few bytes can claim thousands
    # Broadcast and camera streams may start with half a minute of picture before the first sound.
    "probesize": str(32 * 1024**2),
    "analyzeduration": str(30 * 1_000_000),
}
_DIED = (BrokenPipeError, ValueError)  # the child ended without an answer, or in the middle of one


class Probe(BaseModel):
    """What a container's headers say about its audio."""

    model_config = ConfigDict(frozen=True)

    container: str  # under libav's name, e.g. wav or mov,mp4,m4a,3gp,3g2,mj2
    codec: str
    stream: int  # index, among the audio streams, of the one that a player plays: the default one, else the first
    sample_rate: int
    channels: int
    layout: str | None  # speaker positions, e.g. 5.1; None if unknown
    start: float  # seconds from the start of the file to the start of its audio
    duration: float | None  # seconds according to the headers; None if unknown, or only estimated from a bit rate


def probe(path: Path) -> Probe:
    """Read the headers of an audio or video file.

    Raises `RecordingError`: EMPTY_FILE, NOT_AUDIO, EXTERNAL_REFERENCE, INPUT_CORRUPT (known container, unreadable),
    NO_AUDIO_STREAM, UNSUPPORTED_CODEC, TOO_MANY_STREAMS, DECODE_MEMORY, or DECODE_TIMEOUT after
    ``settings.audio.probe_timeout``.
    """
    if path.stat().st_size == 0:
        raise RecordingError(ErrorCode.EMPTY_FILE, "It is 0 bytes long.")
    seconds = get_settings().audio.probe_timeout
    try:
        answer = _prober(os.getpid()).ask(path, seconds)
    except TimeoutError as error:
        raise RecordingError(
            ErrorCode.DECODE_TIMEOUT,
            f"Reading its headers took more than {seconds:g} s.",
            remedy="Check the file, or raise STENOPOOL_AUDIO__PROBE_TIMEOUT.",
        ) from error
    except _DIED as error:
        raise RecordingError(ErrorCode.INPUT_CORRUPT, "Reading its headers crashes the reader.") from error
    if "error" in answer:
        raise RecordingError(ErrorCode[answer["error"]], answer["message"])
    return Probe.model_validate(answer)


class _Prober:
    """The long-lived child. Safe to use from several threads."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None

    def ask(self, path: Path, seconds: float) -> dict[str, Any]:
        """The child's answer. Starts a second child if the first dies: an earlier file may have corrupted it."""
        question = json.dumps({"path": str(path.absolute()), "seconds": seconds}).encode() + b"\n"
        with self._lock:
            with contextlib.suppress(*_DIED):
                return self._exchange(question, seconds)
            return self._exchange(question, seconds)

    def close(self) -> None:
        """End the child, if any, and leave no zombie; in a forked process do nothing, for the child is its parent's."""
        if os.getpid() == self._process:
            with self._lock:
                self._kill()

    def _kill(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            with child:  # closes the pipes and waits
                pass

    def _exchange(self, question: bytes, seconds: float) -> dict[str, Any]:
        child = self._child = self._child or self._start()
        assert child.stdin is not None  # noqa: S101 (for mypy)
        try:
            child.stdin.write(question)
            child.stdin.flush()
            answer: dict[str, Any] = json.loads(self._line(child, seconds))
        except BaseException:
            self._kill()  # also on an interrupt: its answer would be taken for the next question's
            raise
        return answer

    @staticmethod
    def _line(child: subprocess.Popen[bytes], seconds: float) -> bytes:
        assert child.stdout is not None  # noqa: S101 (for mypy)
        deadline, line = time.monotonic() + seconds, b""
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError
                piece = os.read(child.stdout.fileno(), 65536)
                if not piece:
                    raise BrokenPipeError
                line += piece
        return line

    @staticmethod
    def _start() -> subprocess.Popen[bytes]:
        # By path and with -P: it imports nothing of Stenopool, and the modules beside it shadow no others. Ctrl-C does
        # not reach it; it ends when its stdin closes.
        return sandbox.start(
            [sys.executable, "-P", str(Path(__file__).with_name("prober.py")), json.dumps(INPUT_OPTIONS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,  # else closing a dead child's pipe would try to write what it never read
        )


@cache
def _prober(_process: int) -> _Prober:
    """This process's prober: a forked process must not use its parent's child, nor a lock that may be held."""
    prober = _Prober()
    atexit.register(prober.close)
    return prober
