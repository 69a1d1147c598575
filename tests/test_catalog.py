"""The catalog: what is pending is the set difference of recordings and receipts, on every store."""

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stenopool.catalog import CatalogEntry, Selection, entries, pending
from stenopool.errors import ErrorCode, Failure, SetupError
from stenopool.options import TranscriptionOptions
from stenopool.receipts import Receipt, work_key, write
from stenopool.storage import ObjectStore, open_store
from tests.support.keys import any_keys, file_keys
from tests.support.memory import MemoryStore

OPTIONS = TranscriptionOptions()
EVERYTHING = Selection(include=("*",))
FAILURE = Failure(code=ErrorCode.NOT_AUDIO, message="Text.", remedy="Exclude it.")
# More of each where CI has time for it.
ROUNDS = int(os.environ.get("STENOPOOL_TEST_ROUNDS", "10"))


def receipt(store: ObjectStore, entry: CatalogEntry, state: str) -> None:
    """Give a recording the receipt of ``state``: done, quarantined, older (of other options) or none."""
    if state == "none":
        return
    failure = FAILURE if state == "quarantined" else None
    digest = "0" * 32 if state == "older" else entry.fingerprint
    status = "quarantined" if failure else "done"
    write(store, Receipt(key=entry.recording.key, fingerprint=digest, status=status, failure=failure))  # type: ignore[arg-type]


EXPECTED = {"none": "new", "older": "new", "done": "done", "quarantined": "quarantined"}
states = st.lists(st.sampled_from(sorted(EXPECTED)), min_size=30, max_size=30)


def hidden(key: str) -> bool:
    return key.startswith(".") or "/." in key or key.endswith("/")


def check_merge(source: ObjectStore, destination: ObjectStore, keys: Iterable[str], given_states: list[str]) -> None:
    """Put recordings and receipts there, and compare with what sets say."""
    for key in keys:
        source.put_bytes(key, key.encode())
    wanted = {}
    for entry, state in zip(list(entries(source, destination, OPTIONS, EVERYTHING)), given_states, strict=False):
        receipt(destination, entry, state)
        wanted[entry.recording.key] = EXPECTED[state]
    found = [(entry.recording.key, entry.state) for entry in entries(source, destination, OPTIONS, EVERYTHING)]
    assert sorted(found) == sorted(wanted.items())
    assert set(wanted) == {key for key in keys if not hidden(key)}
    left = {entry.recording.key for entry in pending(source, destination, OPTIONS, EVERYTHING)}
    assert left == {key for key, state in wanted.items() if state == "new"}


@given(any_keys, states, st.booleans(), st.booleans())
def test_merge_is_set_difference(keys: list[str], given_states: list[str], tree: bool, other_tree: bool) -> None:
    source = MemoryStore("memory://source", folders_first=tree)
    check_merge(source, MemoryStore("memory://destination", folders_first=other_tree), keys, given_states)


@given(any_keys, states, st.booleans())
def test_merge_in_one_bucket(keys: list[str], given_states: list[str], tree: bool) -> None:
    store = MemoryStore(folders_first=tree)
    check_merge(store, store, [key for key in keys if not hidden(key)], given_states)


