"""Shards and batches: every item in exactly one, within the limits."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stenopool.pipeline.catalog import Recording
from stenopool.pipeline.shards import Shard, WorkItem, batches, estimate_seconds, read_shards, split_into_shards
from stenopool.settings import BatchSettings
from tests.support.keys import any_key
from tests.support.memory import MemoryStore


def _item(key: str, seconds: float = 1.0) -> WorkItem:
    recording = Recording(uri=f"memory://{key}", key=key, size=1, etag="e", modified=0.0)
    return WorkItem(recording=recording, fingerprint="0" * 32, seconds=seconds)


some_items = st.lists(st.floats(0, 500), max_size=40).map(
    lambda lengths: [_item(f"{number}.wav", length) for number, length in enumerate(lengths)]
)
some_settings = st.builds(
    BatchSettings,
    shard_seconds=st.floats(1, 2000),
    shard_recordings=st.integers(1, 12),
    batch_seconds=st.floats(1, 2000),
    batch_recordings=st.integers(1, 12),
)


@given(some_items, some_settings)
def test_every_item_is_in_exactly_one_shard(items: list[WorkItem], settings: BatchSettings) -> None:
    made = list(split_into_shards(items, "b", settings))
    assert sorted(p.recording.key for shard in made for p in shard.items) == sorted(p.recording.key for p in items)
    assert [shard.number for shard in made] == list(range(len(made)))
    assert all(1 <= len(shard.items) <= settings.shard_recordings for shard in made)


@given(some_items, st.floats(1, 2000))
def test_shards_are_balanced(items: list[WorkItem], shard_seconds: float) -> None:
    settings = BatchSettings(shard_seconds=shard_seconds, shard_recordings=1000, balanced_shards=1000)
    lengths = [sum(item.seconds for item in shard.items) for shard in split_into_shards(items, "b", settings)]
    longest = max((item.seconds for item in items), default=0.0)
    if lengths:
        assert max(lengths) - min(lengths) <= longest + 1e-6
        assert max(lengths) <= shard_seconds + longest + 1e-6


def test_shards_are_yielded_before_the_listing_ends() -> None:
    def listing() -> Iterator[WorkItem]:
        for number in range(4):
            yield _item(f"{number}.wav")
        raise AssertionError("the listing was read beyond the first shards")

    settings = BatchSettings(shard_recordings=2, balanced_shards=2)
    assert len(next(split_into_shards(listing(), "b", settings)).items) == 2


def test_shards_of_an_earlier_attempt_are_found_again() -> None:
    store = MemoryStore()
    started = list(split_into_shards([_item(f"{n}.wav") for n in range(5)], "b", BatchSettings(shard_recordings=2)))
    for shard in started:
        shard.write(store)
    store.put_bytes(".batches/b/shards/00000.prepare.json", b"{}")  # a result is not a shard
    assert list(read_shards(store, "b")) == started
    assert list(read_shards(store, "another")) == []
    (following,) = split_into_shards([_item("6.wav")], "b", BatchSettings(), first=len(started))
    assert following.number == 3


@given(some_items, some_settings)
def test_every_item_is_in_exactly_one_batch(items: list[WorkItem], settings: BatchSettings) -> None:
    made = list(batches(items, settings))
    assert sorted(item.recording.key for batch in made for item in batch) == sorted(p.recording.key for p in items)
    for batch in made:
        assert 1 <= len(batch) <= settings.batch_recordings
        assert len(batch) == 1 or sum(item.seconds for item in batch) <= settings.batch_seconds


@given(some_items, some_settings)
def test_the_longest_recordings_come_first(items: list[WorkItem], settings: BatchSettings) -> None:
    # A long recording that starts last would keep the run waiting.
    lengths = [item.seconds for batch in batches(items, settings) for item in batch]
    assert lengths == sorted(lengths, reverse=True)


@given(st.lists(any_key, max_size=5))
def test_a_manifest_is_read_as_written(keys: list[str]) -> None:
    store = MemoryStore()
    shard = Shard(batch="2026", number=3, items=tuple(_item(key, 1.5) for key in keys))
    shard.write(store)
    assert list(store.objects) == [shard.manifest]
    assert Shard.read(store, "2026", 3) == shard


@pytest.mark.parametrize("separator", ["\u2028", "\x85"])
def test_a_key_with_another_line_separator_does_not_break_its_manifest(separator: str) -> None:
    store = MemoryStore()
    shard = Shard(batch="b", number=0, items=(_item(f"a{separator}b.wav"),))
    shard.write(store)
    assert Shard.read(store, "b", 0) == shard


def test_lengths_are_estimated_from_the_usual_bit_rate_of_a_format() -> None:
    def seconds(key: str) -> float:
        return estimate_seconds(Recording(uri="", key=key, size=4_800_000, etag="", modified=0.0))

    assert seconds("a.WAV") == seconds("b/a.wav") == 100.0
    assert seconds("a.opus") > seconds("a.mp3") > seconds("a.wav") > seconds("a.mp4")
    assert seconds("no-extension") == seconds("a.mp3")
