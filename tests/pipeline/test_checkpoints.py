"""Results that stages pass to each other, in this process and to the next."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stenopool.errors import ObjectNotFound
from stenopool.pipeline.checkpoints import ASSIGNED, DIARIZED, Checkpoint, Diarized, WorkArea
from stenopool.speech.transcript import SpeakerTurn, Transcript
from stenopool.storage.local import LocalStore

TURNS = Diarized(turns=[SpeakerTurn(start=0.0, end=1.5, speaker="SPEAKER_00")], diarizer_version="1", seconds=0.25)
NAME = "0" * 32


class _Unreadable(LocalStore):
    """A stored object must not be read again."""

    def stream(self, key: str, *, first: int = 0, last: int | None = None, etag: str | None = None) -> Iterator[bytes]:
        raise AssertionError(f"{key} was read")


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def test_another_process_finds_a_checkpoint(store: LocalStore) -> None:
    WorkArea(store, NAME).save(DIARIZED, TURNS)
    other = WorkArea(store, NAME)
    assert other.has(DIARIZED)
    assert other.load(DIARIZED) == TURNS


def test_a_checkpoint_of_another_version_is_ignored(store: LocalStore) -> None:
    WorkArea(store, NAME).save(DIARIZED, TURNS)
    assert not WorkArea(store, NAME).has(Checkpoint(DIARIZED.name, DIARIZED.version + 1, Diarized))


def test_a_process_does_not_read_its_own_checkpoints(tmp_path: Path) -> None:
    work = WorkArea(_Unreadable(tmp_path), NAME)
    work.save(DIARIZED, TURNS)
    assert work.load(DIARIZED) is TURNS


def test_a_result_held_in_memory_is_not_a_checkpoint(store: LocalStore) -> None:
    work = WorkArea(store, NAME)
    work.keep(ASSIGNED, Transcript())
    assert work.load(ASSIGNED) == Transcript()
    assert not work.has(ASSIGNED)
    assert list(store.list()) == []


def test_a_removed_work_area_leaves_nothing(store: LocalStore) -> None:
    work = WorkArea(store, NAME)
    work.save(DIARIZED, TURNS)
    work.keep(ASSIGNED, Transcript())
    work.remove()
    assert list(store.list()) == []
    for checkpoint in (DIARIZED, ASSIGNED):
        with pytest.raises(ObjectNotFound):
            work.load(checkpoint)
