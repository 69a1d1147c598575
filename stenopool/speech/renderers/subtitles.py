"""SubRip and WebVTT subtitles, which consist of cues: the text on the screen at one time.

Cues are built from words, so a long segment becomes several cues with correct times. The cuts are a shortest path over
all positions (as TeX breaks a paragraph). They give few, evenly filled cues that can be read in their time, cut at
sentences if possible, else at pauses or clauses. Then each cue is shown until it has been read, but not into the next.
The limits are those of Netflix's guides (https://partnerhelp.netflixstudios.com/hc/en-us/articles/215758617).
"""

import html
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from math import inf
from typing import NamedTuple

from stenopool.languages import ends_clause, ends_sentence, have_blank_between
from stenopool.options import SubtitleOptions
from stenopool.speech.clock_text import format_timestamp
from stenopool.speech.renderers import breaking
from stenopool.speech.renderers.words import Stretch, Token, join, stretches
from stenopool.speech.transcript import Transcript

LINE_WIDTH, WIDE_LINE_WIDTH = 42, 32  # columns; 32 are 16 Chinese, Japanese or Korean characters
LONG_PAUSE = 2.0  # seconds of silence that end a cue
SHORT_PAUSE = 0.4  # seconds that a listener hears as a break
LONG_WORD = 4.0  # seconds; a longer word, if slower than a character a second, stretches over a pause
SHORTEST_SHOWN, LONGEST_SHOWN = 5 / 6, 7.0  # seconds that a cue is on the screen, if speech allows
GAP = 0.083  # seconds between cues: two frames of a film; gaps shorter than SHORT_PAUSE are reduced to it
LATEST = 0.7  # seconds that a cue may begin after its speech, so that the previous one can be read
SHORTEST = 0.02  # seconds; whisper's time step. WebVTT requires more than 0


class Unit(NamedTuple):
    """Tokens between two possible line breaks. ``word``, ``phrase``: whether a word or phrase begins with it."""

    tokens: tuple[Token, ...]
    text: str
    width: int
    word: bool
    phrase: bool

    @property
    def space(self) -> bool:
        return self.tokens[0].space

    @property
    def start(self) -> float:
        return self.tokens[0].start

    @property
    def end(self) -> float:
        return self.tokens[-1].end


class CuePart(NamedTuple):
    """Speech of one speaker without a long pause. ``named``: whether each of its cues may need a label."""

    tokens: Sequence[Token]
    channel: int | None
    indent: int
    named: bool

    @property
    def speaker(self) -> str | None:
        return self.tokens[0].speaker

    @property
    def start(self) -> float:
        return self.tokens[0].start


@dataclass(frozen=True)
class Cue:
    """Lines of one speaker, shown from ``start`` to ``end`` (seconds). ``label``: set where the speaker changes."""

    start: float
    end: float
    speaker: str | None
    lines: Sequence[Sequence[Token]]
    label: str = ""

    @property
    def text(self) -> str:
        return " ".join(map(join, self.lines))

    @property
    def reading_time(self) -> float:
        return min(LONGEST_SHOWN, max(SHORTEST_SHOWN, reading_time(self.text)))


def reading_time(text: str) -> float:
    """Seconds that people need to read a text. A speaker's label does not count."""
    return breaking.count(text) / breaking.reading_speed(text)


def render_srt(transcript: Transcript, style: SubtitleOptions) -> str:
    """Render SubRip, numbered from 1; empty for an empty transcript. Speakers are written as in whisperX's files."""
    moments = _moments(transcript, style, ",", _srt_label, _srt_text)
    return "".join(f"{index}\n{moment}" for index, moment in enumerate(moments, start=1))


def render_vtt(transcript: Transcript, style: SubtitleOptions) -> str:
    """Render WebVTT (https://www.w3.org/TR/webvtt1/) with speakers as voices; only the header if it is empty."""
    return "WEBVTT\n\n" + "".join(_moments(transcript, style, ".", _no_label, _vtt_text))


def _moments(
    transcript: Transcript,
    style: SubtitleOptions,
    point: str,
    label: Callable[[str | None], str],
    text: Callable[[Cue, Token | None], str],
) -> Iterator[str]:
    """The times and text of each cue, or of each moment of it. ``point``: the character before the milliseconds."""
    for cue in cues(transcript, style, label):
        for start, end, spoken in split_moments(cue, style):
            yield f"{format_timestamp(start, point)} --> {format_timestamp(end, point)}\n{text(cue, spoken)}\n\n"


def _srt_label(speaker: str | None) -> str:
    return f"[{speaker or 'UNKNOWN'}]: "


def _no_label(_: str | None) -> str:
    return ""


