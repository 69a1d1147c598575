"""Read a file's headers with PyAV, in a process that `launcher` confines for this one file.

libav has crashed and hung on hostile files; here that harms no other process and no other file. Without imports from
Stenopool it starts fast.
"""

import json
import os
import resource
import struct
from typing import Any

import av
import av.logging
from av.stream import Disposition

FILE = 0  # the descriptor of the file to read
# Sizes of "unknown length" in the WAV header of a pipe: 0xFFFFFFFF (FFmpeg), 0x7FFFF... (SoX), 0.
WAV_UNKNOWN = 0x7FFF_0000
# libav's message on a QuickTime track whose samples are in another file.
EXTERNAL = "external track"
# Beginnings of files that refer to others: M3U and HLS, FFmpeg's scripts, PLS, SDP, ASX; marks of DASH, SMIL and IMF.
LISTS = (b"#extm3u", b"ffconcat", b"[playlist]", b"v=0\r\n", b"v=0\n", b"[reference]", b"<asx")
MARKS = (b"<mpd", b"<smil", b"<assetmap", b"<compositionplaylist", b"<playlist")


def answer(options: dict[str, str]) -> dict[str, Any]:
    """The fields of `stenopool.speech.audio.probe.Probe`, or ``error`` (a code) and ``message``."""
    with av.logging.Capture(local=True) as logs:
        try:
            container = av.open("fd:", options=options | {"fd": str(FILE)}, metadata_errors="replace")
        except (av.FFmpegError, ValueError) as error:
            return refusal(error, options, [text for _, _, text in logs])
        with container:
            if any(EXTERNAL in text for _, _, text in logs):
                return {"error": "EXTERNAL_REFERENCE", "message": "Its sound lies in another file, which it names."}
            estimated = any("Estimating duration" in text for _, _, text in logs)
            return describe(container, estimated)


def refusal(error: Exception, options: dict[str, str], messages: list[str]) -> dict[str, Any]:
    """Why the file could not be opened: damaged if a demuxer recognized it, else not audio."""
    if any("max_streams" in text for text in messages):
        return {"error": "TOO_MANY_STREAMS", "message": f"It has more than {options['max_streams']} streams."}
    if isinstance(error, MemoryError):
        memory, _ = resource.getrlimit(resource.RLIMIT_AS)
        return {"error": "DECODE_MEMORY", "message": f"Its headers ask for more than {memory:,} bytes of memory."}
    start = read_at(0, 4096).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith(LISTS) or any(mark in start for mark in MARKS):
        return {"error": "EXTERNAL_REFERENCE", "message": "It is a list of other files, not a recording."}
    known = bool(messages) and not any("low score" in text or "whitelist" in text for text in messages)
    reason = messages[-1].strip() if known else getattr(error, "strerror", None) or "unknown format"
    return {"error": "INPUT_CORRUPT" if known else "NOT_AUDIO", "message": f"It cannot be opened: {reason}."}


def describe(container: Any, estimated: bool) -> dict[str, Any]:
    """Describe the audio stream that a player would play."""
    streams = container.streams.audio
    if not streams:
        kinds = sorted({f"{stream.type} only" for stream in container.streams})
        return {"error": "NO_AUDIO_STREAM", "message": f"It holds {' and '.join(kinds) or 'no streams'}."}
    usable = [stream for stream in streams if stream.codec_context is not None]
    if not usable:
        return {"error": "UNSUPPORTED_CODEC", "message": "Its audio is in a codec that FFmpeg cannot decode."}
    stream = next((each for each in usable if each.disposition & Disposition.default), usable[0])
    first, base = container.start_time, stream.time_base
    late = float(stream.start_time * base) - first / av.time_base if stream.start_time and first is not None else 0.0
    return {
        "container": container.format.name,
        "codec": stream.codec_context.codec.canonical_name,
        "stream": streams.index(stream),
        "sample_rate": stream.sample_rate,
        "channels": stream.channels or 1,
        # libav calls an unknown layout "3 channels"
        "layout": None if stream.layout.name.endswith(" channels") else stream.layout.name,
        "start": max(0.0, late),
        "duration": read_duration(container, stream, late, estimated),
    }


def read_duration(container: Any, stream: Any, late: float, estimated: bool) -> float | None:
    """Seconds of audio according to the headers, None if unknown."""
    if container.format.name == "wav":  # libav trusts the file's size more than the header
        return wav_seconds()
    if estimated:  # from the bit rate: far off for variable rates
        return None
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if "DURATION" in stream.metadata:  # Matroska: 00:00:11.008000000, where the stream ends
        try:
            hours, minutes, seconds = stream.metadata["DURATION"].split(":")
            return max(0.0, int(hours) * 3600 + int(minutes) * 60 + float(seconds) - late)
        except ValueError:
            return None
    # The container's duration is that of its longest stream, which may be another.
    alone = len(container.streams) == 1
    return container.duration / av.time_base if container.duration and alone else None


def wav_seconds() -> float | None:
    """Length according to the sizes in a WAV header."""
    rate, at = 0, 12
    if read_at(0, 12)[:4] != b"RIFF":
        return None  # RF64 and similar formats keep sizes elsewhere
    while len(head := read_at(at, 8)) == 8:
        name, size = struct.unpack("<4sI", head)
        if name == b"data":
            return size / rate if rate and 0 < size < WAV_UNKNOWN else None
        if name == b"fmt " and len(wave_format := read_at(at + 8, 12)) == 12:
            (rate,) = struct.unpack("<8xI", wave_format)
        at += 8 + size + size % 2
    return None


def read_at(position: int, size: int) -> bytes:
    """Bytes of the file, fewer at its end. libav shares its position, so that stays as it is."""
    return os.pread(FILE, size, position)


def main(options: dict[str, str]) -> None:
    """Write the answer to standard output, as a line of JSON. ``options`` are libav's."""
    av.logging.set_level(av.logging.WARNING)
    os.write(1, json.dumps(answer(options)).encode() + b"\n")


def warm_up() -> None:
    """Read a short WAV made here, so that processes forked later find loaded what libav loads with its first file."""
    header = (b"RIFF", 100, b"WAVE", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16, b"data", 64)
    file = os.memfd_create("warm-up")
    os.write(file, struct.pack("<4sI4s4sIHHIIHH4sI", *header) + bytes(64))
    os.lseek(file, 0, os.SEEK_SET)
    os.dup2(file, FILE)
    os.close(file)
    answer({"protocol_whitelist": "fd", "max_streams": "1"})
