"""Decode any audio to raw 16 kHz 16-bit samples with the ffmpeg program.

PyAV is not used, because it stops at damaged parts without an error; the program continues after them.
"""

import os
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from stenopool.errors import ErrorCode, OutOfMemory, RecordingError
from stenopool.settings import get_settings
from stenopool.speech.audio import ffmpeg, sandbox
from stenopool.speech.audio.mixing import WINDOW
from stenopool.speech.audio.probe import INPUT_OPTIONS, Part, Probe
from stenopool.speech.audio.scaling import Scale, scale_samples, touches_full_scale
from stenopool.speech.audio.waveform import SAMPLE_RATE
from stenopool.speech.transcript import DECODE_ERRORS, HEADER_MISMATCH, TRUNCATED

MAX_SPLIT = 8  # maximum number of channels of a FLAC file
_SAMPLE_BYTES = 2
_ALWAYS_SECONDS = 3600  # always allowed, even for a small file
_LEAST_RATE, _MOST_RATE = 2_000, 6_144_000  # the lowest for intelligible speech; the highest of DSD
_CUT = ("partial file", "ended prematurely")  # demuxers' messages about a file that is shorter than its index
_NO_MEMORY = ("Cannot allocate memory", "pthread_create() failed")
# Bytes of media that were not read and need no flag: as a number, and as a share of all.
_LEAST_UNREAD, _UNREAD = 1024, 0.03
_SILENCE = bytes(1024 * 1024)
_ODD_GAIN = -20.0  # decibels; floats that exceed full scale by more are integers or in other units

# Keep the file's clock: gaps (lost packets, a muted caller) become silence, so that times match a player's. If the
# clock jumps back (joined files), append the audio; aresample alone would drop it. ld(0): the last end.
_CLOCK = "asetpts='st(1,max(PTS,ld(0)));st(0,ld(1)+S);ld(1)'"
_NO_CLOCK = "asetpts=N/SR/TB"
_RESAMPLE = f"aresample={SAMPLE_RATE}:async=1"


@dataclass(frozen=True)
class DecodedAudio:
    """The spool's contents: interleaved 16 kHz signed 16-bit little-endian samples."""

    channels: int
    frames: int
    flags: list[str]
    gain_db: float = 0.0  # gain applied to keep samples below full scale


def decode(
    source: Path,
    found: Probe,
    spool: IO[bytes],
    *,
    channels: Literal["mix", "split"],
    max_duration: float,
    scratch: Path | None = None,
) -> DecodedAudio:
    """Decode the audio stream of ``found`` into ``spool``; if it starts late, silence comes first.

    ``mix`` keeps one or two channels (two are compared before they are mixed) and lets ffmpeg mix more down to one;
    ``split`` keeps up to 8. Float samples over full scale are scaled instead of clipped, which needs a file in
    ``scratch``.

    Raises `RecordingError`: TOO_MANY_CHANNELS, SAMPLE_RATE_UNUSABLE, TOO_LONG (even if the headers are wrong),
    EXPANDS_TOO_MUCH, DECODE_TIMEOUT, DECODE_MEMORY, UNSUPPORTED_CODEC, INPUT_CORRUPT when nothing can be decoded.
    `TransientError`: OUT_OF_MEMORY.
    """
    _check(found, get_settings().audio.max_channels)
    if channels == "split" and found.channels > MAX_SPLIT:
        message = f"The recording has {found.channels} channels; at most {MAX_SPLIT} can be split."
        raise RecordingError(ErrorCode.TOO_MANY_CHANNELS, message)
    keep = found.channels if channels == "split" or found.channels <= 2 else 1
    try:
        reports = _fill(source, found, keep, spool, max_duration)
        scale = Scale()
    except _OverFullScale:
        spool.seek(0)
        spool.truncate()
        with tempfile.TemporaryFile(dir=scratch) as floats:
            reports = _fill(source, found, keep, floats, max_duration, floating=True)
            scale = scale_samples(floats, spool, WINDOW * keep)
    frames = spool.tell() // (_SAMPLE_BYTES * keep)
    flags = _flags(found, frames / SAMPLE_RATE, reports)
    if scale.garbage and DECODE_ERRORS not in flags:
        flags.append(DECODE_ERRORS)
    if scale.gain_db < _ODD_GAIN and HEADER_MISMATCH not in flags:
        flags.append(HEADER_MISMATCH)
    return DecodedAudio(keep, frames, flags, scale.gain_db)


