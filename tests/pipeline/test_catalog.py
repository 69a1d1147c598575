"""The catalog: pending work is the set difference of recordings and receipts, on every store."""

import os
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stenopool.errors import ErrorCode, Failure, SetupError
from stenopool.options import FORMATS, Format, TranscriptionOptions
from stenopool.pipeline.catalog import CatalogEntry, Recording, Selection, list_entries
from stenopool.pipeline.receipts import (
    Receipt,
    list_receipts,
    output_key,
    receipt_key,
    receipt_stem,
    work_key,
    write,
)
from stenopool.pipeline.shards import Plan
from stenopool.storage import ObjectStore, open_store
from stenopool.storage.s3 import S3Store, process_client
from tests.support.faults import Fault, FaultyProxy
from tests.support.keys import any_keys, file_keys
from tests.support.listing_server import ListingServer, MadeUpReceipts, MadeUpRecordings
from tests.support.memory import MemoryStore
from tests.support.permissions import permissions_hold
from tests.support.seaweedfs import SeaweedFS

OPTIONS = TranscriptionOptions()
EVERYTHING = Selection(include=("*",))
FAILURE = Failure(code=ErrorCode.NOT_AUDIO, message="Text.", remedy="Exclude it.")
# More examples where CI has time.
ROUNDS = int(os.environ.get("STENOPOOL_TEST_ROUNDS", "10"))


def receipt(store: ObjectStore, entry: CatalogEntry, state: str) -> None:
    """Write a receipt of this ``state`` for a recording: done, quarantined, older (of other options) or none."""
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


def new_entries(*given: Any) -> list[CatalogEntry]:
    """The pending work of a run."""
    return [entry for entry in list_entries(*given) if entry.state == "new"]


def check_merge(source: ObjectStore, destination: ObjectStore, keys: Iterable[str], given_states: list[str]) -> None:
    """Upload recordings and receipts, and compare the plan with set operations."""
    for key in keys:
        source.put_bytes(key, key.encode())
    wanted = {}
    for entry, state in zip(list(list_entries(source, destination, OPTIONS, EVERYTHING)), given_states, strict=False):
        receipt(destination, entry, state)
        wanted[entry.recording.key] = EXPECTED[state]
    found = [(entry.recording.key, entry.state) for entry in list_entries(source, destination, OPTIONS, EVERYTHING)]
    assert sorted(found) == sorted(wanted.items())
    assert set(wanted) == {key for key in keys if not hidden(key)}
    left = {entry.recording.key for entry in new_entries(source, destination, OPTIONS, EVERYTHING)}
    assert left == {key for key, state in wanted.items() if state == "new"}


def check_named(source: ObjectStore, destination: ObjectStore) -> None:
    """Objects given by name, as in notifications, equal listed objects."""
    found = [
        sorted((entry.recording.key, entry.state) for entry in list_entries(source, destination, OPTIONS, selection))
        for selection in (EVERYTHING, Selection(include=("*",), only=tuple(info.key for info in source.list())))
    ]
    assert found[0] == found[1]


@given(any_keys, states, st.booleans(), st.booleans())
def test_merge_is_set_difference(keys: list[str], given_states: list[str], tree: bool, other_tree: bool) -> None:
    source = MemoryStore("memory://source", folders_first=tree)
    check_merge(source, MemoryStore("memory://destination", folders_first=other_tree), keys, given_states)
    check_named(source, MemoryStore())


@given(any_keys, states, st.booleans())
def test_merge_in_one_bucket(keys: list[str], given_states: list[str], tree: bool) -> None:
    store = MemoryStore(folders_first=tree)
    check_merge(store, store, [key for key in keys if not hidden(key)], given_states)
    for entry in list(list_entries(store, store, OPTIONS, EVERYTHING)):
        outputs(store, entry.recording.key)
    check_named(store, store)


