"""Any audio to raw 16 kHz 16-bit samples, by the ffmpeg program.

The program and not PyAV: it goes on after damaged parts, where PyAV ends without a word.
"""

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from stenopool.audio import ffmpeg
from stenopool.audio.formats import INPUT_OPTIONS
from stenopool.audio.probe import Probe
from stenopool.audio.waveform import SAMPLE_RATE
from stenopool.errors import ErrorCode, RecordingError, TransientError
from stenopool.settings import get_settings
from stenopool.transcript import DECODE_ERRORS, TRUNCATED

MAX_SPLIT = 8  # what a FLAC file holds
_SAMPLE_BYTES = 2
_CUT = ("partial file", "ended prematurely")  # what demuxers say of a file that is shorter than its index
_SILENCE = bytes(1024 * 1024)

# The file's own clock is kept: gaps in it (lost packets, a muted caller) become silence, so that times stay those
# of a player. Where it runs backwards (joined files) the audio is appended; aresample alone would drop it.
# ld(0) is where the last frame ended.
_CLOCK = "asetpts='st(1,max(PTS,ld(0)));st(0,ld(1)+S);ld(1)'"
_RESAMPLE = f"aresample={SAMPLE_RATE}:async=1"


@dataclass(frozen=True)
class Decoded:
    """What the spool holds: interleaved 16 kHz signed 16-bit little-endian samples."""

    channels: int
    frames: int
    flags: list[str]

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.frames / SAMPLE_RATE


def decode(
    source: Path, found: Probe, spool: BinaryIO, *, channels: Literal["mix", "split"], max_duration: float
) -> Decoded:
    """Decode the audio stream that ``found`` names into ``spool``, starting with silence where it starts late.

    ``mix`` leaves one or two channels as they are (two have to be compared before they may be mixed) and lets ffmpeg
    mix more down to one; ``split`` leaves up to 8.

    Raises `RecordingError`: TOO_MANY_CHANNELS, TOO_LONG (also where the headers lie), DECODE_TIMEOUT,
    UNSUPPORTED_CODEC, INPUT_CORRUPT when nothing can be decoded. `TransientError`: OUT_OF_MEMORY.
    """
    if channels == "split" and found.channels > MAX_SPLIT:
        raise RecordingError(ErrorCode.TOO_MANY_CHANNELS, f"It has {found.channels} channels.")
    keep = found.channels if channels == "split" or found.channels <= 2 else 1
    second = SAMPLE_RATE * _SAMPLE_BYTES * keep
    patience = get_settings().audio.decode_timeout

    def write(piece: bytes | memoryview) -> None:
        if spool.tell() + len(piece) > max_duration * second:
            raise RecordingError(ErrorCode.TOO_LONG, f"It lasts more than {max_duration:g} s.")
        spool.write(piece)

    silence = round(found.start * SAMPLE_RATE) * keep * _SAMPLE_BYTES
    while silence > spool.tell():
        write(memoryview(_SILENCE)[: silence - spool.tell()])
    try:
        report = ffmpeg.run(
            _arguments(source, found, keep),
            # By what has been decoded, for headers may promise anything.
            seconds=lambda: patience + spool.tell() / second / 10,
            take=write,
        )
    except TimeoutError as error:
        raise RecordingError(
            ErrorCode.DECODE_TIMEOUT, f"After {spool.tell() / second:.0f} s of it, decoding no longer kept up."
        ) from error

    if report.code == -signal.SIGKILL:  # not by us: by the kernel, or whoever looks after memory
        raise TransientError(ErrorCode.OUT_OF_MEMORY, "The decoder was killed.", remedy="Give the machine more memory.")
    frames = spool.tell() // (_SAMPLE_BYTES * keep)
    if spool.tell() == silence:
        if "no decoder found" in report.messages:
            raise RecordingError(ErrorCode.UNSUPPORTED_CODEC, f"No decoder for {found.codec}.")
        if report.code or (found.duration or 0.0) > 0.1:
            raise RecordingError(ErrorCode.INPUT_CORRUPT, f"Nothing can be decoded: {_last(report.messages)}.")
    return Decoded(keep, frames, _flags(found, frames / SAMPLE_RATE, report))


def _arguments(source: Path, found: Probe, keep: int) -> list[str]:
    filters = ",".join((_CLOCK, _mapping(found, keep), _RESAMPLE))
    bounds = [word for name, value in INPUT_OPTIONS.items() for word in (f"-{name}", value)]
    what = ["-threads", "1", "-i", ffmpeg.file_url(source), "-map", f"0:a:{found.stream}"]
    return [*bounds, *what, "-filter_threads", "1", "-af", filters, "-f", "s16le", "pipe:1"]


def _mapping(found: Probe, keep: int) -> str:
    """The filter that brings the file's channels to ``keep``."""
    if keep == found.channels:
        # Pinned by index: a decoder that comes to another count midway must not change the spool's shape.
        return f"pan={keep}c|" + "|".join(f"c{n}=c{n}" for n in range(keep))
    if found.layout and found.channels <= MAX_SPLIT:
        return "aformat=channel_layouts=mono"  # by speaker position: the centre counts, the subwoofer does not
    return "pan=1c|c0=" + "+".join(f"{1 / found.channels:.6f}*c{n}" for n in range(found.channels))


def _flags(found: Probe, duration: float, report: ffmpeg.Report) -> list[str]:
    promised = found.start + (found.duration or 0.0)
    cut = promised - duration > max(0.5, 0.02 * promised)
    cut = cut or report.code != 0 or any(words in report.messages for words in _CUT)
    damaged = "[error]" in report.messages or "[fatal]" in report.messages
    return [*([TRUNCATED] if cut else []), *([DECODE_ERRORS] if damaged else [])]


def _last(messages: str) -> str:
    lines = messages.strip().splitlines()
    return lines[-1].rpartition("] ")[2].rstrip(".") if lines else "no audio in it"
