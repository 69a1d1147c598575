"""No word lasts over a pause that the speech detector knows.

Cross-attention, by which Whisper times words, gives the silence between two sentences to the words around it: the first
word after a pause of 8 s may begin with the pause, and end where the first sound is.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise

from stenopool.languages import ends_sentence
from stenopool.speech.audio.vad import Region
from stenopool.speech.engines.policy import FASTEST
from stenopool.speech.transcript import Word

Times = tuple[float, float]


def keep_to_speech(words: Sequence[Word], speech: Sequence[Region]) -> list[Word]:
    """The words, each in one stretch of speech.

    A word that runs into a pause is cut there. Neighbours that lie mostly in a pause share the speech beside it in
    proportion to the lengths of their texts, and a sentence stays together. If there is too little speech, they stay
    where they are: they are likely made up. ``speech``: sorted regions with the detector's padding; pauses that the
    padding fills are too short to matter.
    """
    stretches = _join_touching(speech)
    kept = list(words)
    first = 0
    for i in range(len(words) + 1):
        if i < len(words) and _strays(words[i], stretches):
            continue
        kept[first:i] = _share(words[first:i], stretches)
        if i < len(words):
            kept[i] = _cut(words[i], stretches)
        first = i + 1
    return kept


def _join_touching(speech: Sequence[Region]) -> list[Region]:
    joined: list[Region] = []
    for region in speech:
        if joined and region.start <= joined[-1].end:
            joined[-1] = Region(joined[-1].start, max(region.end, joined[-1].end))
        else:
            joined.append(region)
    return joined


def _between(stretches: Sequence[Region], start: float, end: float) -> Sequence[Region]:
    first = bisect_right(stretches, start, key=lambda each: each.end)
    return stretches[first : bisect_left(stretches, end, key=lambda each: each.start)]


def _strays(word: Word, stretches: Sequence[Region]) -> bool:
    """Whether a word lies mostly in a pause."""
    if word.start is None or word.end is None:
        return False
    over = _between(stretches, word.start, word.end)
    if any(each.start <= word.start and word.end <= each.end for each in over):
        return False
    return sum(each.spoken_between(word.start, word.end) for each in over) < (word.end - word.start) / 2


def _cut(word: Word, stretches: Sequence[Region]) -> Word:
    """The part of a word in the stretch that has most of it."""
    if word.start is None or word.end is None:
        return word
    over = _between(stretches, word.start, word.end)
    if not over:
        return word
    most = max(over, key=lambda each: (each.spoken_between(word.start or 0.0, word.end or 0.0), each.start))
    return _timed(word, max(word.start, most.start), min(word.end, most.end))


def _share(words: Sequence[Word], stretches: Sequence[Region]) -> list[Word]:
    """Divide the speech between the start of the first word and the end of the last."""
    if not words:
        return []
    start, end = words[0].start or 0.0, words[-1].end or 0.0
    spoken = [
        (max(start, each.unpadded[0]), min(end, each.unpadded[1]))
        for each in _between(stretches, start, end)
        if each.spoken_between(start, end)
    ]
    seconds = sum(until - since for since, until in spoken)
    if seconds * FASTEST < _length(words):
        return [_cut(word, stretches) for word in words]
    sentences: list[list[Word]] = [[]]
    for word in words:
        sentences[-1].append(word)
        if ends_sentence(word.word):
            sentences.append([])
    sentences = [sentence for sentence in sentences if sentence]
    shares = _divide((0.0, seconds), list(map(_length, sentences)))
    return [
        _timed(word, *times)
        for sentence, share in zip(sentences, shares, strict=True)
        for word, times in zip(
            sentence, _divide(_place(share, spoken), [_length([word]) for word in sentence]), strict=True
        )
    ]


def _length(words: Sequence[Word]) -> int:
    return sum(len(word.word.strip().encode()) for word in words)


def _divide(times: Times, lengths: Sequence[int]) -> list[Times]:
    start, end = times
    edges = accumulate(lengths, initial=0)
    whole = max(sum(lengths), 1)
    return list(pairwise(start + (end - start) * edge / whole for edge in edges))


def _place(share: Times, spoken: Sequence[Times]) -> Times:
    """A share of the spoken seconds as times: of the part that is in one stretch, the longest."""
    parts: list[Times] = []
    before = 0.0
    for since, until in spoken:
        parts.append((since + max(share[0] - before, 0.0), min(since + share[1] - before, until)))
        before += until - since
    return max(parts, key=lambda part: (part[1] - part[0], part))


def _timed(word: Word, start: float, end: float) -> Word:
    return word.model_copy(update={"start": round(start, 3), "end": round(end, 3)})
