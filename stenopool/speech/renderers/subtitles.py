"""SubRip and WebVTT subtitles, of cues: the text on the screen at one time.

Cues are built from words, so a long segment becomes several cues with correct times. Cuts are a shortest path over all
positions (as TeX sets a paragraph): few cues, evenly filled, cut at sentences, else at pauses or clauses.
"""

import html
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf

from stenopool.languages import ends_clause, ends_sentence
from stenopool.options import SubtitleOptions
from stenopool.speech.clock_text import format_timestamp
from stenopool.speech.renderers.words import Token, join, stretches
from stenopool.speech.transcript import Transcript

LONG_PAUSE = 2.0  # seconds of silence that end a cue
SHORT_PAUSE = 0.4  # seconds that a listener hears as a break
SHORTEST = 0.02  # seconds; whisper's time step. WebVTT requires more than 0


@dataclass(frozen=True)
class Cue:
    """``lines`` of one speaker, from ``start`` to ``end`` in seconds."""

    start: float
    end: float
    speaker: str | None
    lines: Sequence[Sequence[Token]]


def render_srt(transcript: Transcript, style: SubtitleOptions) -> str:
    """The transcript as SubRip, counted from 1; empty for an empty one. Speakers stand as whisperX writes them."""
    parts = _parts(transcript, style, ",", _srt_label, _srt_text)
    return "".join(f"{index}\n{part}" for index, part in enumerate(parts, start=1))


def render_vtt(transcript: Transcript, style: SubtitleOptions) -> str:
    """The transcript as WebVTT (https://www.w3.org/TR/webvtt1/), speakers as voices; for an empty one the header."""
    return "WEBVTT\n\n" + "".join(_parts(transcript, style, ".", lambda _: "", _vtt_text))


def _parts(
    transcript: Transcript,
    style: SubtitleOptions,
    point: str,
    label: Callable[[str | None], str],
    text: Callable[[Cue, Token | None], str],
) -> Iterator[str]:
    """A time line and the text for each cue, or for each moment of it. ``point``: before the milliseconds."""
    for cue in cues(transcript, style, label):
        for start, end, spoken in split_moments(cue, style):
            yield f"{format_timestamp(start, point)} --> {format_timestamp(end, point)}\n{text(cue, spoken)}\n\n"


def _srt_label(speaker: str | None) -> str:
    return f"[{speaker}]: " if speaker else ""


def _srt_text(cue: Cue, spoken: Token | None) -> str:
    # Readers take any line with an arrow for a time line; SRT knows no escape.
    return re.sub("-{2,}>", "->", _srt_label(cue.speaker) + _lines(cue, spoken, str))


def _vtt_text(cue: Cue, spoken: Token | None) -> str:
    return (f"<v {_escape(cue.speaker)}>" if cue.speaker else "") + _lines(cue, spoken, _escape)


def _escape(text: str) -> str:
    """Also keeps `-->` out of cues, where it would end them."""
    return html.escape(text, quote=False)


def _lines(cue: Cue, spoken: Token | None, escape: Callable[[str], str]) -> str:
    """The cue's lines, the spoken word underlined."""

    def mark(token: Token) -> Token:
        text = escape(token.text)
        return token._replace(text=f"<u>{text}</u>" if token is spoken else text)

    return "\n".join(join(map(mark, line)) for line in cue.lines)


def cues(transcript: Transcript, style: SubtitleOptions, label: Callable[[str | None], str]) -> list[Cue]:
    """Cues in order of time, within the style's lines; cues of one channel never overlap.

    ``label`` is the text before a speaker's words, which takes room on the first line. Only a single word (with the
    label) may be wider than a line.
    """
    found: dict[int | None, list[Cue]] = {}
    for stretch in stretches(transcript):
        indent = len(label(stretch.speaker))
        for part in _at_long_pauses(stretch.tokens):
            for tokens in _cut(part, style, style.max_line_count, indent, indent, price=1):
                # Another line costs more than any bad break, so the number of lines is minimal.
                lines = _cut(tokens, style, 1, indent, 0, price=1000)
                cue = Cue(tokens[0].start, tokens[-1].end, stretch.speaker, lines)
                found.setdefault(stretch.segment.channel, []).append(cue)
    return sorted((cue for channel in found.values() for cue in _separate(channel)), key=lambda cue: cue.start)


