"""Whether a file's first bytes can be those of audio or video.

A cheap check that refuses documents, pictures and archives at once. What passes is decoded by `prepare`, which decides.
"""

HEAD = 512  # bytes that are checked

_BEGINNINGS = (
    b"RIFF", b"RF64", b"riff", b"FORM", b"fLaC", b"OggS", b"ID3", b"caff", b"#!AMR", b"#!SILK", b".snd", b"FLV",
    b"wvpk", b"MAC ", b"TTA1", b"DSD ", b".RMF", b"\x1aE\xdf\xa3", b"0&\xb2u", b"\x00\x00\x01\xba",
    b"\x00\x00\x01\xb3", b"\x0bw", b"\x7f\xfe\x80\x01",
)  # fmt: skip
_ATOMS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")  # MP4 and QuickTime
_RIFF_NOT_MEDIA = (b"WEBP", b"ACON", b"PAL ")
_FORM_MEDIA = (b"AIFF", b"AIFC", b"8SVX")


def may_be_media(head: bytes) -> bool:
    """Whether ``head``, a file's first bytes, begins as recordings do."""
    if head[:4] == b"RIFF":
        return head[8:12] not in _RIFF_NOT_MEDIA
    if head[:4] == b"FORM":
        return head[8:12] in _FORM_MEDIA
    if head.startswith(_BEGINNINGS) or head[4:8] in _ATOMS:
        return True
    if any(head[at : at + 1] == head[at + step : at + step + 1] == b"G" for at, step in ((0, 188), (4, 192))):
        return True  # MPEG transport stream, as broadcast and as on discs
    # MPEG audio and ADTS: eleven set bits, also after the zeros that some recorders begin with.
    frame = head.lstrip(b"\0")
    return len(frame) > 1 and frame[0] == 0xFF and frame[1] & 0xE0 == 0xE0 and frame[1] != 0xFF and frame[1] != 0xFE