rounds = settings(
    max_examples=ROUNDS, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # each example creates its own folders or buckets


@rounds
@given(file_keys, states)
def test_merge_on_folders(tmp_path_factory: pytest.TempPathFactory, keys: list[str], given_states: list[str]) -> None:
    root = tmp_path_factory.mktemp("merge")
    source, destination = open_store(f"{root}/source"), open_store(f"{root}/source/out")
    check_merge(source, destination, keys, given_states)
    check_named(source, destination)


@rounds
@given(file_keys, states)
def test_merge_on_seaweedfs(bucket: str, keys: list[str], given_states: list[str]) -> None:
    client = open_store(f"s3://{bucket}")
    for info in list(client.list()):
        client.delete(info.key)
    check_merge(open_store(f"s3://{bucket}/in"), open_store(f"s3://{bucket}/in/out"), keys, given_states)


@pytest.fixture(scope="session")
def listing_server() -> Iterator[ListingServer]:
    with ListingServer() as server:
        yield server


@pytest.fixture
def byte_order(listing_server: ListingServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[ListingServer]:
    """The server that lists in AWS's order, with AWS_* set so that ``s3://`` addresses reach it."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", listing_server.endpoint)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    process_client.cache_clear()
    yield listing_server
    process_client.cache_clear()


@rounds
@given(any_keys, states, st.integers(1, 8))
def test_merge_in_byte_order_over_s3(
    byte_order: ListingServer, keys: list[str], given_states: list[str], page_size: int
) -> None:
    byte_order.buckets["bucket"] = []
    source, destination = (S3Store("bucket", prefix, page_size=page_size) for prefix in ("in", "in/out"))
    check_merge(source, destination, keys, given_states)
    found = [entry.recording.key for entry in list_entries(source, destination, OPTIONS, EVERYTHING)]
    assert found == sorted(found)


def test_generated_listings_of_a_bucket_are_merged(byte_order: ListingServer) -> None:
    made_up = MadeUpRecordings(2_345)  # pages of the two listings end at different keys
    byte_order.buckets |= {"recordings": made_up, "transcripts": MadeUpReceipts(made_up)}
    found = list(list_entries(open_store("s3://recordings"), open_store("s3://transcripts"), OPTIONS))
    assert [entry.recording.key for entry in found] == [listed.key for listed in made_up]
    assert [entry.state for entry in found] == ["new" if number % 10 == 9 else "done" for number in range(2_345)]


def test_a_sorted_source_costs_one_listing_of_each_side() -> None:
    source, destination = MemoryStore("memory://a"), MemoryStore("memory://b")
    for number in range(300):
        source.put_bytes(f"{number % 7}/{number}.wav", b"x")
    for entry in list_entries(source, destination, OPTIONS):
        receipt(destination, entry, "done")
    source.lists = destination.lists = 0
    assert {entry.state for entry in list_entries(source, destination, OPTIONS)} == {"done"}
    assert (source.lists, destination.lists) == (1, 1)


def test_changed_content_or_options_make_recordings_pending_again() -> None:
    source, destination = MemoryStore("memory://a"), MemoryStore("memory://b")
    source.put_bytes("one.wav", b"1")
    source.put_bytes("two.wav", b"2")
    for entry in list_entries(source, destination, OPTIONS):
        receipt(destination, entry, "done")
    assert new_entries(source, destination, OPTIONS) == []
    source.put_bytes("two.wav", b"changed")
    assert [entry.recording.key for entry in new_entries(source, destination, OPTIONS)] == ["two.wav"]
    other = TranscriptionOptions(beam_size=1)
    assert [entry.recording.key for entry in new_entries(source, destination, other)] == ["one.wav", "two.wav"]


def taken(source: ObjectStore, destination: ObjectStore, **selection: object) -> list[str]:
    chosen = Selection.model_validate(selection)
    return [entry.recording.key for entry in list_entries(source, destination, OPTIONS, chosen)]


def fill(store: ObjectStore, *keys: str) -> None:
    for key in keys:
        store.put_bytes(key, b"")


def test_the_default_selection() -> None:
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
    no += ["calls_$folder$", "x/..b/a.wav", "...wav"]
    fill(source, *yes, *no)
    assert taken(source, destination) == sorted(yes)


def test_selection_by_patterns_dates_and_counts() -> None:
    source, destination = MemoryStore("memory://a"), MemoryStore("memory://b")
    fill(source, "calls/1.wav", "calls/2.mp3", "calls/deep/3.wav", "notes.txt", "other/4.wav")
    assert taken(source, destination, include=["calls/*.wav"]) == ["calls/1.wav", "calls/deep/3.wav"]
    assert taken(source, destination, include=["*.txt", "*.mp3"]) == ["calls/2.mp3", "notes.txt"]
    assert taken(source, destination, exclude=["calls/*"]) == ["other/4.wav"]
    assert taken(source, destination, include=["calls/*"], exclude=["*.wav"]) == ["calls/2.mp3"]
    assert taken(source, destination, modified_since=datetime(1970, 1, 1, tzinfo=UTC)) != []
    assert taken(source, destination, modified_since=datetime(1970, 1, 2, tzinfo=UTC)) == []


@pytest.mark.parametrize(
    ("given", "planned"),
    [
        ({}, ["3.wav", "6.wav"]),
        ({"retry": frozenset()}, ["2.wav", "3.wav"]),
        ({"retry": frozenset({ErrorCode.NOT_AUDIO})}, ["2.wav", "3.wav"]),
        ({"retry": frozenset({ErrorCode.TOO_LONG})}, ["3.wav", "6.wav"]),
        ({"already_started": 1}, ["3.wav"]),
        ({"already_started": 2}, []),
        ({"already_started": 3}, []),
    ],
)
def test_max_count_counts_only_recordings_to_transcribe(given: dict[str, Any], planned: list[str]) -> None:
    source, destination = MemoryStore("memory://a"), MemoryStore("memory://b")
    fill(source, *(f"{number}.wav" for number in range(1, 10)))
    states = ["done", "quarantined", "none", "quarantined", "done", "none", "none", "quarantined", "none"]
    for entry, state in zip(list(list_entries(source, destination, OPTIONS)), states, strict=True):
        receipt(destination, entry, state)
    plan = Plan(source, destination, OPTIONS, Selection(max_count=2), **given)
    assert [item.recording.key for item in plan.items()] == planned
    assert plan.counts["new"] == len(planned)


def test_an_explicit_list_follows_the_other_rules() -> None:
    source, destination = MemoryStore("memory://a"), MemoryStore("memory://b")
    fill(source, "a.wav", "b.wav", ".hidden.wav", "notes.txt", "folder/")
    only = ["notes.txt", "b.wav", "a.wav", "a.wav", ".hidden.wav", "folder/"]
    found = list(list_entries(source, destination, OPTIONS, Selection(only=tuple(only))))
    assert [entry.recording.key for entry in found] == ["a.wav", "b.wav"]
    receipt(destination, found[1], "done")
    again = list_entries(source, destination, OPTIONS, Selection(only=tuple(only)))
    assert [entry.state for entry in again] == ["new", "done"]
    assert taken(source, destination, only=only, include=["*"]) == ["a.wav", "b.wav", "notes.txt"]
    assert taken(source, destination, only=only, exclude=["a*"]) == ["b.wav"]
    assert taken(source, destination, only=only, modified_since=datetime(1970, 1, 2, tzinfo=UTC)) == []
    assert source.lists == 0


@pytest.mark.parametrize("kind", ["memory", "local", "s3"])
def test_an_unreadable_named_key_fails_alone(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    destination = MemoryStore("memory://b")
    if kind == "s3":
        source: ObjectStore = open_store(f"s3://{request.getfixturevalue('bucket')}")
    else:
        source = open_store(str(tmp_path)) if kind == "local" else MemoryStore("memory://a")
    fill(source, "a.wav", "z.wav", "folder/x.wav")
    only = ("a.wav", "folder", "gone.wav", "gone/too.wav", "k" * 1025, "z.wav")
    found = {entry.recording.key: entry for entry in list_entries(source, destination, OPTIONS, Selection(only=only))}
    assert sorted(found) == sorted(only)
    codes = {key: entry.failure.code if entry.failure else entry.state for key, entry in found.items()}
    assert (codes["a.wav"], codes["z.wav"]) == ("new", "new")
    for key in ("folder", "gone.wav", "gone/too.wav"):
        assert (codes[key], found[key].state) == (ErrorCode.OBJECT_NOT_FOUND, "quarantined")
    assert codes["k" * 1025] in (ErrorCode.KEY_UNUSABLE, ErrorCode.OBJECT_NOT_FOUND)
    plan = Plan(source, destination, OPTIONS, Selection(only=only))
    assert [item.recording.key for item in plan.items()] == ["a.wav", "z.wav"]
    assert {failed.key for failed in plan.unusable} == set(only) - {"a.wav", "z.wav"}


def test_a_named_file_without_read_permission_fails_alone(tmp_path: Path) -> None:
    source, destination = open_store(str(tmp_path)), MemoryStore("memory://b")
    fill(source, "a.wav", "secret.wav")
    (tmp_path / "secret.wav").chmod(0)
    only = Selection(only=("secret.wav", "a.wav"))
    with permissions_hold():
        entries = list(list_entries(source, destination, OPTIONS, only))
    found = [(entry.recording.key, entry.state, entry.failure and entry.failure.code) for entry in entries]
    assert found == [("a.wav", "new", None), ("secret.wav", "waiting", ErrorCode.OBJECT_DENIED)]


def named(source: ObjectStore, destination: ObjectStore, *only: str) -> list[tuple[str, str]]:
    """The entries of named recordings: their keys, and the error code or the state of each."""
    found = list_entries(source, destination, OPTIONS, Selection(only=only))
    return [(entry.recording.key, entry.failure.code if entry.failure else entry.state) for entry in found]


def test_a_named_object_that_the_store_refuses_fails_alone(
    s3: SeaweedFS, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(open_store(f"s3://{bucket}"), "a.wav", "b.wav", "c.wav", "d.wav")
    faults: dict[str, Fault] = {"/b.wav": "denied", "/c.wav": "500"}
    all_fail = False

    def choose(_: str, path: str) -> Fault | None:
        return "denied" if all_fail else next((fault for end, fault in faults.items() if path.endswith(end)), None)

    with FaultyProxy(s3.s3, choose=choose) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        process_client.cache_clear()
        source, only = open_store(f"s3://{bucket}"), ("a.wav", "b.wav", "c.wav", "d.wav")
        assert named(source, MemoryStore("memory://b"), *only) == [
            ("a.wav", "new"),
            ("b.wav", ErrorCode.OBJECT_DENIED),
            ("c.wav", ErrorCode.OBJECT_UNREADABLE),
            ("d.wav", "new"),
        ]
        all_fail = True  # an error of the whole store, which ends the run
        with pytest.raises(SetupError) as caught:
            named(source, MemoryStore("memory://b"), *only)
    assert caught.value.code is ErrorCode.ACCESS_DENIED


@pytest.mark.parametrize("name", ["{uri}/x y/é.wav", "{path}/x y/é.wav", "./x y/é.wav", "x y/é.wav"])
def test_recordings_can_be_named_by_key_address_or_path(name: str, tmp_path: Path) -> None:
    source = open_store(f"{tmp_path}/100% é")
    fill(source, "x y/é.wav")
    only = name.format(uri=source.uri, path=f"{tmp_path}/100% é")
    assert named(source, MemoryStore("memory://b"), only, only) == [("x y/é.wav", "new")]
    quoted = source.uri_of("x y/é.wav")
    assert named(source, MemoryStore("memory://b"), quoted) == [("x y/é.wav", "new")]


def test_recordings_can_be_named_by_address_in_a_bucket() -> None:
    source = MemoryStore("memory://a/in")
    fill(source, "x y/é%.wav", "memory://a/in.wav")
    names = ("memory://a/in/x y/é%.wav", "x y/é%.wav", "memory://a/in.wav", "memory://a/in2/x.wav")
    assert named(source, MemoryStore("memory://b"), *names) == [
        ("memory://a/in.wav", "new"),
        ("memory://a/in2/x.wav", ErrorCode.OBJECT_NOT_FOUND),
        ("x y/é%.wav", "new"),
    ]


def test_excluded_named_recordings_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    source, destination = MemoryStore("memory://a"), MemoryStore("memory://b")
    only = ("a.wav", "notes.txt", ".hidden.wav", "folder/", "", "gone.wav")
    fill(source, "a.wav", "notes.txt", ".hidden.wav", "folder/")
    plan = Plan(source, destination, OPTIONS, Selection(only=only))
    assert [item.recording.key for item in plan.items()] == ["a.wav"]
    assert [failed.key for failed in plan.unusable] == ["gone.wav"]
    left_out = "'', '.hidden.wav', 'folder/', 'notes.txt'"
    assert (
        caplog.messages[-1] == f"Skipped 4 of the given recordings, because a listing would not select them: {left_out}"
    )


def recording(key: str) -> Recording:
    return Recording(uri=f"x/{key}", key=key, size=1, etag="e", modified=0.0)


def outputs(store: ObjectStore, key: str) -> None:
    """The objects in the destination after a finished and an unfinished run."""
    fill(
        store, f"{key}/transcript.json", f"{key}/transcript.html", f"{key}/audio.webm", work_key("f" * 32, "audio.flac")
    )
    fill(store, ".batches/1/manifest.jsonl")


@pytest.mark.parametrize("below", ["out", "a b/100% é"])
def test_our_outputs_in_a_folder_inside_the_source_are_skipped(tmp_path: Path, below: str) -> None:
    source, destination = open_store(str(tmp_path)), open_store(f"{tmp_path}/{below}")
    recordings = ["a.wav", f"{below}.wav", f"{below}-2/x.wav", f"{below}0/y.wav", "z/z.wav"]
    fill(source, *recordings)
    outputs(destination, "a.wav")
    assert taken(source, destination, include=["*"]) == sorted(recordings)


@pytest.mark.parametrize("below", ["out", "a b/100% é"])
def test_our_outputs_below_a_prefix_of_the_source_are_skipped(bucket: str, below: str) -> None:
    source, destination = open_store(f"s3://{bucket}/in"), open_store(f"s3://{bucket}/in/{below}")
    recordings = ["a.wav", f"{below}.wav", f"{below}-2/x.wav", f"{below}0/y.wav", "z/z.wav"]
    fill(source, *recordings)
    outputs(destination, "a.wav")
    assert sorted(taken(source, destination, include=["*"])) == sorted(recordings)


def test_our_outputs_in_the_same_prefix_are_skipped(bucket: str) -> None:
    store = open_store(f"s3://{bucket}/all")
    recordings = ["a.wav", "a.wav-2", "a.wav.copy.wav", "talks/7/audio.mp3", "b.wav"]
    fill(store, *recordings)
    for key in recordings:
        outputs(store, key)
    assert sorted(taken(store, store, include=["*"])) == sorted(recordings)


def test_destinations_inside_one_source_do_not_feed_each_other(bucket: str) -> None:
    """By its name, the audio for a long recording's page could be a recording."""
    source = open_store(f"s3://{bucket}/calls")
    english, german = open_store(f"s3://{bucket}/calls/in-en"), open_store(f"s3://{bucket}/calls/de/2026")
    recordings = ["a.wav", "talks/7/audio.webm", "x/in-en/a.wav/audio.webm"]
    fill(source, *recordings)
    outputs(english, "a.wav")
    outputs(german, "a.wav")

    def check(*destinations: ObjectStore) -> None:
        sounds = [info.key for info in source.list() if info.key.endswith((".webm", ".wav"))]
        for destination in destinations:
            assert sorted(taken(source, destination)) == sorted(recordings)
            assert taken(source, destination, prefix="de/") == []
            assert sorted(taken(source, destination, only=sounds)) == sorted(recordings)

    check(english, german)
    # Also if one of them is the source itself, or had another source: its receipts identify its outputs.
    outputs(source, "a.wav")
    receipt(german, CatalogEntry(recording("other.wav"), "f" * 32, "new"), "done")
    outputs(german, "other.wav")
    check(english, german, source)


def test_our_outputs_around_the_source_are_skipped(bucket: str) -> None:
    source, destination = open_store(f"s3://{bucket}/calls"), open_store(f"s3://{bucket}")
    fill(source, "a.wav", "calls/b.wav", "calls/talk/audio.webm")
    for key in ("a.wav", "calls/b.wav", "calls/talk/audio.webm"):
        outputs(destination, key)
    assert sorted(taken(source, destination)) == ["a.wav", "calls/b.wav", "calls/talk/audio.webm"]


def test_one_folder_cannot_be_source_and_destination(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(SetupError) as caught:
        taken(open_store(str(tmp_path)), open_store(f"{tmp_path}/link"))
    assert caught.value.code is ErrorCode.LOCATION_INVALID


def test_a_key_too_long_for_the_destination_is_reported() -> None:
    source, destination = MemoryStore("memory://a"), MemoryStore("memory://b")
    fill(source, "k" * 1010, "-" * 500, "ok.wav")
    found = {entry.recording.key[:2]: entry for entry in list_entries(source, destination, OPTIONS)}
    assert {key: entry.state for key, entry in found.items()} == {"kk": "quarantined", "--": "quarantined", "ok": "new"}
    failure = found["kk"].failure
    assert failure is not None
    assert failure.code is ErrorCode.KEY_UNUSABLE
    assert found["ok"].failure is None


def test_keys_of_any_length_are_planned_or_reported(byte_order: ListingServer) -> None:
    """No key is dropped, and none breaks the listing."""
    byte_order.buckets["bucket"] = []
    source, destination = open_store("s3://bucket/in"), open_store("s3://bucket/out/of/the/way")
    # Additions of a receipt: its folder, "%2E" for ".", a "/" per 200 bytes, the fingerprint, the longest ending.
    keys = {length: f"{'k' * (length - 4)}.wav" for length in (800, 930, 940, 945, 950, 960, 1000, 1020, 1021)}
    keys[0] = "-" * 330 + ".wav"  # short, but each character takes three bytes in the receipt
    fill(source, *keys.values())
    plan = Plan(source, destination, OPTIONS, Selection())
    planned = [item.recording.key for item in plan.items()]
    reported = [failed.key for failed in plan.unusable]
    assert sorted(planned + reported) == sorted(keys.values())
    assert plan.counts == {"new": len(planned), "quarantined": len(reported)}
    assert {failed.failure.code for failed in plan.unusable} == {ErrorCode.KEY_UNUSABLE}
    assert all(failed.failure.remedy for failed in plan.unusable)
    assert keys[800] in planned
    assert {keys[0], keys[1000], keys[1021]} <= set(reported)
    # Planned keys can be written completely, and reported keys could not: the limit is that of S3.
    for key in keys.values():
        longest = (receipt_key_unchecked(key), output_key(key, "json"))
        fits = all(len(f"out/of/the/way/{name}".encode()) <= 1024 for name in longest)
        assert (key in planned) == fits
    # Every run reports them again, and nothing is planned twice.
    for entry in list(list_entries(source, destination, OPTIONS)):
        if entry.state == "new":
            receipt(destination, entry, "done")
    again = [entry for entry in list_entries(source, destination, OPTIONS) if entry.state == "quarantined"]
    assert [entry.recording.key for entry in again] == reported
    assert new_entries(source, destination, OPTIONS) == []


def receipt_key_unchecked(key: str) -> str:
    return f"{receipt_stem(key)}{'0' * 32}.quarantined.json"


def test_missing_formats_are_rendered() -> None:
    source, destination = MemoryStore("memory://a"), MemoryStore("memory://b")
    fill(source, "all.wav", "bad.wav", "later.wav", "new.wav", "some.wav")
    digests = {entry.recording.key: entry.fingerprint for entry in list_entries(source, destination, OPTIONS)}

    def done(key: str, *formats: str) -> None:
        write(destination, Receipt.model_validate(dict(base, key=key, fingerprint=digests[key], formats=formats)))

    base = {"status": "done"}
    done("all.wav", *FORMATS)
    done("some.wav", "json", "srt")
    done("later.wav", "json", "srt")
    done("later.wav", "vtt")
    write(destination, Receipt(key="bad.wav", fingerprint=digests["bad.wav"], status="quarantined", failure=FAILURE))

    def found(*formats: Format, only: tuple[str, ...] = ()) -> dict[str, tuple[str, tuple[str, ...]]]:
        listed = list_entries(source, destination, OPTIONS, Selection(only=only), formats)
        return {entry.recording.key: (entry.state, entry.missing) for entry in listed}

    assert found("json", "srt", "vtt", "html") == {
        "all.wav": ("done", ()),
        "bad.wav": ("quarantined", ()),
        "later.wav": ("render", ("html",)),
        "new.wav": ("new", ()),
        "some.wav": ("render", ("vtt", "html")),
    }
    assert found("json", "srt", "vtt", "html", only=("some.wav",)) == {"some.wav": ("render", ("vtt", "html"))}
    assert found("json", "srt")["some.wav"] == ("done", ())
    assert {state for state, _ in found().values()} == {"new", "done", "quarantined"}
    done("some.wav", "vtt", "html")
    assert found("json", "srt", "vtt", "html")["some.wav"] == ("done", ())


def test_a_run_clears_the_quarantine_of_finished_recordings() -> None:
    """Left by a run that was killed between two requests, or by versions that never removed it."""
    source, destination = MemoryStore("memory://a"), MemoryStore("memory://b")
    fill(source, "done.wav", "lacks-srt.wav", "bad.wav")
    for entry in list_entries(source, destination, OPTIONS):
        formats: tuple[Format, ...] = FORMATS if entry.recording.key == "done.wav" else ("json",)
        given = {"key": entry.recording.key, "fingerprint": entry.fingerprint}
        write(destination, Receipt.model_validate(given | {"status": "quarantined", "failure": FAILURE}))
        if entry.recording.key != "bad.wav":
            done = Receipt.model_validate(given | {"status": "done", "formats": formats})
            destination.put_bytes(receipt_key(done.key, done.fingerprint, "done", formats), b"{}")

    def quarantined(clears: bool) -> set[str]:
        list(Plan(source, destination, OPTIONS, Selection(), ("json", "srt"), clears=clears).items())
        return {name.key for name in list_receipts(destination) if name.status == "quarantined"}

    assert quarantined(clears=False) == {"done.wav", "lacks-srt.wav", "bad.wav"}
    assert quarantined(clears=True) == {"lacks-srt.wav", "bad.wav"}


def test_a_selection_compares_equal_after_use() -> None:
    used = Selection(include=("*.wav",))
    used.takes("a.wav", 0)
    assert used == Selection(include=("*.wav",))
    assert hash(used) == hash(Selection(include=("*.wav",)))
