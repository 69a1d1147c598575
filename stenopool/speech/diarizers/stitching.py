"""Turn the local speakers of overlapping windows into the speakers and turns of a recording: cluster, then stitch.

Clustering is agglomerative, with limits on the number of speakers.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stenopool.speech.transcript import SpeakerTurn

Embeddings = NDArray[np.float32]
Labels = NDArray[np.intp]

# Average-linkage cosine distance above which two voices are different people: the middle of the range (0.3 to 0.4) in
# which the result is stable for read speech, telephone calls and far-field meetings.
THRESHOLD = 0.35
# A cluster with fewer embeddings is a cough or a laugh, not a person. Short recordings need fewer.
SMALLEST = 5
# Maximum number of embeddings: the distances of 5,000 take 100 MB, those of a 12-hour recording would take gigabytes.
LARGEST = 5_000
# Seconds of a voice speaking alone that are enough to identify it (as in pyannote.audio 4).
_RELIABLE = 2.0

NOBODY = -1
# Frames ranked at a time: ranks take 16 bytes per frame and speaker, which is gigabytes for a day with many speakers.
_BLOCK = 65_536


class LocalSpeakers(NamedTuple):
    """Local speakers of windows: activity (w, frames, 3), embeddings (w, 3, d), seconds alone (w, 3)."""

    activity: NDArray[np.bool_]
    embeddings: Embeddings
    alone: NDArray[np.float64]


def identify(local: LocalSpeakers, at_least: int, at_most: int | None) -> NDArray[np.intp]:
    """Return labels (windows, 3) of the local speakers over the whole recording.

    Voices that speak alone for long enough are clustered; the others are assigned to the nearest cluster. If there are
    too few of the former (in a very short recording), all embeddings are clustered.
    """
    labels = np.full(local.alone.shape, NOBODY, np.intp)
    known = ~np.isnan(local.embeddings[:, :, 0])
    if not known.any():
        return labels
    sure = known & (local.alone >= _RELIABLE)
    if sure.sum() < at_least or not sure.any():
        sure = known
    labels[sure] = cluster(local.embeddings[sure], at_least, at_most)
    rest = known & ~sure
    if rest.any():
        centers = centroids(unit(local.embeddings[sure]), labels[sure])
        labels[rest] = nearest(local.embeddings[rest], centers)
    return labels


def cluster(embeddings: Embeddings, at_least: int = 1, at_most: int | None = None) -> Labels:
    """Label each embedding, (n, d) → (n,), from 0: ``at_least`` to ``at_most`` labels, fewer for fewer embeddings.

    Method: average-linkage agglomerative clustering, small clusters merged into the nearest large one, as in
    pyannote.audio 3.1 (Bredin, 2023).
    """
    from scipy.cluster.hierarchy import fcluster, linkage  # type: ignore[import-untyped]

    count = len(embeddings)
    at_most = min(at_most or count, count)
    at_least = min(at_least, count)
    if at_most <= 1:
        return np.zeros(count, np.intp)
    units = unit(embeddings)
    sample = units[:: -(-count // LARGEST)]
    tree = linkage(sample, method="average", metric="cosine")
    size = min(SMALLEST, max(1, round(0.1 * len(sample))))
    labels = _merge_small(fcluster(tree, THRESHOLD, "distance"), sample, size)
    found = len(np.unique(labels))
    wanted = min(max(found, at_least), at_most)
    if wanted != found:
        labels = _cut_to(wanted, tree, sample, size)
    if len(sample) == count:
        return labels
    return nearest(units, centroids(sample, labels))


def centroids(embeddings: Embeddings, labels: Labels) -> Embeddings:
    """The mean embedding of each label: shape (labels, d), in order of the labels."""
    return np.stack([embeddings[labels == label].mean(axis=0) for label in np.unique(labels)])


def nearest(embeddings: Embeddings, centers: Embeddings) -> Labels:
    """The index of the center nearest to each embedding by cosine: (n, d), (k, d) → (n,)."""
    labels: Labels = np.argmax(unit(embeddings) @ unit(centers).T, axis=1)
    return labels


def unit(vectors: Embeddings) -> Embeddings:
    """Normalize the vectors to length 1. A zero vector stays zero."""
    units: Embeddings = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
    return units


def _cut_to(wanted: int, tree: NDArray[np.float64], sample: Embeddings, size: int) -> Labels:
    """Cut the tree lower until it has ``wanted`` clusters of at least ``size``, or of a smaller size if necessary."""
    from scipy.cluster.hierarchy import cut_tree

    cuts = cut_tree(tree, n_clusters=range(wanted, min(len(sample), wanted + 200) + 1))
    for smallest in range(size, 0, -1):
        for labels in cuts.T:
            if (np.unique(labels, return_counts=True)[1] >= smallest).sum() == wanted:
                return _merge_small(labels, sample, smallest)
    return np.asarray(cuts[:, 0], np.intp)


def _merge_small(labels: NDArray[np.integer], embeddings: Embeddings, size: int) -> Labels:
    """Merge clusters of fewer than ``size`` embeddings into the nearest larger one, if any. Labels count from 0."""
    _, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    means = centroids(embeddings, index)
    large = np.flatnonzero(counts >= size)
    if len(large) == 0:
        return np.zeros(len(labels), np.intp)
    target = nearest(means, means[large])
    target[large] = np.arange(len(large))
    return target[index]


def stitch(
    activity: NDArray[np.bool_], labels: NDArray[np.intp], hop: int, *, length: int | None = None
) -> NDArray[np.bool_]:
    """Return who is active in each frame of the recording: shape (frames, speakers).

    ``activity`` (windows, frames, local speakers): who is active in each window; windows are ``hop`` frames apart.
    ``labels`` (windows, local speakers): the corresponding speakers of the recording, or `NOBODY`. Windows vote: the
    number of speakers in a frame is the mean over its windows, and they are the ones active in most windows. Method:
    pyannote.audio's speaker counting and reconstruction (Bredin, 2023).
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
    """Convert ``active`` (frames, speakers) to turns (start, end, speaker).

    All times are in seconds; frame i is centred at ``offset + i * step``. First, stretches shorter than ``flicker`` are
    dropped, unless a speaker has no others. Then stretches are joined across pauses of up to ``pause`` in which nobody
    else speaks.
    """
    stretches = [_find_stretches(column, flicker / step) for column in active.T]
    anybody = np.zeros(len(active) + 1, np.intp)  # number of frames with a speaker before this one
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
    """First and last (exclusive) frame of each run of true frames, without flickers unless there are only flickers."""
    edges = np.flatnonzero(np.diff(column.astype(np.int8), prepend=0, append=0))
    runs = list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
    return [(first, last) for first, last in runs if last - first >= flicker] or runs


def order_turns(turns: Iterable[tuple[float, float, object]], duration: float) -> list[SpeakerTurn]:
    """Sort turns ``(start, end, speaker)`` and name speakers SPEAKER_00, ... in order of their first turns.

    Times are in seconds. Turns are cut to the recording's duration; turns that are empty after rounding to milliseconds
    are dropped.
    """
    names: dict[object, str] = {}
    ordered: list[SpeakerTurn] = []
    inside = ((max(0.0, start), min(end, duration), who) for start, end, who in turns)
    for start, end, who in sorted(inside, key=lambda turn: turn[:2]):
        if round(end, 3) > round(start, 3):
            name = names.setdefault(who, f"SPEAKER_{len(names):02d}")
            ordered.append(SpeakerTurn(start=start, end=end, speaker=name))
    return ordered
