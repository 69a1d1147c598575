"""The child that reads headers with PyAV: a question per line on stdin, a JSON answer per line on stdout.

A program, not a module: `probe` starts it by its path, with libav's options as JSON, and kills it if it hangs. libav
has crashed and hung on hostile files; here that harms no other process. Without imports from Stenopool it starts in
0.15 s.
"""

import json
import os
import resource
import struct
import sys
from pathlib import Path
from typing import Any

import av
import av.logging
from av.stream import Disposition

OPTIONS: dict[str, str] = {}  # libav's, from the command line
MEMORY = 2 * 1024**3
LIMITS = {resource.RLIMIT_AS: MEMORY, resource.RLIMIT_NOFILE: 64, resource.RLIMIT_FSIZE: 0, resource.RLIMIT_CORE: 0}
# Sizes of "unknown length" in the WAV header of a pipe: 0xFFFFFFFF (FFmpeg), 0x7FFFF... (SoX), 0.
WAV_UNKNOWN = 0x7FFF_0000
# libav's message on a QuickTime track whose samples are in another file.
EXTERNAL = "external track"
# Beginnings of files that refer to others: M3U and HLS, FFmpeg's scripts, PLS, SDP, ASX; marks of DASH, SMIL and IMF.
LISTS = (b"#extm3u", b"ffconcat", b"[playlist]", b"v=0\r\n", b"v=0\n", b"[reference]", b"<asx")
MARKS = (b"<mpd", b"<smil", b"<assetmap", b"<compositionplaylist", b"<playlist")


def answer(path: str) -> dict[str, Any]:
    """The fields of `stenopool.speech.audio.probe.Probe`, or ``error`` (a code) and ``message``."""
    with av.logging.Capture(local=True) as logs:
        try:
            # Opened here: libav may only use an open file, so it opens nothing by name.
            file = os.open(path, os.O_RDONLY)
        except OSError as error:
            return {"error": "INPUT_CORRUPT", "message": f"It cannot be read: {error.strerror}."}
        try:
            container = av.open("fd:", options=OPTIONS | {"fd": str(file)}, metadata_errors="replace")
        except (av.FFmpegError, ValueError) as error:
            return refusal(error, path, [text for _, _, text in logs])
        finally:
            os.close(file)  # libav has a copy of its own
        with container:
            if any(EXTERNAL in text for _, _, text in logs):
                return {"error": "EXTERNAL_REFERENCE", "message": "Its sound lies in another file, which it names."}
            estimated = any("Estimating duration" in text for _, _, text in logs)
            return describe(container, path, estimated)


def refusal(error: Exception, path: str, messages: list[str]) -> dict[str, Any]:
    """Why the file could not be opened: damaged if a demuxer recognized it, else not audio."""
    if any("max_streams" in text for text in messages):
        return {"error": "TOO_MANY_STREAMS", "message": f"It has more than {OPTIONS['max_streams']} streams."}
    if isinstance(error, MemoryError):
        return {"error": "DECODE_MEMORY", "message": f"Its headers ask for more than {MEMORY:,} bytes of memory."}
    with Path(path).open("rb") as file:
        start = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith(LISTS) or any(mark in start for mark in MARKS):
        return {"error": "EXTERNAL_REFERENCE", "message": "It is a list of other files, not a recording."}
    known = bool(messages) and not any("low score" in text or "whitelist" in text for text in messages)
    reason = messages[-1].strip() if known else getattr(error, "strerror", None) or "unknown format"
    return {"error": "INPUT_CORRUPT" if known else "NOT_AUDIO", "message": f"It cannot be opened: {reason}."}


def describe(container: Any, path: str, estimated: bool) -> dict[str, Any]:
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
        "duration": read_duration(container, stream, path, late, estimated),
    }


def read_duration(container: Any, stream: Any, path: str, late: float, estimated: bool) -> float | None:
    """Seconds of audio according to the headers, None if unknown."""
    if container.format.name == "wav":  # libav trusts the file's size more than the header
        return wav_seconds(path)
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


def wav_seconds(path: str) -> float | None:
    """Length according to the sizes in a WAV header."""
    rate = 0
    with Path(path).open("rb") as file:
        if file.read(12)[:4] != b"RIFF":
            return None  # RF64 and similar formats keep sizes elsewhere
        while len(head := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", head)
            if name == b"data":
                return size / rate if rate and 0 < size < WAV_UNKNOWN else None
            body = file.tell()
            if name == b"fmt " and len(wave_format := file.read(12)) == 12:
                (rate,) = struct.unpack("<8xI", wave_format)
            file.seek(body + size + size % 2)
    return None


def main() -> None:
    """Answer until stdin closes."""
    OPTIONS.update(json.loads(sys.argv[1]))
    av.logging.set_level(av.logging.WARNING)
    for limit, most in LIMITS.items():
        resource.setrlimit(limit, (most, most))
    for line in sys.stdin:
        question = json.loads(line)
        # CPU time counts over the life of a process: raise the limit with each question.
        usage = resource.getrusage(resource.RUSAGE_SELF)
        cpu = int(usage.ru_utime + usage.ru_stime + question["seconds"]) + 2
        resource.setrlimit(resource.RLIMIT_CPU, (cpu, resource.RLIM_INFINITY))
        sys.stdout.write(json.dumps(answer(question["path"])) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