def _srt_text(cue: Cue, spoken: Token | None) -> str:
    # Parsers treat any line with an arrow as a time line, and SRT has no escapes.
    return re.sub("-{2,}>", "->", _lines(cue, spoken, str))


def _vtt_text(cue: Cue, spoken: Token | None) -> str:
    return (f"<v {_escape(cue.speaker)}>" if cue.speaker else "") + _lines(cue, spoken, _escape)


def _escape(text: str) -> str:
    """Escape HTML, which also keeps `-->` out of cues, where it would end them."""
    return html.escape(text, quote=False)


def _lines(cue: Cue, spoken: Token | None, escape: Callable[[str], str]) -> str:
    """The cue's label and lines, with direction marks, and the spoken word underlined."""

    def mark(token: Token) -> Token:
        text = escape(token.text)
        return token._replace(text=f"<u>{text}</u>" if token is spoken else text)

    first, *rest = (join(map(mark, line)) for line in cue.lines)
    reading = breaking.direction(cue.text)
    return "\n".join(breaking.embed(line, reading) for line in (cue.label + first, *rest))


def cues(transcript: Transcript, style: SubtitleOptions, label: Callable[[str | None], str]) -> list[Cue]:
    """Cues in order of time, within the style's limits. They do not overlap; with ``overlapping_cues``, per channel.

    ``label`` returns the text before a speaker's words, which takes space on the first line. A cue has a label if the
    previous one is of another speaker or may still be shown. Only a single word (with the label) may be wider than a
    line.
    """
    said = [*stretches(transcript)]
    if not any(stretch.speaker for stretch in said):
        label = _no_label
    parts = sorted(_parts(said, label), key=lambda part: part.start)
    lanes: dict[int | None, list[CuePart]] = {}
    for part in parts:
        lanes.setdefault(part.channel if style.overlapping_cues else None, []).append(part)
    paced = (cue for lane in lanes.values() for cue in _pace(_cut_lane(lane, style), transcript.duration or inf))
    found = sorted(paced, key=lambda cue: cue.start)
    speakers = [None, *(cue.speaker for cue in found)]
    return [
        replace(cue, label=label(cue.speaker)) if cue.speaker != before or len(lanes) > 1 else cue
        for cue, before in zip(found, speakers, strict=False)
    ]


