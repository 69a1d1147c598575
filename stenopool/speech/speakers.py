"""Assign speakers to words: by a diarizer's turns, or by channel if each party has its own.

Segments are cut where the speaker changes. Channels are transcribed separately and merged in order of time.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

from stenopool.languages import ends_sentence, join_texts
from stenopool.speech.transcript import NO_SPEECH, Channel, Segment, SpeakerTurn, Transcript, Word

# Maximum distance of a word from the nearest turn, in seconds; beyond it, the word has no speaker. Turns and words come
# from different models, whose start times differ by a few tenths of a second.
NEAREST = 0.5
# A run of at most FEW_WORDS words inside a sentence gets the surrounding speaker, unless the turns are sure: its own
# speaker must be heard in at least this share of the time that either of the two is heard.
FEW_WORDS = 2
SURE = 0.8


def assign_speakers(transcript: Transcript, turns: Sequence[SpeakerTurn]) -> Transcript:
    """Return the transcript with speakers assigned to words and segments, and with ``turns``.

    Segments are cut where the speaker changes. A word gets the speaker heard longest during it, else that of the
    nearest turn within `NEAREST` seconds, else none. A word without times gets the speaker of the previous word (the
    first word: of the next one). All words are kept, in order. ``speakers`` lists the speakers of the turns in order of
    speech. The given transcript is not changed.
    """
    ordered = sorted(turns, key=lambda turn: (turn.start, turn.end))
    spans = [span for segment in transcript.segments for span in _spans(segment)]
    sweep = iter(overlaps(spans, ordered))
    segments: list[Segment] = []
    for segment in transcript.segments:
        heard = [next(sweep) for _ in _spans(segment)]
        if segment.words:
            segments += _cut(segment, _smooth(segment.words, heard))
        else:
            segments.append(segment.model_copy(update={"speaker": _loudest(heard[0])}))
    return transcript.model_copy(
        update={
            "segments": [segment.model_copy(update={"id": index}) for index, segment in enumerate(segments)],
            "speakers": list(dict.fromkeys(turn.speaker for turn in ordered)),
            "turns": ordered,
        }
    )


TimeSpan = tuple[float, float]
SecondsBySpeaker = dict[str, float]


def _spans(segment: Segment) -> list[TimeSpan | None]:
    """The span of each word (None: unknown); the segment's span for all words if none is known."""
    spans = [
        (word.start, max(word.start, word.end)) if word.start is not None and word.end is not None else None
        for word in segment.words
    ]
    return spans if any(spans) else [(segment.start, segment.end)] * max(1, len(spans))


def overlaps(spans: Sequence[TimeSpan | None], turns: Sequence[SpeakerTurn]) -> list[SecondsBySpeaker | None]:
    """For each span, the seconds that each speaker is heard in it; if none is, the nearest turn's speaker with 0.

    The result for a span None is None. ``turns`` must be sorted by start; turns and spans may overlap. One sweep:
    O(spans + turns + overlaps) after sorting the spans. Speakers are in order of their turns, so a tie goes to the
    earlier turn.
    """
    results: list[SecondsBySpeaker | None] = [None] * len(spans)
    active: list[SpeakerTurn] = []
    following = 0
    last: SpeakerTurn | None = None  # of the finished turns, the one that ended last
    for (start, end), index in sorted((span, index) for index, span in enumerate(spans) if span):
        while following < len(turns) and turns[following].start < end:
            active.append(turns[following])
            following += 1
        over = [turn for turn in active if turn.end <= start]
        last = max([*([last] if last else []), *over], key=lambda turn: turn.end, default=None)
        active = [turn for turn in active if turn.end > start]
        heard: SecondsBySpeaker = {}
        for turn in active:
            shared = min(end, turn.end) - max(start, turn.start)
            if shared > 0:
                heard[turn.speaker] = heard.get(turn.speaker, 0.0) + shared
        nearest = [last, *active, *turns[following : following + 1]]
        results[index] = heard or _find_nearest(start, end, nearest)
    return results


def _find_nearest(start: float, end: float, candidates: Sequence[SpeakerTurn | None]) -> SecondsBySpeaker:
    """The speaker of the nearest candidate within `NEAREST` seconds, with 0 seconds; the earlier one in a tie."""

    def rank(turn: SpeakerTurn) -> tuple[float, float, float]:
        return max(turn.start - end, start - turn.end, 0.0), turn.start, turn.end

    nearest = min(filter(None, candidates), key=rank, default=None)
    return {nearest.speaker: 0.0} if nearest and rank(nearest)[0] <= NEAREST else {}


def _loudest(heard: SecondsBySpeaker | None) -> str | None:
    return max(heard, key=heard.__getitem__) if heard else None


