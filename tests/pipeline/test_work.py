"""What stages leave for one another, in this process and for the next."""

from pathlib import Path

import pytest

from stenopool.errors import ErrorCode, SetupError
from stenopool.pipeline.stages.speech import Diarized
from stenopool.pipeline.work import WorkArea
from stenopool.speech.transcript import SpeakerTurn, Transcript
from stenopool.storage.local import LocalStore

TURNS = Diarized(turns=[SpeakerTurn(start=0.0, end=1.5, speaker="SPEAKER_00")], diarizer_version="1", seconds=0.25)
NAME = "0" * 32


class _Unreadable(LocalStore):
    """What was put there is not asked for again."""

    def read(self, key: str) -> bytes:
        raise AssertionError(f"{key} was read")


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def test_another_process_finds_a_checkpoint(store: LocalStore) -> None:
    WorkArea(store, NAME).save("diarize", TURNS)
    other = WorkArea(store, NAME)
    assert other.has("diarize")
    assert other.load("diarize", Diarized) == TURNS


def test_this_process_does_not_read_its_own(tmp_path: Path) -> None:
    work = WorkArea(_Unreadable(tmp_path), NAME)
    work.save("diarize", TURNS)
    assert work.load("diarize", Diarized) is TURNS


def test_what_is_kept_at_hand_is_no_checkpoint(store: LocalStore) -> None:
    work = WorkArea(store, NAME)
    work.keep("assign", Transcript())
    assert work.load("assign", Transcript) == Transcript()
    assert not work.has("assign")
    assert list(store.list()) == []


def test_nothing_is_left_when_it_is_removed(store: LocalStore) -> None:
    work = WorkArea(store, NAME)
    work.save("diarize", TURNS)
    work.keep("assign", Transcript())
    work.remove()
    assert list(store.list()) == []
    for stage, kind in (("diarize", Diarized), ("assign", Transcript)):
        with pytest.raises(SetupError) as caught:
            work.load(stage, kind)
        assert caught.value.code is ErrorCode.OBJECT_NOT_FOUND