class _OverFullScale(Exception):
    """Samples reach full scale in 16 bits, and the original floats may exceed it."""


def _fill(
    source: Path, found: Probe, keep: int, spool: IO[bytes], max_duration: float, *, floating: bool = False
) -> list[ffmpeg.Report]:
    """Decode all parts into ``spool``, as 16-bit samples or ``floating`` (32-bit). Raises as `decode` does."""
    width = 4 if floating else _SAMPLE_BYTES
    second = SAMPLE_RATE * width * keep
    bounds = get_settings().audio
    stored = source.stat().st_size
    most = max(_ALWAYS_SECONDS * second, stored * bounds.max_ratio * width // _SAMPLE_BYTES)

    def write(piece: bytes | memoryview) -> None:
        if spool.tell() + len(piece) > max_duration * second:
            raise RecordingError(ErrorCode.TOO_LONG, f"The recording is longer than {max_duration:g} s.")
        if spool.tell() + len(piece) > most:
            message = f"The file's {stored:,} bytes decode to more than {most:,.0f} bytes."
            raise RecordingError(ErrorCode.EXPANDS_TOO_MUCH, message)
        spool.write(piece)

    may_exceed = found.floating or any(part.samples and part.samples[0] == "f" for part in found.parts)

    def take(piece: bytes) -> None:
        write(piece)
        if may_exceed and not floating and touches_full_scale(piece, odd=spool.tell() % 2):
            raise _OverFullScale

    silence = round(found.start * SAMPLE_RATE) * keep * width
    while silence > spool.tell():
        write(memoryview(_SILENCE)[: silence - spool.tell()])
    reports = []
    try:
        for part in found.parts or (None,):
            with source.open("rb") as file:
                report = ffmpeg.run(
                    file,
                    _arguments(found, part, keep, "f32le" if floating else "s16le"),
                    # In proportion to the audio decoded so far, because headers may be wrong.
                    seconds=lambda: bounds.decode_timeout + spool.tell() / second / 10,
                    most_seconds=bounds.decode_timeout + max_duration / 10,
                    memory=bounds.decode_memory,
                    take=take,
                )
            reports.append(report)
            if rest := spool.tell() % (width * keep):  # the last sample is incomplete
                spool.seek(-rest, os.SEEK_CUR)
                spool.truncate()
    except TimeoutError as error:
        raise RecordingError(
            ErrorCode.DECODE_TIMEOUT, f"Decoding timed out after {spool.tell() / second:.0f} s of audio."
        ) from error
    for report in reports:
        _raise_for(report, found, empty=spool.tell() == silence)
    return reports


def _raise_for(report: ffmpeg.Report, found: Probe, *, empty: bool) -> None:
    """Raise an error if the run decoded nothing or ran out of memory. Damaged parts alone are not an error."""
    if report.code == -signal.SIGKILL:  # sent by the kernel or another memory guard, not by Stenopool
        raise OutOfMemory("The decoder was killed.", remedy="Give the machine more memory.")
    short_of_memory = any(words in report.messages for words in _NO_MEMORY)
    if short_of_memory and (report.code or empty):
        message = f"Decoding needs more than {get_settings().audio.decode_memory:,} bytes of memory."
        raise RecordingError(ErrorCode.DECODE_MEMORY, message)
    if empty:
        if "no decoder found" in report.messages:
            raise RecordingError(ErrorCode.UNSUPPORTED_CODEC, f"FFmpeg has no decoder for {found.codec}.")
        if report.code or (found.duration or 0.0) > 0.1:
            *_, last = ["it contains no audio", *report.messages.strip().splitlines()]
            reason = last.rpartition("] ")[2].rstrip(".")
            raise RecordingError(ErrorCode.INPUT_CORRUPT, f"The file cannot be decoded: {sandbox.printable(reason)}.")


def _check(found: Probe, max_channels: int) -> None:
    """Refuse headers that no recorder writes, which are wrong or would make ffmpeg allocate huge buffers."""
    if found.channels > max_channels:
        message = f"The recording has {found.channels} channels; at most {max_channels} are allowed."
        remedy = "Mix them down, or raise STENOPOOL_AUDIO__MAX_CHANNELS."
        raise RecordingError(ErrorCode.TOO_MANY_CHANNELS, message, remedy=remedy)
    if not _LEAST_RATE <= found.sample_rate <= _MOST_RATE:
        message = f"The sample rate is {found.sample_rate:,} Hz; {_LEAST_RATE:,} to {_MOST_RATE:,} Hz are allowed."
        raise RecordingError(ErrorCode.SAMPLE_RATE_UNUSABLE, message)


def _arguments(found: Probe, part: Part | None, keep: int, out: str) -> list[str]:
    options, form = dict(INPUT_OPTIONS), []
    if part and part.samples:
        options["format_whitelist"] = part.samples
        form = ["-f", part.samples, "-sample_rate", str(part.sample_rate), "-ch_layout", f"{part.channels}c"]
    elif part and part.to_its_end and found.container == "wav":
        form = ["-ignore_length", "1"]
    elif found.contradictory and found.container.startswith("mov"):
        form = ["-ignore_editlist", "1"]  # the edit list may be the part that is wrong
    if found.codec in ("tta", "flac"):  # their checksums reveal damage and wrong seek tables
        form += ["-err_detect", "crccheck"]
    source = ffmpeg.stretch(part.start, part.end) if part else ffmpeg.INPUT
    filters = ",".join((_CLOCK if found.clock else _NO_CLOCK, _mapping(found, part, keep), _RESAMPLE))
    bounds = [word for name, value in options.items() for word in (f"-{name}", value)]
    what = ["-threads", "1", *form, *source, "-map", f"0:a:{found.stream}"]
    return [*bounds, *what, "-filter_threads", "1", "-af", filters, "-f", out, "pipe:1"]


def _mapping(found: Probe, part: Part | None, keep: int) -> str:
    """The filter that maps the file's channels, or those of one of joined files, to ``keep``."""
    there = part.channels if part and part.samples else found.channels
    if keep == there == 1:
        return "aformat=channel_layouts=mono"  # also mixes both sides of a stereo file among joined files
    if keep == there:
        # By index: a decoder that changes its channel count midway must not change the spool's shape.
        return f"pan={keep}c|" + "|".join(f"c{n}=c{n}" for n in range(keep))
    if keep > 1:
        return f"pan={keep}c|" + "|".join(f"c{n}=c{n % there}" for n in range(keep))
    if found.layout and there <= MAX_SPLIT:
        return "aformat=channel_layouts=mono"  # by speaker position: with the centre, without the subwoofer
    return "pan=1c|c0=" + "+".join(f"{1 / there:.6f}*c{n}" for n in range(there))


def _flags(found: Probe, duration: float, reports: list[ffmpeg.Report]) -> list[str]:
    promised = found.start + (found.duration or 0.0)
    cut = promised - duration > max(0.5, 0.02 * promised)
    cut = cut or any(report.code != 0 or any(words in report.messages for words in _CUT) for report in reports)
    damaged = any("[error]" in report.messages or "[fatal]" in report.messages for report in reports)
    mismatch = found.contradictory
    if found.payload and not cut and not damaged:
        packets, read = sum(report.packets for report in reports), sum(report.packet_bytes for report in reports)
        unread = found.payload - read - packets * found.packet_overhead
        mismatch |= unread > max(_LEAST_UNREAD, _UNREAD * found.payload)
    flags = {TRUNCATED: cut, DECODE_ERRORS: damaged, HEADER_MISMATCH: mismatch}
    return [flag for flag, given in flags.items() if given]
