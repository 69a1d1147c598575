"""Clusters of generated voices: points around distant directions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stenopool.speech.diarizers import stitching
from stenopool.speech.diarizers.stitching import cluster

pytest.importorskip("scipy")


def voices(*sizes: int, spread: float = 0.15, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of len(sizes) people, and the person of each."""
    random = np.random.default_rng(seed)
    people = np.eye(64, dtype=np.float32)[: len(sizes)]
    who = np.repeat(np.arange(len(sizes)), sizes)
    noise = random.normal(size=(len(who), 64)).astype(np.float32) * spread / 8
    shuffled = random.permutation(len(who))
    return (people[who] + noise)[shuffled], who[shuffled]


def same_partition(one: np.ndarray, other: np.ndarray) -> bool:
    return len(set(zip(one.tolist(), other.tolist(), strict=True))) == len(set(one)) == len(set(other))


@pytest.mark.parametrize("sizes", [(1,), (20,), (20, 20), (40, 8, 9), (10, 10, 10, 10, 10)])
def test_different_voices_are_separated(sizes: tuple[int, ...]) -> None:
    embeddings, who = voices(*sizes)
    assert same_partition(cluster(embeddings), who)


def test_loudness_does_not_matter() -> None:
    embeddings, who = voices(20, 20)
    louder = embeddings * np.linspace(0.1, 50, len(embeddings), dtype=np.float32)[:, None]
    assert same_partition(cluster(louder), who)


def test_a_cough_is_not_a_new_speaker() -> None:
    embeddings, who = voices(60, 60, 2)
    labels = cluster(embeddings)
    assert len(set(labels)) == 2
    assert same_partition(labels[who < 2], who[who < 2])


def test_a_long_recording_is_clustered_by_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stitching, "LARGEST", 50)
    embeddings, who = voices(200, 300, 170)
    assert same_partition(cluster(embeddings), who)


@given(
    count=st.integers(1, 40),
    people=st.integers(1, 6),
    lower=st.integers(1, 8),
    more=st.integers(0, 8),
    seed=st.integers(0, 99),
)
def test_the_limits_are_kept_and_labels_start_at_zero(
    count: int, people: int, lower: int, more: int, seed: int
) -> None:
    embeddings, _ = voices(*[count] * people, spread=1.0, seed=seed)
    labels = cluster(embeddings, lower, lower + more)
    found = sorted(set(labels.tolist()))
    assert labels.shape == (len(embeddings),)
    assert found == list(range(len(found)))
    assert min(lower, len(embeddings)) <= len(found) <= lower + more


def test_the_nearest_two_are_merged_first() -> None:
    east, north = np.eye(2, dtype=np.float32)
    almost_north = np.array([0.5, 0.87], np.float32)
    embeddings = np.repeat(np.stack([east, north, almost_north]), 10, axis=0)
    labels = cluster(embeddings, 2, 2)
    assert same_partition(labels, np.repeat([0, 1, 1], 10))