rounds = settings(
    max_examples=ROUNDS, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # each example makes folders or buckets of its own


@rounds
@given(file_keys, states)
def test_merge_on_folders(tmp_path_factory: pytest.TempPathFactory, keys: list[str], given_states: list[str]) -> None:
    root = tmp_path_factory.mktemp("merge")
    check_merge(open_store(f"{root}/source"), open_store(f"{root}/source/out"), keys, given_states)


@rounds
@given(file_keys, states)
def test_merge_on_seaweedfs(bucket: str, keys: list[str], given_states: list[str]) -> None:
    client = open_store(f"s3://{bucket}")
    for info in list(client.list()):
        client.delete(info.key)
    check_merge(open_store(f"s3://{bucket}/in"), open_store(f"s3://{bucket}/in/out"), keys, given_states)


def test_a_sorted_source_costs_one_listing_of_each() -> None:
    source, destination = MemoryStore("memory://a"), MemoryStore("memory://b")
    for number in range(300):
        source.put_bytes(f"{number % 7}/{number}.wav", b"x")
    for entry in entries(source, destination, OPTIONS):
        receipt(destination, entry, "done")
    source.lists = destination.lists = 0
    assert {entry.state for entry in entries(source, destination, OPTIONS)} == {"done"}
    assert (source.lists, destination.lists) == (1, 1)


def test_changed_content_or_options_make_pending_again() -> None:
    source, destination = MemoryStore("memory://a"), MemoryStore("memory://b")
    source.put_bytes("one.wav", b"1")
    source.put_bytes("two.wav", b"2")
    for entry in entries(source, destination, OPTIONS):
        receipt(destination, entry, "done")
    assert list(pending(source, destination, OPTIONS)) == []
    source.put_bytes("two.wav", b"changed")
    assert [entry.recording.key for entry in pending(source, destination, OPTIONS)] == ["two.wav"]
    other = TranscriptionOptions(beam_size=1)
    assert [entry.recording.key for entry in pending(source, destination, other)] == ["one.wav", "two.wav"]


def taken(source: ObjectStore, destination: ObjectStore, **selection: object) -> list[str]:
    chosen = Selection.model_validate(selection)
    return [entry.recording.key for entry in entries(source, destination, OPTIONS, chosen)]


def fill(store: ObjectStore, *keys: str) -> None:
    for key in keys:
        store.put_bytes(key, b"")


def test_what_is_taken_if_nothing_is_said() -> None:
    source, destination = MemoryStore("memory://a"), MemoryStore("memory://b")
    yes = [
        " leading.flac",
        "-dash.flac",
        "UPPER.FLAC",
        "a.2024.01.02",
        "empty.wav",
        "no_extension",
        "v.mp4",
        "x/y.webm",
    ]
    no = [".hidden.wav", "x/.Trash/a.wav", "n.txt", "N.JSON", "cut.mp3.part", "b.crdownload", "folder/", "p.jpg"]
    fill(source, *yes, *no)
    assert taken(source, destination) == sorted(yes)


def test_patterns_dates_and_counts() -> None:
    source, destination = MemoryStore("memory://a"), MemoryStore("memory://b")
    fill(source, "calls/1.wav", "calls/2.mp3", "calls/deep/3.wav", "notes.txt", "other/4.wav")
    assert taken(source, destination, include=["calls/*.wav"]) == ["calls/1.wav", "calls/deep/3.wav"]
    assert taken(source, destination, include=["*.txt", "*.mp3"]) == ["calls/2.mp3", "notes.txt"]
    assert taken(source, destination, exclude=["calls/*"]) == ["other/4.wav"]
    assert taken(source, destination, include=["calls/*"], exclude=["*.wav"]) == ["calls/2.mp3"]
    assert taken(source, destination, max_count=2) == ["calls/1.wav", "calls/2.mp3"]
    assert taken(source, destination, modified_since=datetime(1970, 1, 1, tzinfo=UTC)) != []
    assert taken(source, destination, modified_since=datetime(1970, 1, 2, tzinfo=UTC)) == []


def test_the_count_is_of_new_ones() -> None:
    source, destination = MemoryStore("memory://a"), MemoryStore("memory://b")
    fill(source, "1.wav", "2.wav", "3.wav", "4.wav")
    for entry in list(entries(source, destination, OPTIONS))[:2]:
        receipt(destination, entry, "done")
    new = pending(source, destination, OPTIONS, Selection(max_count=1))
    assert [entry.recording.key for entry in new] == ["3.wav"]


def test_an_explicit_list_is_taken_as_it_is() -> None:
    source, destination = MemoryStore("memory://a"), MemoryStore("memory://b")
    fill(source, "a.wav", ".hidden", "notes.txt")
    keys = ["notes.txt", "a.wav", "a.wav", ".hidden"]
    chosen = Selection(only=tuple(keys))
    found = list(entries(source, destination, OPTIONS, chosen))
    assert [entry.recording.key for entry in found] == [".hidden", "a.wav", "notes.txt"]
    receipt(destination, found[1], "done")
    assert [entry.state for entry in entries(source, destination, OPTIONS, chosen)] == ["new", "done", "new"]
    assert source.lists == 0
    with pytest.raises(SetupError) as caught:
        taken(source, destination, only=["gone.wav"])
    assert caught.value.code is ErrorCode.OBJECT_NOT_FOUND


def outputs(store: ObjectStore, key: str) -> None:
    """What a finished and an unfinished run leave in the destination."""
    fill(
        store, f"{key}/transcript.json", f"{key}/transcript.html", f"{key}/audio.mp3", work_key("f" * 32, "audio.flac")
    )
    fill(store, ".batches/1/manifest.jsonl")


@pytest.mark.parametrize("below", ["out", "a b/100% é"])
def test_own_outputs_in_a_folder_inside_the_source(tmp_path: Path, below: str) -> None:
    source, destination = open_store(str(tmp_path)), open_store(f"{tmp_path}/{below}")
    recordings = ["a.wav", f"{below}.wav", f"{below}-2/x.wav", f"{below}0/y.wav", "z/z.wav"]
    fill(source, *recordings)
    outputs(destination, "a.wav")
    assert taken(source, destination, include=["*"]) == sorted(recordings)


@pytest.mark.parametrize("below", ["out", "a b/100% é"])
def test_own_outputs_below_a_prefix_of_the_source(bucket: str, below: str) -> None:
    source, destination = open_store(f"s3://{bucket}/in"), open_store(f"s3://{bucket}/in/{below}")
    recordings = ["a.wav", f"{below}.wav", f"{below}-2/x.wav", f"{below}0/y.wav", "z/z.wav"]
    fill(source, *recordings)
    outputs(destination, "a.wav")
    assert sorted(taken(source, destination, include=["*"])) == sorted(recordings)


def test_own_outputs_in_the_same_prefix(bucket: str) -> None:
    store = open_store(f"s3://{bucket}/all")
    recordings = ["a.wav", "a.wav-2", "a.wav.copy.wav", "talks/7/audio.mp3", "b.wav"]
    fill(store, *recordings)
    for key in recordings:
        outputs(store, key)
    assert sorted(taken(store, store, include=["*"])) == sorted(recordings)


def test_one_folder_cannot_be_both(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(SetupError) as caught:
        taken(open_store(str(tmp_path)), open_store(f"{tmp_path}/link"))
    assert caught.value.code is ErrorCode.LOCATION_INVALID


def test_a_key_that_the_destination_cannot_hold_is_never_lost() -> None:
    source, destination = MemoryStore("memory://a"), MemoryStore("memory://b")
    fill(source, "k" * 1010, "-" * 500, "ok.wav")
    found = {entry.recording.key[:2]: entry for entry in entries(source, destination, OPTIONS)}
    assert {key: entry.state for key, entry in found.items()} == {"kk": "quarantined", "--": "quarantined", "ok": "new"}
    failure = found["kk"].failure
    assert failure is not None
    assert failure.code is ErrorCode.KEY_UNUSABLE
    assert found["ok"].failure is None


def test_selection_compares_equal_after_use() -> None:
    used = Selection(include=("*.wav",))
    used.takes("a.wav", 0)
    assert used == Selection(include=("*.wav",))
    assert hash(used) == hash(Selection(include=("*.wav",)))
