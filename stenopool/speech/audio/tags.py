"""Find MPEG audio in unexpected places: inside an ID3 tag with a wrong size, or as the samples of a WAV.

It runs in the prober, and imports nothing from Stenopool but `samples`.
"""

import re

from stenopool.speech.audio.samples import Read

_SEARCHED = 1024**2  # bytes
_FRAMES = 8192  # bytes; three frames are nearly always shorter


def find_hidden_audio(read: Read, at: int, size: int) -> int | None:
    """Position of audio inside the declared size of the tag at ``at``; None if there is none.

    Audio is assumed if the tag's frames are followed by neither padding nor another frame.
    """
    head = read(at, 10)
    if len(head) < 10 or head[3] not in (2, 3, 4):
        return None
    old, synchsafe = head[3] == 2, head[3] == 4
    end = min(at + 10 + _number(head[6:10], bits=7), size)
    position, length = at + 10, 6 if old else 10
    while position + length <= end:
        frame = read(position, length)
        name, body = (frame[:3], frame[3:6]) if old else (frame[:4], frame[4:8])
        if not re.fullmatch(rb"[A-Z0-9 ]{3,4}", name):
            break
        position += length + _number(body, bits=7 if synchsafe else 8)
    padding = position
    while padding < end:
        block = read(padding, 65536)
        zeros = len(block) - len(block.lstrip(b"\0"))
        padding += zeros
        if zeros < len(block) or not block:
            break
    return None if padding >= end else _first_frame(read, min(position, padding), end)


def _number(digits: bytes, bits: int) -> int:
    value = 0
    for byte in digits:
        value = value << bits | byte & 2**bits - 1
    return value


def _first_frame(read: Read, at: int, end: int) -> int | None:
    """Position of the first audio frames."""
    length = min(_SEARCHED, end - at)
    block = read(at, length + _FRAMES)
    for found in re.finditer(rb"\xff[\xe2-\xff]", block[: length + 1]):
        if found.start() < length and starts_with_frames(block[found.start() : found.start() + _FRAMES]):
            return at + found.start()
    return None


def starts_with_frames(block: bytes) -> bool:
    """Whether the block starts with three consecutive frames of MPEG audio (layer 3 or ADTS)."""
    position = 0
    for _ in range(3):
        if not (step := _frame_length(block[position : position + 8])):
            return False
        position += step
    return True


def _frame_length(head: bytes) -> int:
    """Bytes of the MPEG audio frame with this header; 0 if it is not such a header."""
    if len(head) < 7 or head[0] != 0xFF:
        return 0
    if head[1] & 0xF6 == 0xF0:  # ADTS
        return (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    version, layer, rate, kind = head[1] >> 3 & 3, head[1] >> 1 & 3, head[2] >> 4, head[2] >> 2 & 3
    if head[1] & 0xE0 != 0xE0 or version == 1 or layer != 1 or rate in (0, 15) or kind == 3:
        return 0
    full = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
    half = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
    samples = (44100, 48000, 32000)[kind] >> {3: 0, 2: 1, 0: 2}[version]
    kilobits = (full if version == 3 else half)[rate]
    return (144 if version == 3 else 72) * kilobits * 1000 // samples + (head[2] >> 1 & 1)
