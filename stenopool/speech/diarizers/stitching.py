"""Turn the speakers of overlapping windows into turns over the whole recording."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from stenopool.speech.transcript import SpeakerTurn

NOBODY = -1
# Frames ranked at a time: ranks take 16 bytes per frame and speaker, gigabytes for a day with many speakers.
_BLOCK = 65_536


def stitch(
    activity: NDArray[np.bool_], labels: NDArray[np.intp], hop: int, *, length: int | None = None
) -> NDArray[np.bool_]:
    """Who is active in each frame of the recording: shape (frames, speakers).

    ``activity`` (windows, frames, local speakers): who is heard in each window; windows are ``hop`` frames apart.
    ``labels`` (windows, local speakers): which speaker of the recording that is, or `NOBODY`. Windows vote: a frame has
    the mean number of speakers of its windows, and they are those heard most often.
    Method: pyannote.audio's speaker counting and reconstruction (Bredin, 2023).
    """
    windows, frames, _ = activity.shape
    total = (windows - 1) * hop + frames
    votes = np.zeros((total, int(labels.max(initial=NOBODY)) + 1), np.uint8)
    speaking = np.zeros(total, np.uint8)
    seen = np.zeros(total, np.uint8)
    for window in range(windows):
        span = slice(window * hop, window * hop + frames)
        seen[span] += 1
        present = np.zeros((frames, votes.shape[1]), bool)
        for local, label in enumerate(labels[window]):
            if label != NOBODY:
                present[:, label] |= activity[window, :, local]
        votes[span] += present
        speaking[span] += present.sum(axis=1, dtype=np.uint8)
    many = np.round(speaking / seen)
    active = votes > 0
    for first in range(0, total, _BLOCK):
        part = slice(first, first + _BLOCK)
        order = np.argsort(-votes[part].astype(np.int8), axis=1, kind="stable")
        active[part] &= np.argsort(order, axis=1, kind="stable") < many[part, None]
    return active[:length]


def turns(
    active: NDArray[np.bool_], step: float, offset: float, pause: float, flicker: float = 0.0
) -> list[tuple[float, float, int]]:
    """Stretches (start, end, speaker) of ``active`` (frames, speakers); frame i is centred at ``offset + i * step``.

    In seconds. A pause of up to ``pause`` does not end a turn if nobody else speaks in it. Before that, stretches of
    less than ``flicker`` are dropped, unless a speaker has no others.
    """
    stretches = [_find_stretches(column, flicker / step) for column in active.T]
    anybody = np.zeros(len(active) + 1, np.intp)  # how many frames before this one have a speaker
    for first, last in (stretch for each in stretches for stretch in each):
        anybody[first + 1 : last + 1] = 1
    anybody = np.cumsum(anybody)
    edge = offset - step / 2
    found: list[tuple[float, float, int]] = []
    for speaker, each in enumerate(stretches):
        joined: list[list[int]] = []
        for first, last in each:
            silent = bool(joined) and anybody[first] == anybody[joined[-1][1]]
            if silent and (first - joined[-1][1]) * step <= pause:
                joined[-1][1] = last
            else:
                joined.append([first, last])
        found += [(edge + first * step, edge + last * step, speaker) for first, last in joined]
    return found


def _find_stretches(column: NDArray[np.bool_], flicker: float) -> list[tuple[int, int]]:
    """First and last (exclusive) frame of each run of true frames that is no flicker; of all if there is no other."""
    edges = np.flatnonzero(np.diff(column.astype(np.int8), prepend=0, append=0))
    runs = list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
    return [(first, last) for first, last in runs if last - first >= flicker] or runs


def order_turns(turns: Iterable[tuple[float, float, object]]) -> list[SpeakerTurn]:
    """Turns ``(start, end, speaker)`` in seconds, sorted, with speakers named SPEAKER_00, ... in order of first turn.

    Turns that are empty when rounded to milliseconds are dropped.
    """
    names: dict[object, str] = {}
    ordered: list[SpeakerTurn] = []
    for start, end, who in sorted(turns, key=lambda turn: turn[:2]):
        if round(end, 3) > round(start, 3):
            name = names.setdefault(who, f"SPEAKER_{len(names):02d}")
            ordered.append(SpeakerTurn(start=start, end=end, speaker=name))
    return ordered
