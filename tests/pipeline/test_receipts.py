"""Receipts: their keys sort like the recordings, and contain everything that planning needs."""

from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stenopool.errors import ErrorCode, Failure, RecordingError
from stenopool.options import FORMATS, Format
from stenopool.pipeline.receipts import (
    Receipt,
    ReceiptName,
    delete,
    find_receipts,
    list_receipts,
    parse_receipt_key,
    read,
    receipt_key,
    receipt_stem,
    write,
)
from stenopool.storage import ObjectStore
from stenopool.storage.local import LocalStore
from tests.support.keys import any_key
from tests.support.memory import MemoryStore

FINGERPRINT = "0123456789abcdef" * 2
FAILURE = Failure(code=ErrorCode.EMPTY_FILE, message="No bytes.", remedy="Upload it again.", stage="probe")

# Long keys that differ late: the position of "/" in long receipts must not depend on the rest.
_long = st.tuples(st.sampled_from(["a", "é", "/", "日本", "a-é"]), st.integers(150, 205), any_key)
long_key = _long.map(lambda parts: parts[0] * (parts[1] // len(parts[0].encode())) + parts[2])
key = st.one_of(any_key, long_key)


@given(key, key, st.sampled_from(["0" * 32, "f" * 32]), st.sampled_from(["0" * 32, "f" * 32]))
def test_receipts_sort_as_their_recordings(one: str, other: str, first: str, second: str) -> None:
    receipts = receipt_key(one, first, formats=("json",)), receipt_key(other, second, "quarantined")
    if one != other:
        assert (one.encode() < other.encode()) == (receipts[0].encode() < receipts[1].encode())
        # ... and also where folders are listed part by part
        assert (one.encode() < other.encode()) == (receipts[0].split("/") < receipts[1].split("/"))


@given(key, st.sampled_from(["done", "quarantined"]))
def test_a_receipts_key_identifies_its_recording(recording_key: str, status: str) -> None:
    name = receipt_key(recording_key, FINGERPRINT, status)  # type: ignore[arg-type]
    formats = frozenset(FORMATS) if status == "done" else frozenset()
    assert parse_receipt_key(name) == ReceiptName(recording_key, FINGERPRINT, status, formats)  # type: ignore[arg-type]
    assert parse_receipt_key(name, "known") == ReceiptName("known", FINGERPRINT, status, formats)  # type: ignore[arg-type]
    assert name.startswith(receipt_stem(recording_key))


@given(long_key)
def test_no_part_exceeds_a_file_name(recording_key: str) -> None:
    assert max(len(part.encode()) for part in receipt_key(recording_key, FINGERPRINT, "quarantined").split("/")) <= 255


@given(key, st.sets(st.sampled_from(FORMATS)))
def test_a_receipts_key_contains_its_formats(recording_key: str, formats: set[Format]) -> None:
    name = receipt_key(recording_key, FINGERPRINT, formats=formats)
    assert parse_receipt_key(name) == ReceiptName(recording_key, FINGERPRINT, "done", frozenset({"json", *formats}))
    assert name.startswith(receipt_stem(recording_key))


def test_the_encoding_is_the_documented_one() -> None:
    reversed_formats = ("html", "rttm", "tsv", "txt", "vtt", "srt", "json")  # all formats when this was documented
    assert receipt_key("calls/a b-1.wav", FINGERPRINT) == f".receipts/calls%2Fa%20b%2D1%2Ewav!{FINGERPRINT}.json"
    assert receipt_key("é!", FINGERPRINT, "quarantined") == f".receipts/é%21!{FINGERPRINT}.quarantined.json"
    assert receipt_key("a", FINGERPRINT, formats=("srt", "json", "tsv")) == f".receipts/a!{FINGERPRINT}.jsc.json"
    assert receipt_key("a", FINGERPRINT, formats=reversed_formats) == f".receipts/a!{FINGERPRINT}.json"
    assert receipt_key("a" * 201, FINGERPRINT) == f".receipts/{'a' * 200}/a!{FINGERPRINT}.json"
    assert receipt_key("a" * 200, FINGERPRINT) == f".receipts/{'a' * 200}/!{FINGERPRINT}.json"


@pytest.mark.parametrize(
    "other",
    [
        ".receipts/x.json",
        ".receipts/x!short.json",
        f".receipts/x!{FINGERPRINT}.q.json",
        f".receipts/x!{FINGERPRINT}..json",
        f".receipts/x!{FINGERPRINT}.json.json",
        "x/transcript.json",
        ".receipts/",
    ],
)
def test_other_keys_are_not_receipts(other: str) -> None:
    assert parse_receipt_key(other) is None


def test_a_key_too_long_for_its_receipt_is_refused() -> None:
    assert receipt_key("k" * 960, FINGERPRINT)
    for long in ("k" * 1000, "-" * 400):
        with pytest.raises(RecordingError) as caught:
            receipt_key(long, FINGERPRINT)
        assert caught.value.code is ErrorCode.KEY_UNUSABLE


def test_the_first_done_receipt_is_kept() -> None:
    store = MemoryStore()
    first = Receipt(key="a/b.wav", fingerprint=FINGERPRINT, status="done", duration=1.5, outputs=("a/b.wav/x",))
    assert write(store, first)
    assert not write(store, first.model_copy(update={"duration": 2.5}))
    assert read(store, ReceiptName("a/b.wav", FINGERPRINT, "done")) == first
    assert read(store, ReceiptName("a/b.wav", "f" * 32, "done")) is None


def test_formats_rendered_later_are_merged_with_the_first() -> None:
    store = MemoryStore()
    first = Receipt(
        key="x", fingerprint=FINGERPRINT, status="done", formats=("json",), outputs=("x/transcript.json",), duration=2.0
    )
    more = Receipt(
        key="x", fingerprint=FINGERPRINT, status="done", formats=("srt", "tsv"), outputs=("x/transcript.srt",)
    )
    assert write(store, first)
    assert write(store, more)
    write(store, Receipt(key="x", fingerprint="f" * 32, status="done", formats=("html",)))
    write(store, Receipt(key="x", fingerprint="f" * 32, status="quarantined", failure=FAILURE))
    assert list(list_receipts(store)) == [
        ReceiptName("x", FINGERPRINT, "done", frozenset({"json", "srt", "tsv"})),
        ReceiptName("x", "f" * 32, "done", frozenset({"json", "html"})),
        ReceiptName("x", "f" * 32, "quarantined"),
    ]
    whole = read(store, ReceiptName("x", FINGERPRINT, "done"))
    assert whole
    assert whole.formats == ("json", "srt", "tsv")
    assert whole.outputs == ("x/transcript.json", "x/transcript.srt")
    assert (whole.duration, whole.created_at) == (2.0, first.created_at)
    assert not write(store, more)


@pytest.mark.parametrize("attempts", [1, 3])  # a rendering that failed has no attempts: the recording was done
def test_a_done_receipt_ends_the_quarantine(attempts: int) -> None:
    store = MemoryStore()
    write(store, Receipt(key="x", fingerprint=FINGERPRINT, status="done", formats=("json",)))
    write(store, Receipt(key="x", fingerprint=FINGERPRINT, status="quarantined", failure=FAILURE))
    write(store, Receipt(key="x", fingerprint=FINGERPRINT, status="done", formats=("srt",), attempts=attempts))
    assert [name.status for name in list_receipts(store)] == ["done"]


def test_a_quarantine_counts_attempts_and_ends_with_success() -> None:
    store = MemoryStore()
    bad = Receipt(key="x", fingerprint=FINGERPRINT, status="quarantined", failure=FAILURE)
    write(store, bad)
    write(store, bad.model_copy(update={"attempts": 2}))
    (name,) = list_receipts(store)
    found = read(store, name)
    assert found
    assert (found.status, found.attempts) == ("quarantined", 2)
    write(store, Receipt(key="x", fingerprint=FINGERPRINT, status="done", attempts=3))
    assert [name.status for name in list_receipts(store)] == ["done"]


def test_reading_many_skips_missing_and_unreadable_receipts() -> None:
    store = MemoryStore()
    write(store, Receipt(key="a", fingerprint=FINGERPRINT, status="done"))
    store.put_bytes(receipt_key("b", FINGERPRINT), b"garbled")
    store.put_bytes(receipt_key("c", FINGERPRINT, "quarantined"), b"{}")
    gone = ReceiptName("d", FINGERPRINT, "done")
    found = [read(store, name) for name in [*list_receipts(store), gone]]
    assert [receipt.key if receipt else None for receipt in found] == ["a", None, None, None]


def test_a_quarantine_receipt_has_an_error_and_a_done_receipt_does_not() -> None:
    with pytest.raises(ValidationError):
        Receipt(key="x", fingerprint=FINGERPRINT, status="quarantined")
    with pytest.raises(ValidationError):
        Receipt(key="x", fingerprint=FINGERPRINT, status="done", failure=FAILURE)


@pytest.mark.parametrize("kind", [LocalStore, MemoryStore])
def test_receipts_of_one_item_are_found_among_all_others(tmp_path: Path, kind: type[ObjectStore]) -> None:
    store = LocalStore(tmp_path) if kind is LocalStore else MemoryStore()
    keys = ["a.wav", "a.wav!", "a", "a.wav.wav", "b/a.wav", "long/" * 90]
    for key, fingerprint in product(keys, ("1" * 32, "2" * 32)):
        for formats in (("json",), ("json", "srt", "html"), FORMATS):
            write(store, Receipt(key=key, fingerprint=fingerprint, status="done", formats=formats))
        write(store, Receipt(key=key, fingerprint=fingerprint, status="quarantined", failure=FAILURE))
    for key, fingerprint in product(keys, ("1" * 32, "2" * 32, "3" * 32)):
        wanted = [name for name in list_receipts(store) if (name.key, name.fingerprint) == (key, fingerprint)]
        assert find_receipts(store, key, fingerprint) == wanted
        assert len(wanted) == (0 if fingerprint[0] == "3" else 2)
    before = len(list(store.list()))
    delete(store, "a.wav", "1" * 32)
    assert find_receipts(store, "a.wav", "1" * 32) == []
    assert len(list(store.list())) == before - 4


@given(st.sets(st.sampled_from(FORMATS)))
def test_every_possible_receipt_is_found(formats: set[Format]) -> None:
    for status in ("done", "quarantined"):
        key = receipt_key("a.wav", "1" * 32, status, formats)
        store = MemoryStore()
        store.put_bytes(key, b"")
        assert [name.status for name in find_receipts(store, "a.wav", "1" * 32)] == [status]
