"""Read a file's headers with PyAV, in a process that `launcher` confines for this one file.

libav has crashed and hung on hostile files; here, that affects no other process and no other file. It starts fast,
because it imports only `formats` and `sniffing` from Stenopool.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import re
import resource
import struct
from typing import Any

import av
import av.logging
from av.stream import Disposition

from stenopool.speech.audio.formats import USUAL_RATES, FilePart, Survey, survey
from stenopool.speech.audio.sniffing import HEAD, find_refusal

FILE = 0  # the descriptor of the file to read
UNKNOWN = "unknown"  # the codec of a track that FFmpeg cannot decode
LONGEST_TITLE, LONGEST_TAG = 100, 20  # characters: a file may have 128 tracks, and the answer is limited
STOCK_NAME = re.compile("handler|core media|gpac|bento|iso media|mainconcept|apple|audio media", re.IGNORECASE)
# libav's message about a QuickTime track whose samples are in another file.
EXTERNAL = "external track"
REFUSALS = {
    "EXTERNAL_REFERENCE": "The file is a list of other files, not a recording.",
    "NOT_AUDIO": "The file is a document, a picture, an archive or a program.",
}
_MOST_TRIED = 4  # maximum number of joined files to try
_PACKETS, _LEAST_PACKETS = 40, 3  # packets to read to detect a wrong clock
_OTHERS = 32 * 1024**2  # bytes of other streams to read meanwhile
_CLOCK_TOLERANCE = 1.04
_WITH_RATES = (
    "flac",
    "ogg",
    "tta",
    "wv",
    "matroska,webm",
    "mov,mp4,m4a,3gp,3g2,mj2",
)  # containers for any sample rate, which is in one field
_OPUS_SKIP, _OPUS_GAIN = 12_000, 20 * 256  # a quarter of a second; 20 dB
# Bytes that a container adds to each packet. Others have whole tables between packets.
OVERHEADS = {
    **{"mp3": 0, "flac": 0, "aac": 0, "ac3": 0, "eac3": 0, "amr": 1, "tta": 0, "wv": 0},
    **{"ogg": 3, "matroska,webm": 12, "avi": 28, "flv": 20},
}


def answer(options: dict[str, str]) -> dict[str, Any]:
    """Return the fields of `stenopool.speech.audio.probe.Probe`, or ``error`` (a code) and ``message``."""
    size = os.fstat(FILE).st_size
    if size and (code := find_refusal(read_at(0, HEAD))):
        return {"error": code, "message": REFUSALS[code]}
    surveyed = survey(read_at, size)
    parts = surveyed.parts or [FilePart(0, size)]
    found: dict[str, Any] = {}
    # The first of joined files may have no samples.
    for part in parts[:_MOST_TRIED]:
        found = describe_samples(part, surveyed) if part.form else open_part(part, size, options, surveyed)
        if "error" not in found:
            break
    return found if "error" in found else {**found, "parts": [describe_part(part) for part in surveyed.parts]}


def open_part(part: FilePart, size: int, options: dict[str, str], surveyed: Survey) -> dict[str, Any]:
    """Describe or refuse a part with headers, which may be the whole file."""
    url = "fd:" if (part.start, part.end) == (0, size) else f"subfile,,start,{part.start},end,{part.end},,:fd:"
    with av.logging.Capture(local=True) as logs:
        try:
            container = av.open(url, options=options | {"fd": str(FILE)}, metadata_errors="replace")
        except (av.FFmpegError, ValueError) as error:
            return refusal(error, options, [text for _, _, text in logs])
        with container:
            if any(EXTERNAL in text for _, _, text in logs):
                return {"error": "EXTERNAL_REFERENCE", "message": "The audio is in another file."}
            estimated = any("Estimating duration" in text for _, _, text in logs)
            return describe(container, estimated, surveyed)


def describe_part(part: FilePart) -> dict[str, Any]:
    """The fields of `stenopool.speech.audio.probe.Part`."""
    form = part.form
    return {
        "start": part.start,
        "end": part.end,
        "samples": form.name if form else None,
        "sample_rate": form.sample_rate if form else 0,
        "channels": form.channels if form else 1,
        "to_its_end": part.to_its_end,
    }


def describe_samples(part: FilePart, surveyed: Survey) -> dict[str, Any]:
    """Describe a part without headers."""
    form = part.form
    assert form is not None  # noqa: S101 (for mypy)
    return {
        "container": surveyed.container,
        "codec": f"pcm_{form.name}",
        "stream": 0,
        "sample_rate": form.sample_rate,
        "channels": form.channels,
        "layout": None,
        "start": 0.0,
        "duration": surveyed.promised,
        "floating": form.name[0] == "f",
        "contradictory": surveyed.contradictory,
    }


def refusal(error: Exception, options: dict[str, str], messages: list[str]) -> dict[str, Any]:
    """Why the file could not be opened: INPUT_CORRUPT if a demuxer recognized it, else NOT_AUDIO."""
    if any("max_streams" in text for text in messages):
        return {"error": "TOO_MANY_STREAMS", "message": f"The file has more than {options['max_streams']} streams."}
    if isinstance(error, MemoryError):
        memory, _ = resource.getrlimit(resource.RLIMIT_AS)
        return {"error": "DECODE_MEMORY", "message": f"Reading the headers needs more than {memory:,} bytes of memory."}
    known = bool(messages) and not any("low score" in text or "whitelist" in text for text in messages)
    reason = messages[-1].strip() if known else getattr(error, "strerror", None) or "unknown format"
    return {"error": "INPUT_CORRUPT" if known else "NOT_AUDIO", "message": f"The file cannot be opened: {reason}."}


def describe(container: Any, estimated: bool, surveyed: Survey) -> dict[str, Any]:
    """Describe all audio tracks, and the one that a player would play: the default track, else the first."""
    streams = container.streams.audio
    if not streams:
        kinds = sorted({f"{stream.type} only" for stream in container.streams})
        return {"error": "NO_AUDIO_STREAM", "message": f"The file contains {' and '.join(kinds) or 'no streams'}."}
    packets = read_packets(container, streams)
    tracks = [describe_track(container, stream, packets[stream.index], estimated, surveyed) for stream in streams]
    usable = [track for track in tracks if track["codec"] != UNKNOWN]
    if not usable:
        return {"error": "UNSUPPORTED_CODEC", "message": "FFmpeg cannot decode the codec of the audio."}
    played = next((track for track in usable if "default" in track["roles"]), usable[0])
    return {
        "container": container.format.name,
        **played,
        "payload": read_payload(container, surveyed, packets[streams[played["stream"]].index].first),
        "packet_overhead": OVERHEADS.get(container.format.name, 0),
        "all_tracks": tracks,
    }


def describe_track(
    container: Any, stream: Any, packets: "Packets", estimated: bool, surveyed: Survey
) -> dict[str, Any]:
    """The fields of `stenopool.speech.audio.probe.Track`."""
    marks = {
        "stream": container.streams.audio.index(stream),
        "language": (stream.language or "")[:LONGEST_TAG] or None,
        "title": read_title(stream.metadata),
        "roles": [role.name for role in Disposition if role and stream.disposition & role],
    }
    if stream.codec_context is None:
        nothing = {"sample_rate": 0, "channels": 1, "layout": None, "start": 0.0, "duration": None}
        return {**marks, "codec": UNKNOWN, **nothing}
    first, base = container.start_time, stream.time_base
    late = float(stream.start_time * base) - first / av.time_base if stream.start_time and first is not None else 0.0
    duration = None if len(surveyed.parts) > 1 else read_duration(container, stream, late, estimated, surveyed)
    return {
        **marks,
        "codec": stream.codec_context.codec.canonical_name,
        "sample_rate": stream.sample_rate,
        "channels": stream.channels or 1,
        # libav calls an unknown layout "3 channels"
        "layout": None if stream.layout.name.endswith(" channels") else stream.layout.name,
        "start": max(0.0, late) if packets.clock else 0.0,
        "duration": duration if packets.clock else None,
        "floating": stream.format is not None and stream.format.name.startswith(("flt", "dbl")),
        "contradictory": surveyed.contradictory or not packets.clock or is_doubtful(container, stream),
        "clock": packets.clock,
    }


@dataclasses.dataclass
class Packets:
    """Facts from a track's first packets."""

    first: int | None = None  # position of the first packet
    times: list[float] = dataclasses.field(default_factory=list)
    lengths: list[float] = dataclasses.field(default_factory=list)

    @property
    def clock(self) -> bool:
        """Whether packet times agree with the audio in the packets."""
        steps = sorted(later - earlier for earlier, later in itertools.pairwise(self.times) if later > earlier)
        if min(len(steps), len(self.lengths)) < _LEAST_PACKETS:
            return True
        lengths = sorted(self.lengths)
        # At several points of the distribution, because packets may differ in length, and missing ones cause jumps.
        ratios = [steps[len(steps) * n // 10] / lengths[len(lengths) * n // 10] for n in (1, 3, 5)]
        return not (min(ratios) > _CLOCK_TOLERANCE or max(ratios) < 1 / _CLOCK_TOLERANCE)


def read_packets(container: Any, streams: Any) -> dict[int, Packets]:
    """Decode the first packets of these streams in one pass. The keys are the streams' indexes in the file."""
    found = {stream.index: Packets() for stream in streams}
    missing, others = {stream.index for stream in streams if stream.codec_context is not None}, 0
    with contextlib.suppress(av.FFmpegError):
        for packet in container.demux():
            if packet.stream.index not in missing:
                others += packet.size
                if others > _OTHERS:  # a long video before the first audio
                    break
                continue
            track = found[packet.stream.index]
            if track.first is None:
                track.first = packet.pos
            if packet.pts is not None:
                track.times.append(float(packet.pts * packet.time_base))
            with contextlib.suppress(av.FFmpegError, ZeroDivisionError):
                if length := sum(frame.samples / frame.sample_rate for frame in packet.decode()):
                    track.lengths.append(length)
            if len(track.times) > _PACKETS or not packet.size:
                missing.remove(packet.stream.index)
                if not missing:
                    break
    return found


def is_doubtful(container: Any, stream: Any) -> bool:
    """Whether the header of a codec or container has values that no recorder writes, and that would lose audio."""
    if container.format.name == "flac":  # frames are numbered, so a late start means that frames were skipped
        return bool(stream.start_time and stream.start_time * stream.time_base > 0.1)
    head = stream.codec_context.extradata or b""
    if head.startswith(b"OpusHead") and len(head) >= 19:
        skip, _, gain = struct.unpack("<HIh", head[10:18])
        return bool(skip > _OPUS_SKIP or abs(gain) > _OPUS_GAIN)
    return bool(container.format.name in _WITH_RATES and stream.sample_rate not in USUAL_RATES)


def read_payload(container: Any, surveyed: Survey, first: int | None) -> int | None:
    """Bytes of audio in the file, without headers; None if they cannot be determined or the file has other streams."""
    if len(container.streams) > 1 or surveyed.parts:
        return None
    if surveyed.payload is not None or container.format.name.startswith("mov"):
        return surveyed.payload
    if container.format.name not in OVERHEADS or first is None or first < 0:
        return None
    end = os.fstat(FILE).st_size
    if read_at(end - 128, 3) == b"TAG":
        end -= 128
    footer = read_at(end - 32, 32)
    if footer[:8] == b"APETAGEX":
        end -= struct.unpack("<I", footer[12:16])[0] + 32
    return max(0, end - first)


def read_title(metadata: dict[str, str]) -> str | None:
    """A track's title. MP4 files may store it as the handler's name, for which most writers use a stock phrase."""
    handler = metadata.get("handler_name", "")
    title = metadata.get("title") or metadata.get("name") or ("" if STOCK_NAME.search(handler) else handler)
    return title.strip()[:LONGEST_TITLE] or None


def read_duration(container: Any, stream: Any, late: float, estimated: bool, surveyed: Survey) -> float | None:
    """Seconds of audio according to the headers; None if unknown."""
    if surveyed.promised or container.format.name == "wav":  # libav trusts the file's size more than the header
        return surveyed.promised
    if estimated:  # from the bit rate, which is wrong for variable rates
        return None
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if "DURATION" in stream.metadata:  # Matroska: 00:00:11.008000000, where the stream ends
        try:
            hours, minutes, seconds = stream.metadata["DURATION"].split(":")
            return max(0.0, int(hours) * 3600 + int(minutes) * 60 + float(seconds) - late)
        except ValueError:
            return None
    # The container's duration is that of its longest stream, which may be another one.
    alone = len(container.streams) == 1
    return container.duration / av.time_base if container.duration and alone else None


def read_at(position: int, size: int) -> bytes:
    """Bytes of the file, fewer at its end. Does not move the file's position, which libav uses."""
    return os.pread(FILE, size, position) if 0 <= position < 2**62 and size > 0 else b""


def main(options: dict[str, str]) -> None:
    """Write the answer to standard output as one line of JSON. ``options`` are libav's."""
    av.logging.set_level(av.logging.WARNING)
    os.write(1, json.dumps(answer(options)).encode() + b"\n")


def warm_up() -> None:
    """Read a short generated WAV, so that processes forked later inherit what libav loads with its first file."""
    header = (b"RIFF", 100, b"WAVE", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16, b"data", 64)
    file = os.memfd_create("warm-up")
    os.write(file, struct.pack("<4sI4s4sIHHIIHH4sI", *header) + bytes(64))
    os.lseek(file, 0, os.SEEK_SET)
    os.dup2(file, FILE)
    os.close(file)
    answer({"protocol_whitelist": "fd", "max_streams": "1"})
