"""Checks of a destination before any work. S3: tests/storage/test_s3_rules.py; sources: test_addresses.py."""

import os
from pathlib import Path

import pytest

from stenopool.errors import LocationInvalid
from stenopool.pipeline.catalog import Selection
from stenopool.pipeline.preflight import check_destination, check_stores
from stenopool.pipeline.receipts import BATCHES
from stenopool.storage import ObjectStore, open_store
from tests.support.memory import MemoryStore


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "local":
        return open_store(str(tmp_path / "out"))
    return open_store(f"s3://{request.getfixturevalue('bucket')}/out")


def test_a_working_destination_is_unchanged(store: ObjectStore) -> None:
    check_destination(store)
    assert list(store.list()) == []
    store.put_bytes("a.wav/transcript.json", b"{}")
    check_destination(store)
    assert [info.key for info in store.list()] == ["a.wav/transcript.json"]


def test_a_file_system_without_hard_links_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(LocationInvalid, match="hard links"):
        check_destination(open_store(str(tmp_path)))
    assert list(tmp_path.rglob("*")) == []


class ForgetfulStore(MemoryStore):
    """Lists or reads from a cache; keeps deleted objects."""

    fault = ""

    def list(self, *given: object, **named: object):  # type: ignore[no-untyped-def,override]
        return iter(()) if self.fault == "list" else super().list(*given, **named)  # type: ignore[arg-type]

    def get_bytes(self, key: str, default: object = ...) -> bytes:  # type: ignore[override]
        return b"1" if self.fault == "read" else super().get_bytes(key)

    def delete(self, key: str) -> None:
        if self.fault != "delete":
            super().delete(key)


@pytest.mark.parametrize(
    ("fault", "said"), [("list", "return or list"), ("read", "return or list"), ("delete", "does not delete")]
)
def test_a_store_with_stale_or_undeletable_objects_is_refused(fault: str, said: str) -> None:
    store = ForgetfulStore()
    check_destination(store)
    store.fault = fault
    with pytest.raises(LocationInvalid, match=said):
        check_destination(store)


def test_named_recordings_need_no_checks_after_the_first_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    source, destination = MemoryStore("memory://a"), MemoryStore("memory://b")
    destination.put_bytes(f"{BATCHES}1/report.json", b"{}")
    monkeypatch.setattr(destination, "put_bytes", None)
    check_stores(source, destination, Selection(only=("a.wav",)))
    assert source.lists == 0