def split_moments(cue: Cue, style: SubtitleOptions) -> Iterator[tuple[float, float, Token | None]]:
    """Parts of a cue as (start, end, spoken word): one part, unless words are highlighted.

    Words with estimated times are not highlighted.
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


# ---- parts: candidates for cues


def _parts(said: Sequence[Stretch], label: Callable[[str | None], str]) -> Iterator[CuePart]:
    """Speech of each speaker, cut at long pauses. Sentences that follow each other too fast to be read are joined."""
    lines = [(stretch.segment.channel, _shorten_long_words(stretch.tokens)) for stretch in said]
    # With several channels, or segments that overlap in time, each cue may need a label.
    channels = {channel for channel, _ in lines}
    mixed = len(channels) > 1 or any(a[-1].start > b[0].start for (_, a), (_, b) in pairwise(lines))
    begins = [*(tokens[0].start for _, tokens in lines[1:]), inf]
    joined: list[tuple[int | None, list[Token]]] = []
    hurried = False
    for (channel, tokens), until in zip(lines, begins, strict=False):
        before, hurried = hurried, tokens[0].start + reading_time(join(tokens)) > until - GAP
        last = joined[-1] if joined else None
        if last and (before or hurried) and (last[0], last[1][0].speaker) == (channel, tokens[0].speaker):
            last[1].extend(tokens)
        else:
            joined.append((channel, tokens))
    speaker = None
    for channel, tokens in joined:
        indent = breaking.width(label(tokens[0].speaker))
        named = tokens[0].speaker != speaker
        speaker = tokens[0].speaker
        for part in _at_long_pauses(tokens):
            yield CuePart(part, channel, indent if mixed or named else 0, mixed)
            named = False


def _shorten_long_words(tokens: Sequence[Token]) -> list[Token]:
    """Remove pauses from words that include one: from the front at the start of a sentence, else from the end."""
    shortened: list[Token] = []
    for token in tokens:
        seconds = token.end - token.start
        if token.timed and seconds > max(LONG_WORD, len(token.text)):
            if not shortened or ends_sentence(shortened[-1].text):
                token = token._replace(start=token.end - LONG_PAUSE / 2)
            else:
                token = token._replace(end=token.start + LONG_PAUSE / 2)
        shortened.append(token)
    return shortened


def _at_long_pauses(tokens: Sequence[Token]) -> Iterator[Sequence[Token]]:
    begin = 0
    for end, (before, after) in enumerate(pairwise(tokens), start=1):
        if after.start - before.end > LONG_PAUSE:
            yield tokens[begin:end]
            begin = end
    yield tokens[begin:]


# ---- units: never broken across lines


def _units(tokens: Sequence[Token], line_width: int) -> list[Unit]:
    """Group the tokens into units that no line break may cut."""
    units: list[Unit] = []
    words: list[list[Token]] = []
    for token in tokens:
        if token.space or not words:
            words.append([])
        words[-1].append(token)
    for word in words:
        first, *rest = _split_word(word, line_width)
        if units and not breaking.may_break_at_blank(units[-1].text, first.text):
            before = units.pop()
            first = _unit((*before.tokens, *first.tokens), word=before.word, phrase=before.phrase)
        units += [first, *rest]
    return units


def _unit(tokens: Sequence[Token], *, word: bool, phrase: bool) -> Unit:
    text = join(tokens)
    return Unit((*tokens,), text, breaking.width(text), word, phrase)


def _split_word(word: Sequence[Token], line_width: int) -> Iterator[Unit]:
    """Cut tokens without spaces between them where lines may break, or between any letters if too long for a line."""
    text = "".join(token.text for token in word)
    breaks = breaking.find_breaks(text)
    for unit in _split(word, breaks, word=True, phrase=True):
        if unit.width > (line_width if breaks else max(line_width, LINE_WIDTH)):
            yield from _split(unit.tokens, breaking.find_any_breaks(unit.text), word=unit.word, phrase=unit.phrase)
        else:
            yield unit


def _split(tokens: Sequence[Token], cuts: Mapping[int, bool], *, word: bool, phrase: bool) -> Iterator[Unit]:
    """Cut the tokens into units, also within tokens. ``cuts``: positions, and whether a phrase begins there."""
    gathered: list[Token] = []
    at = 0
    for token in tokens:
        inside = [cut - at for cut in sorted(cuts) if at < cut < at + len(token.text)]
        begins = [0, *inside]
        seconds = (token.end - token.start) / len(token.text)
        for begin, end in zip(begins, [*inside, len(token.text)], strict=True):
            if at + begin in cuts and gathered:
                yield _unit(gathered, word=word, phrase=phrase)
                gathered, word, phrase = [], not begin, cuts[at + begin]
            gathered.append(
                token
                if not inside
                else token._replace(
                    text=token.text[begin:end],
                    space=token.space and not begin,
                    start=token.start + begin * seconds,
                    end=token.start + end * seconds if end < len(token.text) else token.end,
                )
            )
        at += len(token.text)
    yield _unit(gathered, word=word, phrase=phrase)


# ---- cuts: divide units into cues and lines


def _cut_lane(lane: Sequence[CuePart], style: SubtitleOptions) -> Iterator[Cue]:
    """Cues of the parts, with the times of their words. ``lane`` is in order of time."""
    begins = [part.start for part in lane]
    for part in lane:
        text = join(part.tokens)
        line_width = style.max_line_width or (WIDE_LINE_WIDTH if breaking.is_wide(text) else LINE_WIDTH)
        units = _units(part.tokens, line_width)
        following = bisect_right(begins, units[-1].start)
        layout = Layout(
            units=units,
            characters=[0, *accumulate(breaking.count(unit.text) + unit.space for unit in units)],
            style=style,
            line_width=line_width,
            indent=part.indent,
            named=part.named,
            speed=breaking.reading_speed(text),
            until=begins[following] if following < len(begins) else inf,
            # Starts of other speakers: a cue across such a moment would have to end early, or delay theirs.
            interruptions=[
                other.start
                for other in lane[bisect_right(begins, part.start) : following]
                if other.channel != part.channel
            ],
        )
        for number, (begin, end) in enumerate(layout.cut_into_cues()):
            indent = part.indent if part.named or not number else 0
            lines = [
                [token for unit in units[first:last] for token in unit.tokens]
                for first, last in layout.cut_into_lines(begin, end, indent)
            ]
            yield Cue(units[begin].start, units[end - 1].end, part.speaker, lines)


@dataclass(frozen=True)
class Layout:
    """Divides units into cues and lines. ``characters``: number before each unit; ``until``: start of the next cue."""

    units: Sequence[Unit]
    characters: Sequence[int]
    style: SubtitleOptions
    line_width: int
    indent: int
    named: bool
    speed: int
    until: float
    interruptions: Sequence[float]

    def cut_into_cues(self) -> list[tuple[int, int]]:
        """Start and end index of each cue."""

        def candidates(begin: int) -> Iterator[tuple[int, float]]:
            indent = self.indent if self.named or not begin else 0
            for end, emptiness in self._fitting(begin, len(self.units), self.style.max_line_count, indent):
                if end > begin + 1 and self.units[end - 1].end - self.units[begin].start > LONGEST_SHOWN:
                    return
                yield end, 1 + emptiness + self._haste(begin, end) + self._interruption(begin, end)

        return self._cut(0, len(self.units), candidates)

    def cut_into_lines(self, begin: int, end: int, indent: int) -> list[tuple[int, int]]:
        """Start and end index of each line of a cue. A line costs more than any bad break, so there are few lines."""

        def candidates(first: int) -> Iterator[tuple[int, float]]:
            for last, emptiness in self._fitting(first, end, 1, indent if first == begin else 0):
                yield last, 1000 + emptiness

        return self._cut(begin, end, candidates)

    def _cut(
        self, begin: int, end: int, candidates: Callable[[int], Iterator[tuple[int, float]]]
    ) -> list[tuple[int, int]]:
        """Find the cheapest cuts. ``candidates`` returns, for a position, the possible next ones and their costs."""
        cost = {begin: 0.0}
        origin: dict[int, int] = {}
        for here in range(begin, end):
            for there, price in candidates(here):
                total = cost[here] + price + (self._disturbance(there) if there < end else 0.0)
                if total < cost.get(there, inf):
                    cost[there], origin[there] = total, here
        cuts = [end]
        while cuts[-1] > begin:
            cuts.append(origin[cuts[-1]])
        return [*pairwise(reversed(cuts))]

    def _fitting(self, begin: int, most: int, lines: int, indent: int) -> Iterator[tuple[int, float]]:
        """Possible ends of units from ``begin`` that fit on this many lines, as (end, emptiness); at least one."""
        line, words, length, across = 1, 0, indent, indent
        for index in range(begin, most):
            unit = self.units[index]
            grown = across + (unit.space if index > begin else 0) + unit.width
            if index > begin and (grown > self.line_width or (unit.word and words == self.style.max_words_per_line)):
                line, words, grown = line + 1, 0, unit.width
                if line > lines:
                    return
            across, words, length = grown, words + unit.word, length + (unit.space if index > begin else 0) + unit.width
            yield index + 1, max(0.0, 1 - length / (lines * self.line_width)) ** 2

    def _haste(self, begin: int, end: int) -> float:
        """Cost of a cue that is too fast to be read before the next begins."""
        start = self.units[begin].start
        following = self.units[end].start if end < len(self.units) else self.until
        seconds = max(SHORTEST, min(LONGEST_SHOWN, following - GAP - start))
        characters = self.characters[end] - self.characters[begin]
        return 2 * min(1.0, max(0.0, characters / self.speed / seconds - 1)) + (seconds < SHORTEST_SHOWN)

    def _interruption(self, begin: int, end: int) -> float:
        first, last = self.units[begin].start, self.units[end - 1].start
        return 3.0 * sum(first + LATEST < moment < last for moment in self.interruptions)

    def _disturbance(self, end: int) -> float:
        """Cost of a cut before this unit, from 0 to 1.2: how much it disturbs a reader."""
        before, after = self.units[end - 1], self.units[end]
        if ends_sentence(before.text):
            return 0.0
        if after.start - before.end >= SHORT_PAUSE:
            return 0.2
        # In a script without spaces, a space also ends a clause.
        if ends_clause(before.text) or (after.space and not have_blank_between(before.text, after.text)):
            return 0.3
        return 0.8 if after.phrase else 1.2


# ---- times


def _pace(cues: Iterator[Cue], duration: float) -> Iterator[Cue]:
    """Extend cues until they can be read, and keep them in order without overlaps.

    A cue is extended into a pause. It is extended into the next cue's time if that can still be read afterwards, or
    else so far that both are too fast to the same degree; by at most `LATEST` seconds, or as long as both are spoken at
    the same time. No cue goes past the recording's end or is shorter than `SHORTEST`.
    """
    ordered = sorted(cues, key=lambda cue: cue.start)
    begins = [cue.start for cue in ordered] + [inf, inf]
    clock = 0.0
    for number, cue in enumerate(ordered):
        start = max(cue.start, clock)
        read = start + cue.reading_time
        end = min(max(cue.end, min(read, duration)), start + LONGEST_SHOWN)
        following = begins[number + 1] - GAP
        if end > following:
            after, until = ordered[number + 1], begins[number + 2] - GAP
            spare = until - after.reading_time
            share = start + (until - start) * cue.reading_time / (cue.reading_time + after.reading_time)
            latest = max(LATEST, cue.end - after.start)
            end = max(following, min(read, following + latest, max(spare, share)))
        elif following - end < SHORT_PAUSE and following - start <= LONGEST_SHOWN:
            end = following
        start = round(start, 3)
        end = round(max(end, start + SHORTEST), 3)
        # Very short cues have no gap after them.
        clock = end + GAP if end - start > 2 * GAP else end
        yield replace(cue, start=start, end=end)
