"""Detects documents, pictures, archives, programs and lists of other files by their first bytes.

The API calls it before it stores an upload, and `prober` before it opens a file, so the API refuses nothing that
`stenopool run` accepts. Everything else is left to libav: recordings may start with anything, such as the middle of a
frame. This module imports nothing of Stenopool, so that `prober` starts fast.
"""

from typing import Literal

HEAD = 4096
"""Number of bytes that are checked."""

# Beginnings of files that refer to others: M3U and HLS, FFmpeg's scripts, PLS, SDP, ASX; marks of DASH, SMIL and IMF.
_LISTS = (b"#extm3u", b"ffconcat", b"[playlist]", b"v=0\r\n", b"v=0\n", b"[reference]", b"<asx")
_MARKS = (b"<mpd", b"<smil", b"<assetmap", b"<compositionplaylist", b"<playlist")
_SIGNATURES = (
    b"%PDF-", b"{\\rtf", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",  # documents
    b"\x89PNG\r\n", b"GIF87a", b"GIF89a", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"\0\0\1\0\1\0", b"8BPS",  # pictures
    b"PK\3\4", b"PK\5\6", b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\0", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07",  # archives
    b"\x28\xb5\x2f\xfd", b"\x7fELF", b"MZ\x90\0", b"\xca\xfe\xba\xbe", b"SQLite format 3\0",
)  # fmt: skip
_RIFF_OTHERS = (b"WEBP", b"ACON", b"PAL ")
_CONTROL = frozenset(range(0x20)) - {*b"\t\n\r\f"}
_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")


def find_refusal(head: bytes) -> Literal["EXTERNAL_REFERENCE", "NOT_AUDIO"] | None:
    """Return why a file with ``head`` as its first `HEAD` bytes is not a recording; None if it may be one."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    is_text = _is_text(head)  # a recording may follow a list
    if is_text and (start.startswith(_LISTS) or any(mark in start for mark in _MARKS)):
        return "EXTERNAL_REFERENCE"
    if is_text or head.startswith(_SIGNATURES) or (head[:4] == b"RIFF" and head[8:12] in _RIFF_OTHERS):
        return "NOT_AUDIO"
    return None


def _is_text(head: bytes) -> bool:
    if head.startswith(_BYTE_ORDER_MARKS):  # UTF-16: letters beside zeros
        return head[2::2].count(0) > len(head) // 4 or head[3::2].count(0) > len(head) // 4
    if not head or not _CONTROL.isdisjoint(head):
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3  # the last letter is cut
    return True
