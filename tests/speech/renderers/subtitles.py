"""A strict reader of subtitle files: it refuses everything that a player may not support."""

import re
from typing import NamedTuple


class Shown(NamedTuple):
    """A cue as a player shows it; times in milliseconds."""

    start: int
    end: int
    lines: list[str]


def parse_srt(text: str) -> list[Shown]:
    """Read SRT; indices must count from 1."""
    shown = []
    for number, block in enumerate(_blocks(text), start=1):
        index, *rest = block
        assert index == str(number)
        shown.append(_cue(rest, ","))
    return shown


def parse_vtt(text: str) -> list[Shown]:
    """Read WebVTT; escapes are resolved, voice and underline tags removed, any other tag is an error."""
    header, _, body = text.partition("\n\n")
    assert header == "WEBVTT"
    shown = []
    for block in _blocks(body):
        start, end, lines = _cue(block, ".")
        plain = [re.sub(r"<v [^<>\n]+>|</?u>", "", line) for line in lines]
        for line in plain:
            assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)", line)
        unescaped = [line.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") for line in plain]
        shown.append(Shown(start, end, unescaped))
    return shown


def _blocks(text: str) -> list[list[str]]:
    assert not text or text.endswith("\n\n")
    assert "\n\n\n" not in text
    assert text.isprintable() or not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]", text)
    return [block.split("\n") for block in text.split("\n\n") if block]


def _cue(block: list[str], point: str) -> Shown:
    times, *lines = block
    stamp = rf"(\d\d+):([0-5]\d):([0-5]\d){re.escape(point)}(\d{{3}})"
    match = re.fullmatch(f"{stamp} --> {stamp}", times)
    assert match, times
    assert lines
    assert all(line.strip() for line in lines)
    assert not any("-->" in line for line in lines)
    h1, m1, s1, f1, h2, m2, s2, f2 = map(int, match.groups())
    return Shown(((h1 * 60 + m1) * 60 + s1) * 1000 + f1, ((h2 * 60 + m2) * 60 + s2) * 1000 + f2, lines)
