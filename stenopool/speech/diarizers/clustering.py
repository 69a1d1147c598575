"""Agglomerative clustering of speaker embeddings, with bounds on the number of speakers."""

import numpy as np
from numpy.typing import NDArray

Embeddings = NDArray[np.float32]
Labels = NDArray[np.intp]

# Average-linkage cosine distance above which two voices are two people: the middle of the range (0.3 to 0.4) in which
# the result is stable for read speech, telephone calls and far-field meetings.
THRESHOLD = 0.35
# A cluster of fewer embeddings is a cough or a laugh, not a person; short recordings need fewer.
SMALLEST = 5
# The distances of 5,000 embeddings take 100 MB; those of a 12-hour recording would take gigabytes.
LARGEST = 5_000


def cluster(embeddings: Embeddings, at_least: int = 1, at_most: int | None = None) -> Labels:
    """A label from 0 for each embedding, (n, d) → (n,): ``at_least`` to ``at_most`` labels, fewer for fewer embeddings.

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
    """The vectors at length 1; a zero vector stays zero."""
    units: Embeddings = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
    return units


def _cut_to(wanted: int, tree: NDArray[np.float64], sample: Embeddings, size: int) -> Labels:
    """Cut the tree lower until it has ``wanted`` clusters of at least ``size``, else of less."""
    from scipy.cluster.hierarchy import cut_tree

    cuts = cut_tree(tree, n_clusters=range(wanted, min(len(sample), wanted + 200) + 1))
    for smallest in range(size, 0, -1):
        for labels in cuts.T:
            if (np.unique(labels, return_counts=True)[1] >= smallest).sum() == wanted:
                return _merge_small(labels, sample, smallest)
    return np.asarray(cuts[:, 0], np.intp)


def _merge_small(labels: NDArray[np.integer], embeddings: Embeddings, size: int) -> Labels:
    """Labels from 0, with clusters of fewer than ``size`` merged into the nearest larger one, if any."""
    _, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    means = centroids(embeddings, index)
    large = np.flatnonzero(counts >= size)
    if len(large) == 0:
        return np.zeros(len(labels), np.intp)
    target = nearest(means, means[large])
    target[large] = np.arange(len(large))
    return target[index]
