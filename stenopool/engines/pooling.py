"""Windows of many recordings, put together so that as little silence as possible is decoded.

Whisper pads whatever it is given to 30 seconds. CTranslate2 takes shorter input as it is, and the encoder's cost
grows with length; so windows of like length, from whichever recordings, are decoded together in a frame that is
only as long as the longest of them and a tail.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import ceil

from stenopool.audio.vad import Region

# Speech needs room after it, or its last words are lost: 12.4 % WER with 1 s of tail, 8.9 % with 5 s.
TAIL_SECONDS = 5.0
# Frames come in these steps. What a window says depends a little on its frame, so windows share one only if it is
# their own: the same recording says the same whatever is decoded beside it.
FRAME_STEP = 2.0
LONGEST_WINDOW = 30.0
FRAMES_PER_SECOND = 100


@dataclass(frozen=True)
class Window:
    """A stretch of one utterance that is decoded at once."""

    utterance: int
    region: Region
    language: str | None = None


def frame_seconds(windows: Iterable[Window]) -> float:
    """Length of the frame in which these windows are decoded together: a multiple of the step, at most 30."""
    longest = max(window.region.duration for window in windows)
    return min(LONGEST_WINDOW, FRAME_STEP * ceil((longest + TAIL_SECONDS) / FRAME_STEP))


def groups(windows: Iterable[Window], *, budget_seconds: float, most: int) -> Iterator[Sequence[Window]]:
    """Windows with the same frame, longest first, in groups whose frames fit in ``budget_seconds``."""
    ordered = sorted(windows, key=lambda w: (-w.region.duration, w.utterance, w.region.start))
    for frame, alike in groupby(ordered, key=lambda window: frame_seconds([window])):
        size = max(1, min(most, int(budget_seconds // frame)))
        waiting = list(alike)
        for first in range(0, len(waiting), size):
            yield waiting[first : first + size]
