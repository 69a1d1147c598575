"""Read the boxes of an MP4 file: how much media it has, and whether its edit lists agree with the tracks.

It runs in the prober, and imports nothing from Stenopool but `samples`.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from stenopool.speech.audio.samples import Read

_PRIMING = 0.5  # seconds; the samples that an encoder adds at the start, and an edit removes, are shorter
_MOST_BOXES, _MOST_TRACKS, _MOST_EDITS = 100_000, 64, 1000


class Movie(NamedTuple):
    """Facts from the boxes of a file."""

    media: int | None  # bytes of media that a player would play; None if edits remove some
    contradictory: bool  # the edits have another duration than their track
    end: int  # end of this file, or start of another one in it


def read_movie(read: Read, at: int, size: int) -> Movie:
    """Walk the boxes of the file at ``at``."""
    end, media, movie = size, 0, None
    for box in _boxes(read, at, size):
        if box.name == b"ftyp" and box.begin != at + 8 and movie:
            end = box.begin - 8
            break
        if box.name == b"mdat":
            media += min(box.end, size) - box.begin
        elif box.name == b"moov":
            movie = movie or box
    if not movie:
        return Movie(media or None, contradictory=False, end=end)
    inside = list(_inside(read, movie))
    edits = [_edits(read, box) for box in inside if box.name == b"trak"][:_MOST_TRACKS]
    fragments = any(box.name == b"mvex" for box in inside)  # their tracks have no duration
    cut = any(edit is not None for edit in edits)
    return Movie(None if cut else media or None, any(edit is False for edit in edits) and not fragments, end)


class _Box(NamedTuple):
    name: bytes
    begin: int
    end: int


def _boxes(read: Read, at: int, end: int) -> Iterator[_Box]:
    for _ in range(_MOST_BOXES):
        head = read(at, 16)
        if at + 8 > end or len(head) < 8:
            return
        size, name = struct.unpack(">I4s", head[:8])
        begin = at + 8
        if size == 1 and len(head) == 16:
            (size,), begin = struct.unpack(">Q", head[8:]), at + 16
        stop = end if size == 0 else at + size
        if stop < begin:
            return
        yield _Box(name, begin, stop)
        at = stop


def _edits(read: Read, track: _Box) -> bool | None:
    """Whether a track's edits have the duration that the track declares; None if they remove nothing."""
    inner = {box.name: box for outer in (track, *_named(read, track, b"edts", b"mdia")) for box in _inside(read, outer)}
    if not {b"tkhd", b"elst", b"mdhd"} <= inner.keys():
        return None

    def number(name: bytes, at: int, at_if_wide: int, *, grows: bool = True) -> int:
        begin = inner[name].begin
        wide = read(begin, 1) == b"\1"
        return int.from_bytes(read(begin + (at_if_wide if wide else at), 8 if wide and grows else 4), "big")

    duration, scale = number(b"tkhd", 20, 28), number(b"mdhd", 12, 20, grows=False)
    entry = ">QqI" if read(inner[b"elst"].begin, 1) == b"\1" else ">IiI"
    length = struct.calcsize(entry)
    table = read(inner[b"elst"].begin + 8, length * min(number(b"elst", 4, 4, grows=False), _MOST_EDITS))
    edits = list(struct.iter_unpack(entry, table[: len(table) // length * length]))
    if not edits or not scale:
        return None
    total = sum(lasts for lasts, _, _ in edits)
    if total and abs(total - duration) > 0.02 * max(total, duration):
        return False
    starts = [start / scale for _, start, _ in edits if start >= 0]
    return True if len(starts) > 1 or any(start > _PRIMING for start in starts) else None


def _named(read: Read, box: _Box, *names: bytes) -> list[_Box]:
    return [inner for inner in _inside(read, box) if inner.name in names]


def _inside(read: Read, box: _Box) -> Iterator[_Box]:
    return _boxes(read, box.begin, box.end)