def split_moments(cue: Cue, style: SubtitleOptions) -> Iterator[tuple[float, float, Token | None]]:
    """Parts of a cue as (start, end, the spoken word): one part, unless words are highlighted.

    Words whose time is only estimated are not highlighted.
    """
    clock = cue.start
    for token in (token for line in cue.lines for token in line if style.highlight_words and token.timed):
        start = min(max(round(token.start, 3), clock), cue.end)
        end = min(max(round(token.end, 3), start), cue.end)
        if start > clock:
            yield clock, start, None
        if end > start:
            yield start, end, token
        clock = end
    if clock < cue.end:
        yield clock, cue.end, None


def _at_long_pauses(tokens: Sequence[Token]) -> Iterator[Sequence[Token]]:
    begin = 0
    for end, (before, after) in enumerate(pairwise(tokens), start=1):
        if after.start - before.end > LONG_PAUSE:
            yield tokens[begin:end]
            begin = end
    yield tokens[begin:]


def _cut(
    tokens: Sequence[Token], style: SubtitleOptions, lines: int, first_indent: int, indent: int, price: float
) -> list[Sequence[Token]]:
    """Cut tokens into groups that each fit on ``lines`` lines, at the lowest cost. ``price``: of a group."""
    room = lines * style.max_line_width
    cost = [0.0] + [inf] * len(tokens)
    origin = [0] * (len(tokens) + 1)
    for begin in range(len(tokens)):
        width = indent if begin else first_indent
        for end, length in _fitting(tokens, begin, style, lines, width):
            emptiness = max(0.0, 1 - (width + length) / room) ** 2
            total = cost[begin] + price + emptiness + _cost_of_cut(tokens, end)
            if total < cost[end]:
                cost[end], origin[end] = total, begin
    groups = []
    end = len(tokens)
    while end:
        groups.append(tokens[origin[end] : end])
        end = origin[end]
    return groups[::-1]


def _fitting(
    tokens: Sequence[Token], begin: int, style: SubtitleOptions, lines: int, width: int
) -> Iterator[tuple[int, int]]:
    """How far tokens from ``begin`` fit on ``lines`` lines: (end, length) for each end, at least one."""
    line, words, length = 1, 0, 0
    for index in range(begin, len(tokens)):
        token = tokens[index]
        grown = width + (token.space if words else 0) + len(token.text)
        if words and (grown > style.max_line_width or words == style.max_words_per_line):
            line, words, grown = line + 1, 0, len(token.text)
            if line > lines:
                return
        width, words, length = grown, words + 1, length + token.space + len(token.text)
        yield index + 1, length


def _cost_of_cut(tokens: Sequence[Token], end: int) -> float:
    """0 to 0.8: how much a cut before ``tokens[end]`` disturbs a reader."""
    text = tokens[end - 1].text
    if end == len(tokens) or ends_sentence(text):
        return 0.0
    if tokens[end].start - tokens[end - 1].end >= SHORT_PAUSE:
        return 0.2
    return 0.3 if ends_clause(text) else 0.8


def _separate(channel: list[Cue]) -> Iterator[Cue]:
    """Cues of one channel in order of time, each ended before the next begins, none shorter than `SHORTEST`."""
    channel.sort(key=lambda cue: cue.start)
    clock = 0.0
    for cue, following in zip(channel, [*channel[1:], None], strict=True):
        start = round(max(cue.start, clock), 3)
        end = cue.end if following is None else min(cue.end, following.start)
        clock = round(max(end, start + SHORTEST), 3)
        yield replace(cue, start=start, end=clock)
