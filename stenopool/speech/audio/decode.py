"""Any audio to raw 16 kHz 16-bit samples, by the ffmpeg program.

The program and not PyAV: it continues after damaged parts, where PyAV ends without an error.
"""

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from stenopool.errors import ErrorCode, OutOfMemory, RecordingError
from stenopool.settings import get_settings
from stenopool.speech.audio import ffmpeg
from stenopool.speech.audio.formats import INPUT_OPTIONS
from stenopool.speech.audio.probe import Probe
from stenopool.speech.audio.waveform import SAMPLE_RATE
from stenopool.speech.transcript import DECODE_ERRORS, TRUNCATED

MAX_SPLIT = 8  # what a FLAC file holds
_SAMPLE_BYTES = 2
_ALWAYS_SECONDS = 3600  # that much harms nobody, however little it was made of
_LEAST_RATE, _MOST_RATE = 2_000, 6_144_000  # the lowest that speech can be made out at; the highest of DSD
_CUT = ("partial file", "ended prematurely")  # what demuxers say of a file that is shorter than its index
_NO_MEMORY = ("Cannot allocate memory", "pthread_create() failed")
_SILENCE = bytes(1024 * 1024)

# The file's own clock is kept: gaps in it (lost packets, a muted caller) become silence, so that times stay those
# of a player. Where it runs backwards (joined files) the audio is appended; aresample alone would drop it.
# ld(0) is where the last frame ended.
_CLOCK = "asetpts='st(1,max(PTS,ld(0)));st(0,ld(1)+S);ld(1)'"
_RESAMPLE = f"aresample={SAMPLE_RATE}:async=1"


@dataclass(frozen=True)
class DecodedAudio:
    """What the spool holds: interleaved 16 kHz signed 16-bit little-endian samples."""

    channels: int
    frames: int
    flags: list[str]

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.frames / SAMPLE_RATE


def decode(
    source: Path, found: Probe, spool: IO[bytes], *, channels: Literal["mix", "split"], max_duration: float
) -> DecodedAudio:
    """Decode the audio stream that ``found`` names into ``spool``, starting with silence where it starts late.

    ``mix`` leaves one or two channels as they are (two have to be compared before they may be mixed) and lets ffmpeg
    mix more down to one; ``split`` leaves up to 8.

    Raises `RecordingError`: TOO_MANY_CHANNELS, SAMPLE_RATE_UNUSABLE, TOO_LONG (also where the headers lie),
    EXPANDS_TOO_MUCH, DECODE_TIMEOUT, DECODE_MEMORY, UNSUPPORTED_CODEC, INPUT_CORRUPT when nothing can be decoded.
    `TransientError`: OUT_OF_MEMORY.
    """
    _check(found, get_settings().audio.max_channels)
    if channels == "split" and found.channels > MAX_SPLIT:
        raise RecordingError(ErrorCode.TOO_MANY_CHANNELS, f"It has {found.channels} channels.")
    keep = found.channels if channels == "split" or found.channels <= 2 else 1
    second = SAMPLE_RATE * _SAMPLE_BYTES * keep
    bounds = get_settings().audio
    stored = source.stat().st_size
    most = max(_ALWAYS_SECONDS * second, stored * bounds.max_ratio)

    def write(piece: bytes | memoryview) -> None:
        if spool.tell() + len(piece) > max_duration * second:
            raise RecordingError(ErrorCode.TOO_LONG, f"It lasts more than {max_duration:g} s.")
        if spool.tell() + len(piece) > most:
            raise RecordingError(
                ErrorCode.EXPANDS_TOO_MUCH, f"Its {stored:,} bytes decode to more than {most:,.0f} bytes."
            )
        spool.write(piece)

    silence = round(found.start * SAMPLE_RATE) * keep * _SAMPLE_BYTES
    while silence > spool.tell():
        write(memoryview(_SILENCE)[: silence - spool.tell()])
    try:
        with source.open("rb") as file:
            report = ffmpeg.run(
                file,
                _arguments(found, keep),
                # By what has been decoded, for headers may promise anything.
                seconds=lambda: bounds.decode_timeout + spool.tell() / second / 10,
                most_seconds=bounds.decode_timeout + max_duration / 10,
                memory=bounds.decode_memory,
                take=write,
            )
    except TimeoutError as error:
        raise RecordingError(
            ErrorCode.DECODE_TIMEOUT, f"After {spool.tell() / second:.0f} s of it, decoding no longer kept up."
        ) from error

    _raise_for(report, found, empty=spool.tell() == silence)
    frames = spool.tell() // (_SAMPLE_BYTES * keep)
    return DecodedAudio(keep, frames, _flags(found, frames / SAMPLE_RATE, report))


def _raise_for(report: ffmpeg.Report, found: Probe, *, empty: bool) -> None:
    """Raise the error of a run that decoded nothing, or that had no memory; damaged parts alone are none."""
    if report.code == -signal.SIGKILL:  # not by us: by the kernel, or by another guard of memory
        raise OutOfMemory("The decoder was killed.", remedy="Give the machine more memory.")
    short_of_memory = any(words in report.messages for words in _NO_MEMORY)
    if short_of_memory and (report.code or empty):
        message = f"Decoding needs more than {get_settings().audio.decode_memory:,} bytes of memory."
        raise RecordingError(ErrorCode.DECODE_MEMORY, message)
    if empty:
        if "no decoder found" in report.messages:
            raise RecordingError(ErrorCode.UNSUPPORTED_CODEC, f"No decoder for {found.codec}.")
        if report.code or (found.duration or 0.0) > 0.1:
            raise RecordingError(ErrorCode.INPUT_CORRUPT, f"Nothing can be decoded: {_last(report.messages)}.")


def _check(found: Probe, max_channels: int) -> None:
    """Refuse what no recorder writes: its headers lie, or would have buffers made that no recording needs."""
    if found.channels > max_channels:
        message = f"It has {found.channels} channels; {max_channels} are allowed."
        remedy = "Mix them down, or raise STENOPOOL_AUDIO__MAX_CHANNELS."
        raise RecordingError(ErrorCode.TOO_MANY_CHANNELS, message, remedy=remedy)
    if not _LEAST_RATE <= found.sample_rate <= _MOST_RATE:
        message = f"It has {found.sample_rate:,} samples a second; {_LEAST_RATE:,} to {_MOST_RATE:,} are allowed."
        raise RecordingError(ErrorCode.SAMPLE_RATE_UNUSABLE, message)


def _arguments(found: Probe, keep: int) -> list[str]:
    filters = ",".join((_CLOCK, _mapping(found, keep), _RESAMPLE))
    bounds = [word for name, value in INPUT_OPTIONS.items() for word in (f"-{name}", value)]
    what = ["-threads", "1", *ffmpeg.INPUT, "-map", f"0:a:{found.stream}"]
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
