"""Find the samples of a file, and their format, from its bytes, because its headers may be wrong.

Recorders that crash, uploads in parts and files joined with ``cat`` produce headers whose sizes and formats contradict
the file. libav trusts the headers, and loses audio that they do not include. `survey` reads the chunks of WAV (RIFF,
RIFX, RF64, BW64, W64), AIFF, CAF, AU and MP4 itself. If the headers are wrong, it returns the parts to decode instead.

It runs in the prober, confined, and imports little of Stenopool. The file may be hostile, so every loop has a limit.
"""

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from stenopool.speech.audio.movies import read_movie
from stenopool.speech.audio.samples import RAW_FORMATS, ROUGH, Read, SampleFormat, Samples, block_size, forms_of
from stenopool.speech.audio.tags import find_hidden_audio, starts_with_frames

# Sizes that mean "unknown length": 0xFFFFFFFF (FFmpeg, for a pipe), 0x7FFFF... (SoX).
UNKNOWN = 0x7FFF_0000
MOST_PARTS = 64
_MOST_CHUNKS = 1000
_MOST_SCANNED = 256 * 1024**2  # bytes searched for joined files; the prober has a time limit
_BLOCK = 1024**2
_HEADER = 16384  # bytes within which the data of a WAV nearly always begins
_MOST_OFFSET = 4096  # maximum offset of the samples in their AIFF chunk
_LEAST_TAIL = 1024  # minimum number of bytes after the last chunk that are worth decoding
USUAL_RATES = frozenset(
    {
        *(5512, 6000, 7350, 8000, 10000, 11025, 11127, 12000, 12500, 16000, 18900, 20000, 22050, 22254, 22255, 24000),
        *(25000, 32000, 37800, 40000, 44056, 44100, 47250, 47952, 48000, 48048, 50000, 50400, 64000, 88200, 96000),
        *(176400, 192000, 352800, 384000, 705600, 768000, 2822400, 3072000, 5644800, 6144000),
    }
)
# Marks by which joined files are found among samples, and the offset of each from the file's beginning.
_MARKS = {
    **dict.fromkeys((b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM", b"caff\0\1", b"riff\x2e\x91", b".snd\0\0"), 0),
    b"ftyp": 4,
}
# Beginnings that are too short to search for among samples, but can be checked at the end of a file.
_SHORT_MARKS = (b"fLaC\0", b"ID3\2\0", b"ID3\3\0", b"ID3\4\0", b"OggS\0\2", b"\x1aE\xdf\xa3")
_WAVE_SUBFORMAT = b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"  # the rest of a format tag's GUID, after the tag


@dataclass(frozen=True)
class FilePart:
    """A part of the file that is decoded as a separate file: raw samples, or with headers if ``form`` is None."""

    start: int
    end: int
    form: SampleFormat | None = None
    to_its_end: bool = False  # its header gives a size that is too small


@dataclass
class Survey:
    """The result of `survey`."""

    parts: list[FilePart] = field(default_factory=list)
    contradictory: bool = False  # the header contradicts itself or the data
    promised: float | None = None  # seconds according to the header
    payload: int | None = None  # bytes of media, if they can be distinguished from the rest
    container: str = ""  # libav's name
    plain: FilePart | None = None  # uncompressed samples, to decode if the file is one of several joined ones


class _Dialect(NamedTuple):
    """The layout of chunks in a family of formats."""

    head: str  # struct of name and size
    align: int
    inclusive: bool = False  # the size includes the head


_LITTLE, _BIG = _Dialect("<4sI", 2), _Dialect(">4sI", 2)
_W64 = _Dialect("<4s12xQ", 8, inclusive=True)
_CAF = _Dialect(">4sq", 1)
_NAME = re.compile(rb"[A-Za-z0-9_\- .\xa9?()]{4}")


@dataclass
class _Chunks:
    """Iterates over the chunks of a file from ``at``. Afterwards, ``at`` is the position at which they end."""

    read: Read
    dialect: _Dialect
    at: int
    limit: int

    def __iter__(self) -> Iterator[tuple[bytes, int, int]]:
        """Yield the name of each chunk, the position of its contents, and their declared size."""
        length = struct.calcsize(self.dialect.head)
        for _ in range(_MOST_CHUNKS):
            if self.at + length > self.limit or len(head := self.read(self.at, length)) < length:
                return
            name, size = struct.unpack(self.dialect.head, head)
            if not _NAME.fullmatch(name) or _begins_file(self.read(self.at, 40)):
                return
            if self.dialect.inclusive:
                size = max(0, size - length)
            begin = self.at + length
            yield name, begin, size
            if size < 0:  # CAF: the chunk continues to the end of the file
                return
            self.at = self._next(begin + size)

    def _next(self, end: int) -> int:
        """Position of the next chunk. Some writers omit the byte that pads a chunk of odd size."""
        align = self.dialect.align
        padded = end + -end % align
        if padded == end or align != 2 or _NAME.fullmatch(self.read(padded, 4)):
            return padded
        return end if _NAME.fullmatch(self.read(end, 4)) else padded


def survey(read: Read, size: int) -> Survey:
    """Survey a file of ``size`` bytes."""
    found = Survey()
    at = 0
    while at < size and len(found.parts) < MOST_PARTS:
        one, after = _survey_one(read, at, size)
        found.contradictory |= one.contradictory
        if at == 0 and after >= size:
            return one
        found.container = found.container or one.container
        # Drops headers without samples.
        found.parts += [part for part in one.parts or [one.plain or FilePart(at, after)] if part.end > part.start]
        at = after
    if len(found.parts) >= MOST_PARTS:  # an unrealistic number of joined files
        found.parts[-1] = replace(found.parts[-1], end=size)
        found.contradictory = True
    return found


def _survey_one(read: Read, at: int, size: int) -> tuple[Survey, int]:
    """Survey the file that begins at ``at``. Returns also where the next one begins (``size`` if there is none)."""
    head = read(at, 24)
    if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        found, after = _wave(read, at, size, _Chunks(read, _BIG if head[:4] == b"RIFX" else _LITTLE, at + 12, size))
        return replace(found, container="wav"), after
    if head[:4] == b"riff" and head[4:8] == b"\x2e\x91\xcf\x11":
        found, after = _wave(read, at, size, _Chunks(read, _W64, at + 40, size))
        return replace(found, container="w64"), after
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        found, after = _aiff(read, at, size, head[8:12] == b"AIFC")
        return replace(found, container="aiff"), after
    if head[:8] == b"caff\0\1\0\0":
        found, after = _caf(read, at, size)
        return replace(found, container="caf"), after
    if head[:4] == b".snd" and len(head) == 24:
        found, after = _au(read, at, size)
        return replace(found, container="au"), after
    if head[4:8] == b"ftyp":
        movie = read_movie(read, at, size)
        return Survey(contradictory=movie.contradictory, payload=movie.media), movie.end
    if head[:3] == b"ID3" and (audio := find_hidden_audio(read, at, size)):
        return Survey([FilePart(audio, size)], contradictory=True), size
    return Survey(), size


# WAV


class _Wave(NamedTuple):
    """The fields of a `fmt ` chunk."""

    tag: int
    channels: int
    rate: int
    bytes_per_second: int
    block: int
    bits: int


def _wave(read: Read, at: int, size: int, chunks: _Chunks) -> tuple[Survey, int]:
    order = ">" if chunks.dialect is _BIG else "<"
    wave: _Wave | None = None
    data: tuple[int, int] | None = None
    wide: int | None = None  # size of the data according to RF64's ds64 chunk
    late = False  # the data chunk precedes the format chunk
    in_block = 0  # number of samples in a block of a compressed format
    for name, begin, length in chunks:
        if name == b"ds64" and len(sizes := read(begin, 16)) == 16:
            (wide,) = struct.unpack("<8xQ", sizes)
        elif name == b"fmt " and wave is None and len(fields := read(begin, 16)) == 16:
            wave, late = _Wave(*struct.unpack(order + "HHIIHH", fields)), data is not None
            if length >= 20:
                (in_block,) = struct.unpack(order + "2xH", read(begin + 16, 4).ljust(4, b"\0"))
            if wave.tag == 0xFFFE and length >= 40:
                extension = read(begin + 24, 16)
                if extension[2:] == _WAVE_SUBFORMAT:
                    wave = wave._replace(tag=struct.unpack(order + "H", extension[:2])[0])
        elif name == b"data" and data is None:
            if length >= 0xFFFF_FFFF and wide is not None:
                length, wide = wide, None
            data = begin, length
            if not 0 < length < (UNKNOWN if chunks.dialect is not _W64 else 2**62) or begin + length >= size:
                break
    lost = data is None and wave is not None and chunks.dialect is not _W64  # skipped because of a wrong chunk size
    if lost and (mark := read(at, _HEADER).find(b"data", 36)) >= 0:
        data = at + mark + 8, struct.unpack(order + "I", read(at + mark + 4, 4).ljust(4, b"\0"))[0]
        chunks = replace(chunks, at=at + mark)
    if data is None or wave is None or data[0] >= size:
        return Survey(), size
    stale = _extent(read, chunks, data, size)
    if stale.after == data[0]:
        return Survey([FilePart(at, at)]), stale.after
    form, contradictory = _wave_form(wave, Samples(read, data[0], stale.end, order == ">"))
    contradictory |= stale.extends or lost
    promised = data[1] / wave.bytes_per_second if wave.bytes_per_second and not stale.unknown else None
    if form is None:  # compressed: its own demuxer, with the option to read to the end
        parts = [FilePart(at, stale.end, to_its_end=True)] if stale.extends else []
        return Survey(parts, contradictory or not _blocks_agree(wave, in_block), promised), stale.after
    if starts_with_frames(read(data[0], _HEADER)):
        return Survey([FilePart(data[0], stale.end)], contradictory=True), stale.after
    right = form[0] == _pcm_name(wave.tag, wave.bits, order) and not contradictory
    if right:
        promised = promised and data[1] / (form.sample_rate * block_size(form))
    part = FilePart(data[0], stale.end, form)
    whole = stale.unknown or chunks.dialect is _W64  # libav reads these to the end of the file
    padded = chunks.dialect.align != 2 or data[0] % 2 == 0  # libav expects the samples at an even position
    if right and not late and padded and (not whole or stale.after >= size):
        return Survey([], False, promised, plain=part), stale.after
    return Survey([part], contradictory, None if contradictory else promised), stale.after


class _Extent(NamedTuple):
    end: int  # end of the samples
    after: int  # start of another file, or the end of this one
    unknown: bool  # the header gives no size
    extends: bool  # there are more samples than the header says


def _extent(read: Read, chunks: _Chunks, data: tuple[int, int], size: int) -> _Extent:
    """Find the real end of the samples of ``data`` (position and declared size)."""
    begin, length = data
    if _begins_file(read(begin, 40)):  # another file instead of samples
        return _Extent(begin, begin, unknown=False, extends=False)
    unknown = length == 0 or length >= (UNKNOWN if chunks.dialect in (_LITTLE, _BIG) else 2**62)
    if unknown:
        after = _next_file(read, begin, size)
        return _Extent(after, after, unknown=True, extends=False)
    end = begin + length
    if end == size:
        return _Extent(end, size, unknown=False, extends=False)
    if end > size:  # truncated, unless another file begins within the data
        after = _next_file(read, begin, size)
        return _Extent(after, after, unknown=False, extends=False)
    # After the samples: nothing, chunks up to the end, another file, or samples that the header does not include.
    rest = _Chunks(read, chunks.dialect, chunks._next(end), size)
    for _ in rest:
        pass
    if _begins_file(read(end, 40)):
        return _Extent(end, end, unknown=False, extends=False)
    if rest.at < size and _begins_file(read(rest.at, 40)):
        return _Extent(end, rest.at, unknown=False, extends=False)
    tidy = rest.at in range(size - 8, size + 3) or (rest.at < size and not any(read(rest.at, _BLOCK)))
    if tidy or size - end < _LEAST_TAIL:
        return _Extent(end, size, unknown=False, extends=False)
    after = _next_file(read, end, size)
    return _Extent(after, after, unknown=False, extends=True)


def _next_file(read: Read, at: int, size: int) -> int:
    """Position at which another file begins, from ``at`` on; ``size`` if none does."""
    last = min(size, at + _MOST_SCANNED)
    while at < last:
        block = read(at, _BLOCK + 8)
        found = sorted(position for mark, behind in _MARKS.items() for position in _find_all(block, mark, behind))
        if first := next((at + one for one in found if _begins_file(read(at + one, 40))), None):
            return first
        at += _BLOCK
    return size


def _find_all(block: bytes, mark: bytes, behind: int) -> Iterator[int]:
    position = block.find(mark, behind)
    while position >= 0:
        yield position - behind
        position = block.find(mark, position + 1)


def _begins_file(head: bytes) -> bool:
    """Whether these 40 bytes are a complete header, not just a mark, which may occur in samples."""
    if len(head) < 40:
        return False
    if head[8:12] in (b"WAVE", b"AIFF", b"AIFC"):
        return head[:4] in _MARKS and bool(_NAME.fullmatch(head[12:16]))
    if head[4:8] == b"ftyp":
        return struct.unpack(">I", head[:4])[0] in range(12, 512) and bool(_NAME.fullmatch(head[8:12]))
    if head.startswith(b".snd\0\0"):
        return struct.unpack(">I", head[16:20])[0] in USUAL_RATES
    return head.startswith((b"caff\0\1\0\0desc", b"riff\x2e\x91\xcf\x11", *_SHORT_MARKS))


def _pcm_name(tag: int, bits: int, order: str) -> str | None:
    """ffmpeg's name for a WAV format tag with this many bits per sample."""
    end = "be" if order == ">" else "le"
    match tag, bits:
        case 1, 8:
            return "u8"
        case 1, 16 | 24 | 32:
            return f"s{bits}{end}"
        case 3, 32 | 64:
            return f"f{bits}{end}"
        case 6, 8:
            return "alaw"
        case 7, 8:
            return "mulaw"
    return None


def _blocks_agree(wave: _Wave, in_block: int) -> bool:
    """Whether the header fields of a compressed WAV with fixed-length blocks agree."""
    channels, bits = max(1, wave.channels), max(1, wave.bits)
    match wave.tag:
        case 0x2:  # Microsoft ADPCM
            expected = (wave.block // channels - 7) * 2 + 2
        case 0x11:  # IMA ADPCM
            expected = (wave.block // channels - 4) * 8 // bits + 1
        case 0x31:  # GSM
            expected = wave.block * 320 // 65
        case _:
            return True
    speed = wave.rate * wave.block / max(1, in_block)
    return in_block == expected and abs(speed - wave.bytes_per_second) <= 0.02 * speed + 1


def _wave_form(wave: _Wave, samples: Samples) -> tuple[SampleFormat | None, bool]:
    """Return the format of the samples, None if compressed; and whether the header contradicts itself or the samples.

    The header's fields are redundant: the block is channels times bits, the bytes per second are the rate times the
    block. Among the formats that contradict the fewest fields, the one with the smoothest samples wins.
    """
    order = ">" if samples.big else "<"
    if wave.tag == 1:
        wave = wave._replace(bits=(wave.bits + 7) // 8 * 8)  # 20 bits are stored in three bytes
    mistakes = (0, wave.rate, wave.rate * wave.channels, wave.rate * wave.bits)  # common, unless the rate is wrong
    agrees = wave.block == wave.channels * wave.bits // 8 > 0
    if agrees and wave.bytes_per_second in mistakes and wave.bytes_per_second // wave.block not in USUAL_RATES:
        wave = wave._replace(bytes_per_second=wave.rate * wave.block)
    declared = _pcm_name(wave.tag, wave.bits, order)
    forms: list[tuple[int, SampleFormat]] = []
    shapes = {(wave.tag, wave.bits)} | {(1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64), (6, 8), (7, 8)}
    rates = {wave.rate} | ({round(wave.bytes_per_second / wave.block)} if wave.block else set())
    for tag, bits in shapes:
        if not (name := _pcm_name(tag, bits, order)):
            continue
        counts = {wave.channels, wave.block * 8 // bits}
        for channels in counts - {0}:
            block = channels * bits // 8
            for rate in rates | {round(wave.bytes_per_second / block)}:
                said = _Wave(tag, channels, rate, rate * block, block, bits)
                wrong = sum(a != b for a, b in zip(said, wave, strict=True))
                forms.append((wrong, SampleFormat(name, rate, channels)))
    least = min((wrong for wrong, _ in forms), default=9)
    if least == 0:
        form = next(form for wrong, form in forms if wrong == 0)
        return samples.check(form)
    if declared is None and least > 1:
        return None, False
    likely = [form for wrong, form in forms if wrong == least and 1 <= form.channels <= 64 and form.sample_rate]
    if declared and (least > 1 or not likely):
        likely.append(SampleFormat(declared, wave.rate, max(1, wave.channels)))
    if not likely:
        return None, False
    first = SampleFormat(declared, wave.rate, wave.channels) if declared else likely[0]
    likely.sort(
        key=lambda form: (
            *(form.sample_rate not in USUAL_RATES, form != first, form.sample_rate != wave.rate),
            form.name[:3] != "s16",  # two 16-bit samples form a plausible 32-bit sample
        )
    )
    best = samples.best(likely)
    if declared is None and samples.roughness(best) > ROUGH:
        return None, False  # a codec, not samples with a wrong tag
    return best, True


# AIFF, CAF, AU


def _simple(
    read: Read,
    at: int,
    data: tuple[int, int],
    form: SampleFormat | None,
    extent: _Extent,
    *,
    block: int | None = None,
    promised: float | None = None,
    hides: bool = False,
) -> tuple[Survey, int]:
    """Survey a format with few redundant header fields. ``block``: bytes of one sample of all channels.

    ``hides``: the header gives a wrong position for the start of the samples.
    """
    contradictory = extent.extends
    if form is None:
        parts = [FilePart(at, extent.end, to_its_end=True)] if extent.extends else []
        return Survey(parts, contradictory, promised), extent.after
    samples = Samples(read, data[0], extent.end)
    if block and block != block_size(form):
        real, wrong = samples.best(forms_of(block, form)), True
    else:
        real, wrong = samples.check(form)
    if not wrong and not hides and not extent.extends:
        odd = form.sample_rate not in USUAL_RATES
        return Survey([], odd, promised, plain=FilePart(data[0], extent.end, form)), extent.after
    return Survey([FilePart(data[0], extent.end, real)], contradictory=True), extent.after


def _aiff(read: Read, at: int, size: int, compressed: bool) -> tuple[Survey, int]:
    chunks = _Chunks(read, _BIG, at + 12, size)
    form, data, frames, rate, hides = None, None, 0, 0, False
    for name, begin, length in chunks:
        if name == b"COMM" and len(fields := read(begin, 22)) >= 18:
            channels, frames, bits, exponent, mantissa = struct.unpack(">HIHHQ", fields[:18])
            rate = round(math.ldexp(mantissa, (exponent & 0x7FFF) - 16383 - 63)) if exponent & 0x7FFF < 16500 else 0
            kind = fields[18:22] if compressed else b"NONE"
            whole = (bits + 7) // 8 * 8
            known = {b"NONE": f"s{whole}be", b"twos": f"s{whole}be", b"sowt": f"s{whole}le", b"in24": "s24be"}
            known |= {b"in32": "s32be", b"fl32": "f32be", b"FL32": "f32be", b"fl64": "f64be", b"FL64": "f64be"}
            known |= {b"ulaw": "mulaw", b"ULAW": "mulaw", b"alaw": "alaw", b"ALAW": "alaw", b"raw ": "u8"}
            raw = known.get(kind)
            raw = "s8" if raw in ("s8be", "s8le") else raw
            usable = raw in RAW_FORMATS and 1 <= channels <= 64 and rate > 0
            form = SampleFormat(str(raw), rate, channels) if usable else None
        elif name == b"SSND" and data is None:
            (offset,) = struct.unpack(">I", read(begin, 4).ljust(4, b"\0"))
            hides = offset > _MOST_OFFSET or offset >= length  # the offset is for alignment to blocks
            offset = 0 if hides else offset
            data = begin + 8 + offset, max(0, length - 8 - offset)
            if begin + length >= size:
                break
    if data is None or data[0] >= size:
        return Survey(), size
    extent = _extent(read, chunks, data, size)
    promised = frames / rate if rate and form else None
    block = max(1, round(data[1] / frames)) if frames else None
    return _simple(read, at, data, form, extent, block=block, promised=promised, hides=hides)


def _caf(read: Read, at: int, size: int) -> tuple[Survey, int]:
    chunks = _Chunks(read, _CAF, at + 8, size)
    form, data, block = None, None, None
    for name, begin, length in chunks:
        if name == b"desc" and len(fields := read(begin, 32)) == 32:
            rate, kind, flags, block, _, channels, bits = struct.unpack(">d4sIIIII", fields)
            raw = f"{'f' if flags & 1 else 's'}{bits}{'le' if flags & 2 else 'be'}" if kind == b"lpcm" else None
            raw = "s8" if raw in ("s8le", "s8be") else {b"ulaw": "mulaw", b"alaw": "alaw"}.get(kind, raw)
            usable = raw in RAW_FORMATS and 1 <= channels <= 64 and 0 < rate < 2**31
            form = SampleFormat(str(raw), round(rate), channels) if usable else None
        elif name == b"data" and data is None:
            data = begin + 4, length - 4 if length > 0 else 0  # after an edit count
            if length <= 0 or begin + length >= size:
                break
    if data is None or data[0] >= size:
        return Survey(), size
    extent = _extent(read, chunks, data, size)
    return _simple(read, at, data, form, extent, block=block)


def _au(read: Read, at: int, size: int) -> tuple[Survey, int]:
    """Survey AU. Its samples are the rest of the file, so libav reads all of it, whatever the size field says."""
    offset, _, encoding, rate, channels = struct.unpack(">4x5I", read(at, 24))
    names = {1: "mulaw", 2: "s8", 3: "s16be", 4: "s24be", 5: "s32be", 6: "f32be", 7: "f64be", 27: "alaw"}
    note = read(at + 24, min(offset - 24, _BLOCK)) if offset > 24 else b""
    hides = offset < 24 or any(byte > 126 or 0 < byte < 9 for byte in note.rstrip(b"\0")) or offset > 24 + _BLOCK
    start = at + (24 if hides else offset)
    after = _next_file(read, start, size)
    name = names.get(encoding)
    if start >= after or not name or not 1 <= channels <= 64 or not rate:
        return Survey(), after
    extent = _Extent(after, after, unknown=True, extends=False)
    return _simple(read, at, (start, 0), SampleFormat(name, rate, channels), extent, hides=hides)