def _smooth(words: Sequence[Word], heard: Sequence[SecondsBySpeaker | None]) -> list[str | None]:
    """A speaker for each word: the one heard longest, else the neighbour's. Corrects short, uncertain runs."""
    speakers = [_loudest(each) for each in heard]
    neighbour = next((speaker for speaker, each in zip(speakers, heard, strict=True) if each is not None), None)
    for index, each in enumerate(heard):
        if each is None:
            speakers[index] = neighbour
        neighbour = speakers[index]
    for first, last in _sentences(words):
        runs = list(_runs(speakers[first:last]))
        for number, (begin, end) in enumerate(runs):
            around = [speakers[first + runs[n][0]] for n in (number - 1, number + 1) if 0 <= n < len(runs)]
            if end - begin > FEW_WORDS or end - begin >= (last - first) / 2 or len(set(around)) != 1:
                continue
            here = range(first + begin, first + end)
            if _certainty([heard[i] for i in here], speakers[here[0]], around[0]) < SURE:
                for i in here:
                    speakers[i] = around[0]
    return speakers


def _certainty(heard: Sequence[SecondsBySpeaker | None], mine: str | None, other: str | None) -> float:
    """The first speaker's share of the time that either speaker was heard during these words; 0 if neither was."""
    ours = sum(each.get(mine, 0.0) for each in heard if each and mine)
    theirs = sum(each.get(other, 0.0) for each in heard if each and other)
    return ours / (ours + theirs) if ours else 0.0


def _sentences(words: Sequence[Word]) -> Iterator[tuple[int, int]]:
    """Start and end index of each sentence, by punctuation."""
    ends = [i + 1 for i, word in enumerate(words) if ends_sentence(word.word)]
    yield from pairwise(dict.fromkeys([0, *ends, len(words)]))


def _runs(speakers: Sequence[str | None]) -> Iterator[tuple[int, int]]:
    """Start and end index of each run of one speaker."""
    changes = [i for i in range(1, len(speakers)) if speakers[i] != speakers[i - 1]]
    yield from pairwise([0, *changes, len(speakers)])


def _cut(segment: Segment, speakers: Sequence[str | None]) -> list[Segment]:
    """Cut a segment into runs of one speaker. If there is only one, it keeps the segment's text and times."""
    words = [
        word.model_copy(update={"speaker": speaker}) for word, speaker in zip(segment.words, speakers, strict=True)
    ]
    runs = list(_runs(speakers))
    if len(runs) == 1:
        return [segment.model_copy(update={"words": words, "speaker": speakers[0]})]
    pieces: list[Segment] = []
    for begin, end in runs:
        piece = words[begin:end]
        start = pieces[-1].end if pieces else segment.start
        until = segment.end
        if begin > 0:
            start = next((word.start for word in piece if word.start is not None), start)
        if end < len(words):
            until = next((word.end for word in reversed(piece) if word.end is not None), start)
        update = {
            "start": start,
            "end": max(start, until),
            "text": "".join(word.word for word in piece),
            "words": piece,
            "speaker": speakers[begin],
        }
        pieces.append(segment.model_copy(update=update))
    return pieces


def merge_channels(channels: Sequence[Transcript], names: Sequence[str], *, as_speakers: bool) -> Transcript:
    """Merge the transcripts of all channels into one, with segments sorted by start time.

    Each segment has its channel and, with ``as_speakers``, the channel's name as its speaker. The language is the one
    spoken longest.
    """
    segments = [
        _of_channel(segment, index, names[index] if as_speakers else None)
        for index, transcript in enumerate(channels)
        for segment in transcript.segments
    ]
    segments.sort(key=lambda segment: (segment.start, segment.channel or 0))
    seconds: defaultdict[str | None, float] = defaultdict(float)
    for transcript in channels:
        seconds[transcript.language] += sum(segment.end - segment.start for segment in transcript.segments)
    language = max(seconds, key=lambda code: seconds[code]) if seconds else None
    flags = dict.fromkeys(flag for transcript in channels for flag in transcript.flags if flag != NO_SPEECH)
    spoken = {segment.channel for segment in segments}
    return Transcript(
        text=join_texts(segment.text for segment in segments),
        language=language,
        language_probability=max(
            (t.language_probability or 0.0 for t in channels if t.language == language), default=None
        ),
        duration=max((transcript.duration for transcript in channels), default=0.0),
        segments=[segment.model_copy(update={"id": number}) for number, segment in enumerate(segments)],
        speakers=[names[index] for index in range(len(channels)) if index in spoken] if as_speakers else [],
        channels=[
            Channel(index=n, name=names[n], language=t.language, language_probability=t.language_probability)
            for n, t in enumerate(channels)
        ],
        flags=[*flags] if segments else [*flags, NO_SPEECH],
        untranscribed=sorted((span for each in channels for span in each.untranscribed), key=lambda span: span.start),
    )


def channel_name(channel: int, names: Sequence[str] = ()) -> str:
    """The name of a channel (from 0): the given name, else ``CHANNEL_0``, ``CHANNEL_1``, ..."""
    return names[channel] if channel < len(names) else f"CHANNEL_{channel}"


def _of_channel(segment: Segment, index: int, speaker: str | None) -> Segment:
    words = [word.model_copy(update={"speaker": speaker}) for word in segment.words]
    return segment.model_copy(update={"channel": index, "speaker": speaker, "words": words})
