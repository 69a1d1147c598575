"""Remaining work of recordings that notifications name, and how many of them one run carries."""

import json
from pathlib import Path
from typing import Any

import pytest

from stenopool.errors import AccessDenied, ErrorCode, Failure, StorageUnavailable
from stenopool.options import TranscriptionOptions
from stenopool.orchestration.arrivals import _split, find_unfinished
from stenopool.pipeline.catalog import Selection, list_entries
from stenopool.pipeline.preflight import check_stores
from stenopool.pipeline.receipts import Receipt, write
from stenopool.storage import open_store
from stenopool.storage.base import ObjectInfo
from tests.support.memory import MemoryStore

OPTIONS = TranscriptionOptions()
FAILURE = Failure(code=ErrorCode.NOT_AUDIO, message="Text.", remedy="Exclude it.")


ERRORS = {"denied.wav": AccessDenied("denied"), "busy.wav": StorageUnavailable("503")}


class Bucket(MemoryStore):
    """A store that refuses to show some of its objects."""

    def head(self, key: str) -> ObjectInfo:
        if key in ERRORS:
            raise ERRORS[key]
        return super().head(key)


def test_finished_missing_and_excluded_keys_need_no_work() -> None:
    source, destination = Bucket("memory://in"), MemoryStore("memory://in/out")
    keys = [
        "a.wav",
        "done.wav",
        "bad.wav",
        "denied.wav",
        "busy.wav",
        "notes.txt",
        "x/",
        ".x.wav",
        "out/a.wav/audio.webm",
    ]
    for key in keys:
        source.put_bytes(key, b"x")
    for entry in list(list_entries(source, destination, OPTIONS)):
        key, digest = entry.recording.key, entry.fingerprint
        if key == "done.wav":
            write(destination, Receipt(key=key, fingerprint=digest, status="done"))
        if key == "bad.wav":
            write(destination, Receipt(key=key, fingerprint=digest, status="quarantined", failure=FAILURE))
    found = find_unfinished(source, destination, OPTIONS, [*keys, "", "gone.wav", "k" * 1025, "a.wav"])
    assert found.new == ["a.wav"]
    assert [(one.key, one.failure.code) for one in found.unreadable] == [
        ("busy.wav", ErrorCode.OBJECT_UNREADABLE),
        ("denied.wav", ErrorCode.OBJECT_DENIED),
    ]
    assert [one.key for one in found.lost] == ["gone.wav", "k" * 1025]
    other = find_unfinished(source, destination, TranscriptionOptions(beam_size=1), ["done.wav", "bad.wav"])
    assert other.new == ["bad.wav", "done.wav"], "receipts are those of other options"


@pytest.mark.parametrize("only", [("notes.txt",), ("out/.work/1/probe", "out/a.wav/audio.webm", "")])
def test_checks_before_a_run_of_excluded_keys_write_nothing(only: tuple[str, ...], tmp_path: Path) -> None:
    """Otherwise a trigger for every written object would start the next run."""
    source, destination = open_store(str(tmp_path)), open_store(f"{tmp_path}/out")
    source.put_bytes("a.wav", b"x")
    check_stores(source, destination, Selection(only=only))
    assert not (tmp_path / "out").exists()
    check_stores(source, destination, Selection(only=(*only, "a.wav")))
    assert (tmp_path / "out").exists(), "the destination is tried"


def test_no_keys_does_not_mean_all_keys() -> None:
    source = MemoryStore("memory://in")
    source.put_bytes("a.wav", b"x")
    assert find_unfinished(source, MemoryStore("memory://out"), OPTIONS, []) == ([], [], [])
    assert source.lists == 0


def test_a_store_that_is_down_is_not_a_recordings_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise StorageUnavailable("503")

    monkeypatch.setattr(Bucket, "list", fail)
    with pytest.raises(StorageUnavailable):
        find_unfinished(Bucket("memory://in"), MemoryStore("memory://out"), OPTIONS, ["busy.wav", "a.wav"])


@pytest.mark.parametrize("key", ["k" * 1024, "漢" * 341, "a.wav"])
def test_runs_carry_as_many_keys_as_their_parameters_can_hold(key: str) -> None:
    keys = [f"{number:04d}{key}"[:1024] for number in range(1000)]
    parts = list(_split(keys))
    assert [one for part in parts for one in part] == keys
    assert max(len(json.dumps(part)) for part in parts) < 400 * 1024
    assert len(parts) == len(json.dumps(keys)) // (256 * 1024) + 1
    assert list(_split([])) == []
