"""Speech without words: Whisper sometimes stops at a pause and omits the rest of the window."""

from collections.abc import Sequence
from itertools import pairwise

from stenopool.speech.audio.vad import Region
from stenopool.speech.engines.decoding import WindowResult

_MOST_MISSING = 2.5  # seconds of speech without a word near it
_NEAR = 0.8  # the error of word times by attention
_SHORTEST_CUT = 1.0


def missing(window: Region, decoded: WindowResult, speech: Sequence[Region]) -> list[Region]:
    """Stretches of speech in the window, in seconds of the recording, that no word comes near."""
    spoken = sorted(
        (window.start + word.start - _NEAR, window.start + word.end + _NEAR)
        for word in decoded.words
        if word.start is not None and word.end is not None
    )
    gaps: list[Region] = []
    for region in speech:
        position, end = max(region.start, window.start), min(region.end, window.end)
        for word_start, word_end in spoken:
            if word_start >= end:
                break
            if word_start > position:
                gaps.append(Region(position, word_start))
            position = max(position, word_end)
        if position < end:
            gaps.append(Region(position, end))
    return gaps


def is_missing_speech(window: Region, decoded: WindowResult, speech: Sequence[Region]) -> bool:
    """Whether so much speech is missing that the window should be decoded again in parts."""
    return sum(gap.duration for gap in missing(window, decoded, speech)) > _MOST_MISSING


def cut_at_missing(window: Region, decoded: WindowResult, speech: Sequence[Region]) -> list[Region]:
    """The window cut in two at the pause nearest to the longest missing stretch; whole if there is no pause."""
    longest = max(missing(window, decoded, speech), key=lambda gap: gap.duration)
    pauses = [(left.end + right.start) / 2 for left, right in pairwise(speech)]
    usable = [p for p in pauses if window.start + _SHORTEST_CUT <= p <= window.end - _SHORTEST_CUT]
    if not usable:
        return [window]
    cut = min(usable, key=lambda pause: min(abs(pause - longest.start), abs(pause - longest.end)))
    return [Region(window.start, cut), Region(cut, window.end)]
