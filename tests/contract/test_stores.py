"""The contract of every store, tested on a folder and on a real S3 server."""

import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from stenopool.errors import (
    ErrorCode,
    KeyUnusable,
    LocationInvalid,
    RecordingError,
    SetupError,
    StenopoolError,
    StorageUnavailable,
    TransientError,
)
from stenopool.storage import ObjectStore, open_store
from stenopool.storage.local import LocalStore
from stenopool.storage.s3 import S3Store, process_client
from tests.support.seaweedfs import SeaweedFS

# SeaweedFS keeps neither "//" nor "\" in keys; all other common characters are here.
AWKWARD = [
    " leading and trailing ", "-dash", "!bang", "it's \"quoted\" & $(odd); name", "100%", "%41", "a+b=c", "a#b?c",
    "<x>&amp;", "cafe\u0301 (NFD)", "caf\u00e9 (NFC)", "日本語/録音 №1.flac", "emoji-🎙️.flac", "UPPER.FLAC",
    "upper.flac", "new\nline", "tab\there", "archive.2024.01.02.final.flac", ".hidden", "folder/.hidden", "dots/..b",
    "deep/er/and/deeper", "\uffff", "\U0001f600", "~tilde", "[b]*{c}", "x" * 200,
]  # fmt: skip
# Names that continue with a character below "/" sort before the contents of the folder of that name.
AROUND_SLASH = ["a/b", "a b", "a!b", "a-b", "a.b", "a0", "a/b-c", "a/b/c", "aa"]


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty store of each kind, below a prefix with neighbors."""
    if request.param == "local":
        return open_store(str(tmp_path / "store" / "some prefix"))
    bucket = request.getfixturevalue("bucket")
    return S3Store(bucket, "some prefix", page_size=7)


def keys(store: ObjectStore, prefix: str = "", start_after: str = "") -> list[str]:
    return [info.key for info in store.list(prefix, start_after=start_after)]


def by_bytes(names: list[str]) -> list[str]:
    return sorted(names, key=str.encode)


def fill(store: ObjectStore, names: list[str]) -> None:
    for name in names:
        store.put_bytes(name, name.encode())


def test_awkward_keys_are_preserved(store: ObjectStore) -> None:
    fill(store, AWKWARD)
    assert keys(store) == by_bytes(AWKWARD)
    for name in AWKWARD:
        assert store.get_bytes(name) == name.encode()
        assert store.head(name).size == len(name.encode())
        assert open_store(store.uri_of(name).rpartition("/")[0]).uri  # a full address can be opened again


def test_listing_in_pages_keeps_order_and_loses_nothing(store: ObjectStore) -> None:
    names = [f"{n % 5}/{n:03}.wav" for n in range(60)]
    fill(store, names)
    assert keys(store) == by_bytes(names)
    assert keys(store, "3/") == by_bytes([name for name in names if name.startswith("3/")])
    assert keys(store, "3/01") == by_bytes([name for name in names if name.startswith("3/01")])
    assert keys(store, "none") == []
    for after in ("2/", "2/027.wav", "2/028", "20", "4/059.wav"):
        assert keys(store, start_after=after) == by_bytes([name for name in names if name > after])
    assert keys(store, "3/", start_after="3/028.wav") == by_bytes(
        [n for n in names if n[:2] == "3/" and n > "3/028.wav"]
    )


@pytest.mark.parametrize("page_size", [1, 3, 1000, 5000])
def test_pages_may_have_any_size(store: ObjectStore, page_size: int) -> None:
    names = [f"{number:02}" for number in range(20)]
    fill(store, names)
    assert [info.key for info in store.list(page_size=page_size)] == names
    assert [info.key for info in store.list("1", start_after="14", page_size=page_size)] == names[15:]


def test_listing_by_endings_returns_only_those_endings(store: ObjectStore) -> None:
    # Like receipts: names with a common start, in one folder with many others, some of them folders.
    names = [
        "r/a!1.json",
        "r/a!1.x.json",
        "r/a!1.y.json",
        "r/a!2.json",
        "r/a!1",
        "r/a!1.json.old/z",
        "r/a",
        "r/b!1.json",
    ]
    fill(store, [name for name in names if name != "r/a" or not isinstance(store, S3Store)])
    endings = [".json", ".x.json", ".none.json", ".json.old"]
    there = ["r/a!1.json", "r/a!1.x.json"]
    assert [info.key for info in store.list("r/a!1", endings=endings)] == there
    assert [info.key for info in store.list("r/a!1", endings=endings, start_after=there[0])] == there[1:]
    assert list(store.list("r/a!1", endings=endings)) == [store.head(key) for key in there]
    assert [info.key for info in store.list("r/a!", endings=["1.y.json", "2.json"])] == ["r/a!1.y.json", "r/a!2.json"]
    for prefix in ("r/c", "none/a!1", "r/a!1.json/a", "", "r/a!1/", "nul\0"):
        assert list(store.list(prefix, endings=endings)) == []
    for prefix in ("/", "/r/a!1"):  # SeaweedFS ignores the slash, and would list what does not begin so
        with suppress(LocationInvalid):
            assert list(store.list(prefix, endings=endings)) == []
    assert list(store.list("r/a!1", endings=[])) == []


@pytest.mark.parametrize("name", AWKWARD)
def test_endings_of_awkward_keys_are_found(store: ObjectStore, name: str) -> None:
    store.put_bytes(name, b"")
    folder, slash, last = name.rpartition("/")
    for cut in {0, len(last) // 2, len(last)}:
        prefix, ending = folder + slash + last[:cut], last[cut:]
        assert [info.key for info in store.list(prefix, endings={ending, "other"})] == [name]


def test_listing_a_prefix_equals_filtering_a_full_listing(store: ObjectStore) -> None:
    names = [
        f"{folder}{name}" for folder in ("", "a/", "a/b/") for name in ("x", "x!1", "x!2", "x%20y", "xy/z", "é", "y")
    ]
    fill(store, [name for name in names if not (isinstance(store, S3Store) and name == "a/b")])
    whole = keys(store)
    for prefix in (
        "x",
        "x!",
        "x%",
        "xy",
        "xy/",
        "a",
        "a/",
        "a/x",
        "a/x!",
        "a/xy",
        "a/b/x!1",
        "a/b/é",
        "y",
        "z",
        "a/b",
    ):
        assert keys(store, prefix) == [name for name in whole if name.startswith(prefix)]


def test_a_missing_object_returns_the_default_if_given(store: ObjectStore, tmp_path: Path) -> None:
    store.put_bytes("there", b"content")
    assert store.get_bytes("there", None) == b"content"
    assert store.get_bytes("missing", None) is None
    assert store.get_bytes("there/not", b"default") == b"default"
    with pytest.raises(KeyUnusable):
        store.get_bytes("..", None)


def test_a_presigned_url_accepts_only_the_signed_bytes(store: ObjectStore) -> None:
    if isinstance(store, LocalStore):
        with pytest.raises(SetupError, match="LOCATION_INVALID"):
            store.presigned_put("a b/ü.wav", 4, 60)
        return
    for key in ("a b/ü.wav", "plain"):
        url, headers = store.presigned_put(key, 4, 60)
        assert httpx.put(url, content=b"12345", headers=headers).status_code == 403
        for name in headers:  # each is signed: can be neither omitted nor changed
            others = {other: value for other, value in headers.items() if other != name}
            assert httpx.put(url, content=b"1234", headers=others).status_code == 403
            assert httpx.put(url, content=b"1234", headers={**headers, name: "text/html"}).status_code == 403
        if " " in key:
            assert httpx.put(url.replace("a%20b", "c"), content=b"1234", headers=headers).status_code == 403
        assert not store.exists(key)
        httpx.put(url, content=b"1234", headers=headers).raise_for_status()
        assert httpx.put(url, content=b"4321", headers=headers).status_code == 412
        assert store.get_bytes(key) == b"1234"
        assert store.presigned_put(key, 4, 60, hashlib.sha256(b"1234").hexdigest()).headers["x-amz-checksum-sha256"]


def test_names_around_the_slash_are_all_listed_once(store: ObjectStore) -> None:
    names = [name for name in AROUND_SLASH if name != "a/b"] + (["a/b"] if isinstance(store, S3Store) else [])
    fill(store, names)
    found = keys(store)
    assert by_bytes(found) == by_bytes(names)
    if not isinstance(store, S3Store):  # SeaweedFS lists folders first; the catalog handles that
        assert found == by_bytes(names)


def test_listing_and_head_agree(store: ObjectStore) -> None:
    store.put_bytes("one.wav", b"12345", content_type="audio/wav")
    (listed,) = store.list()
    assert listed.key == "one.wav"
    assert listed.size == 5
    assert abs(listed.modified - store.head("one.wav").modified) < 1.5  # HTTP dates have whole seconds
    assert listed.etag == store.head("one.wav").etag
    store.put_bytes("one.wav", b"54321")
    assert store.head("one.wav").etag != listed.etag


def test_files_are_uploaded_and_downloaded(store: ObjectStore, tmp_path: Path) -> None:
    source = tmp_path / "source.bin"
    source.write_bytes(bytes(range(256)) * 80_000)  # 20 MB: several parts
    store.put_file("big file", source, content_type="audio/flac")
    target = tmp_path / "target.bin"
    size = store.get_file("big file", target, etag=store.head("big file").etag)
    assert target.read_bytes() == source.read_bytes()
    assert size == source.stat().st_size
    assert sorted(path.name for path in tmp_path.glob("*.part")) == []


def test_an_unwritable_local_file_is_not_the_objects_error(store: ObjectStore, tmp_path: Path) -> None:
    store.put_bytes("one.wav", b"12345")
    with pytest.raises(FileNotFoundError):
        store.get_file("one.wav", tmp_path / "no folder" / "one.wav")
    (tmp_path / "a file").write_bytes(b"")
    with pytest.raises(StorageUnavailable):
        store.get_file("one.wav", tmp_path / "a file" / "one.wav")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageUnavailable):
        store.get_file("one.wav", tmp_path / "folder")
    assert not (tmp_path / "folder.part").exists()


def test_empty_objects_are_supported(store: ObjectStore, tmp_path: Path) -> None:
    store.put_bytes("empty.wav", b"")
    assert [info.size for info in store.list()] == [0]
    assert store.get_bytes("empty.wav") == b""
    assert store.get_file("empty.wav", tmp_path / "empty.wav") == 0
    assert (tmp_path / "empty.wav").read_bytes() == b""


def test_content_changed_before_the_download_is_noticed(store: ObjectStore, tmp_path: Path) -> None:
    store.put_bytes("a.wav", b"old")
    etag = store.head("a.wav").etag
    store.put_bytes("a.wav", b"newer")
    target = tmp_path / "a.wav"
    with pytest.raises(TransientError) as caught:
        store.get_file("a.wav", target, etag=etag)
    assert caught.value.code is ErrorCode.SOURCE_CHANGED
    assert list(tmp_path.glob("a.wav*")) == []


def test_if_absent_never_overwrites(store: ObjectStore) -> None:
    assert store.put_bytes("receipt", b"first", if_absent=True)
    assert not store.put_bytes("receipt", b"second", if_absent=True)
    assert store.get_bytes("receipt") == b"first"
    assert store.put_bytes("receipt", b"fourth")
    assert store.get_bytes("receipt") == b"fourth"


def race(count: int, work: Callable[[int], None]) -> None:
    """Run ``work`` in threads that start together."""
    barrier = threading.Barrier(count)

    def one(number: int) -> None:
        barrier.wait()
        work(number)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_exactly_one_of_several_racing_writers_wins(store: ObjectStore) -> None:
    for turn in range(3):
        won: list[int] = []
        key = f"folder {turn}/receipt"

        def write(number: int, key: str = key, won: list[int] = won) -> None:
            if store.put_bytes(key, f"writer {number}".encode() * 1000, if_absent=True):
                won.append(number)

        race(8, write)
        assert len(won) == 1
        assert store.get_bytes(key) == f"writer {won[0]}".encode() * 1000


def test_readers_see_only_whole_objects(store: ObjectStore) -> None:
    contents = [bytes([digit]) * 200_000 for digit in b"0123"]
    store.put_bytes("shared", contents[0])
    torn: list[bytes] = []

    def work(number: int) -> None:
        for _ in range(10):
            if number < 2:
                store.put_bytes("shared", contents[number + 1])
            elif (seen := store.get_bytes("shared")) not in contents:
                torn.append(seen[:10])

    race(4, work)
    assert torn == []
    assert keys(store) == ["shared"]


def test_deleted_objects_are_gone(store: ObjectStore) -> None:
    fill(store, ["a/b/c", "a/d"])
    store.delete("a/b/c")
    store.delete("a/b/c")
    store.delete("never/was")
    assert keys(store) == ["a/d"]
    assert not store.exists("a/b/c")
    assert store.exists("a/d")


@pytest.mark.parametrize("call", ["head", "get_bytes", "get_file"])
def test_a_missing_object_raises_not_found(store: ObjectStore, tmp_path: Path, call: str) -> None:
    store.put_bytes("folder/there", b"")
    for key in ("missing", "folder", "folder/there/not"):
        with pytest.raises(SetupError) as caught:
            store.get_file(key, tmp_path / "x") if call == "get_file" else getattr(store, call)(key)
        assert caught.value.code is ErrorCode.OBJECT_NOT_FOUND
        assert not store.exists(key)


@pytest.mark.parametrize("key", ["", "..", "a/../b", "a/./b", "nul\0", "\udc80", "k" * 1025])
def test_impossible_keys_are_refused(store: ObjectStore, key: str) -> None:
    for call in (store.uri_of, store.head, store.get_bytes, store.delete, lambda key: store.put_bytes(key, b"")):
        with pytest.raises(RecordingError) as caught:
            call(key)
        assert caught.value.code is ErrorCode.KEY_UNUSABLE


def refused(work: Callable[[], object]) -> StenopoolError:
    with pytest.raises(StenopoolError) as caught:
        work()
    return caught.value


def every_call(store: ObjectStore, tmp_path: Path) -> list[Callable[[], object]]:
    (tmp_path / "file").write_bytes(b"x")
    return [
        lambda: list(store.list()),
        lambda: store.head("x"),
        lambda: store.exists("x"),
        lambda: store.get_bytes("x"),
        lambda: store.get_file("x", tmp_path / "target"),
        lambda: store.put_bytes("x", b"x"),
        lambda: store.put_bytes("x", b"x", if_absent=True),
        lambda: store.put_file("x", tmp_path / "file"),
        lambda: store.delete("x"),
        lambda: store.sweep_partial(0),
    ]


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_credentials_are_reported(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "wrong-but-secret-all-the-same")
    process_client.cache_clear()
    for call in every_call(open_store(f"s3://{bucket}/p"), tmp_path):
        error = refused(call)
        assert error.code is ErrorCode.ACCESS_DENIED
        assert "wrong-but-secret" not in str(error)


def test_missing_credentials_are_reported(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))
    process_client.cache_clear()
    for call in every_call(open_store(f"s3://{bucket}/p"), tmp_path):
        assert refused(call).code is ErrorCode.ACCESS_DENIED


def test_an_endpoint_that_is_down_is_reported(s3: SeaweedFS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://user:hidden-word@127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    process_client.cache_clear()
    for call in every_call(open_store("s3://bucket/p"), tmp_path):
        error = refused(call)
        assert isinstance(error, TransientError)
        assert error.code is ErrorCode.STORAGE_UNAVAILABLE
        assert "hidden-word" not in str(error)


def test_a_missing_bucket_is_reported(s3: SeaweedFS, tmp_path: Path) -> None:
    store = open_store("s3://no-such-bucket-here/p")
    assert refused(lambda: list(store.list())).code is ErrorCode.OBJECT_NOT_FOUND
    assert refused(lambda: store.get_bytes("x")).code is ErrorCode.OBJECT_NOT_FOUND
    assert refused(lambda: open_store("s3://no-such-bucket-here", must_exist=True)).code is ErrorCode.OBJECT_NOT_FOUND


def test_content_type_and_parts_reach_the_server(s3: SeaweedFS, bucket: str, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(b"\0" * 20_000_000)
    store = open_store(f"s3://{bucket}/p")
    store.put_file("big.flac", big, content_type="audio/flac")
    store.put_bytes("t.html", b"<p>", content_type="text/html; charset=utf-8")
    client = s3.client()
    assert client.head_object(Bucket=bucket, Key="p/t.html")["ContentType"] == "text/html; charset=utf-8"
    head = client.head_object(Bucket=bucket, Key="p/big.flac")
    assert head["ContentType"] == "audio/flac"
    assert head["ETag"].endswith('-2"')  # two parts of 16 MiB


def test_listings_span_several_real_pages(s3: SeaweedFS, bucket: str) -> None:
    store = open_store(f"s3://{bucket}/p")
    names = [f"{number:04}" for number in range(1100)]
    threads = 8

    def put(thread: int) -> None:
        fill(store, names[thread::threads])

    race(threads, put)
    assert keys(store) == names


def test_a_streamed_object_is_stored_whole_or_not_at_all(store: ObjectStore) -> None:
    whole = bytes(range(256)) * 50_000  # 12.8 MB: three parts on S3
    for key, data in (("deep/er/large", whole), ("small", b"small"), ("empty", b"")):
        writer = store.writer(key)
        for begin in range(0, len(data), 700_000):
            writer.write(data[begin : begin + 700_000])
        assert not store.exists(key)
        writer.commit()
        writer.abort()  # too late to have an effect
        assert store.get_bytes(key) == data
    given_up = store.writer("given/up")
    given_up.write(whole)
    given_up.abort()
    assert sorted(keys(store)) == ["deep/er/large", "empty", "small"]
    time.sleep(1.1)
    assert store.sweep_partial(0) == 0


def test_any_range_of_an_object_can_be_read(store: ObjectStore) -> None:
    data = bytes(range(256)) * 10_000
    store.put_bytes("a", data)
    store.put_bytes("empty", b"")
    assert b"".join(store.stream("a")) == data
    assert b"".join(store.stream("a", first=5, last=5)) == data[5:6]
    assert b"".join(store.stream("a", first=100, last=2_000_000)) == data[100:2_000_001]
    assert b"".join(store.stream("a", first=2_500_000)) == data[2_500_000:]
    assert b"".join(store.stream("empty")) == b""
    etag = store.head("a").etag
    assert b"".join(store.stream("a", first=1, last=2, etag=etag)) == data[1:3]
    store.put_bytes("a", data[:100])
    with pytest.raises(TransientError) as changed:
        next(store.stream("a", etag=etag))
    assert changed.value.code is ErrorCode.SOURCE_CHANGED
    with pytest.raises(SetupError) as gone:
        next(store.stream("none"))
    assert gone.value.code is ErrorCode.OBJECT_NOT_FOUND


def test_killed_writes_are_not_listed_and_are_swept_by_age(store: ObjectStore, tmp_path: Path) -> None:
    killed_write(store, "kept/half.flac")
    killed_write(store, "alone/deep/half.flac")
    store.put_bytes("kept/whole.flac", b"whole")
    assert keys(store) == ["kept/whole.flac"]
    assert store.sweep_partial(3600) == 0  # may still be in progress
    time.sleep(1.1)  # S3 returns whole seconds
    assert store.sweep_partial(1) == 2
    assert store.sweep_partial(0) == 0
    assert keys(store) == ["kept/whole.flac"]
    if isinstance(store, LocalStore):
        assert sorted(path.name for path in store.root.rglob("*")) == ["kept", "whole.flac"]


def test_only_our_unfinished_writes_are_swept(store: ObjectStore, tmp_path: Path) -> None:
    beside = open_store(f"{store.uri} not ours")
    killed_write(beside, "half.flac")
    store.put_bytes("whole", b"")
    time.sleep(1.1)
    assert store.sweep_partial(0) == 0
    assert beside.sweep_partial(0) == 1


def killed_write(store: ObjectStore, key: str) -> None:
    """Start a write like the store, in a process that SIGKILL ends in the middle."""
    child = subprocess.Popen([sys.executable, "-c", _WRITER, store.uri, key], stdout=subprocess.PIPE)
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"half written\n"
        child.kill()


# The writer hangs at the worst moment: locally after half the file, on S3 after the start of the upload.
_WRITER = """
import os, pathlib, shutil, tempfile, sys, time
from stenopool.storage import open_store

def hang(*_, **__):
    os.write(1, b"half written\\n")  # in one piece, whichever of two threads comes first
    time.sleep(60)

store, key = open_store(sys.argv[1]), sys.argv[2]
if sys.argv[1].startswith("s3:"):
    store.client.meta.events.register("before-call.s3.UploadPart", hang)
    with tempfile.NamedTemporaryFile() as file:
        file.truncate(20_000_000)
        store.put_file(key, pathlib.Path(file.name))
else:
    shutil.copyfileobj = lambda source, target, length: (target.write(source.read(3)), hang())
    store.put_bytes(key, b"half and half")
"""
