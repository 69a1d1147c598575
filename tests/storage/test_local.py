"""Folders beyond the contract: order, links, odd names, permissions, full disks, what is left behind."""

import os
import random
import socket
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stenopool.errors import ErrorCode, RecordingError, SetupError, StenopoolError, TransientError
from stenopool.storage import ObjectStore, open_store
from stenopool.storage.local import LocalStore
from tests.support.keys import any_key, file_keys


def keys(store: ObjectStore, prefix: str = "", start_after: str = "") -> list[str]:
    return [info.key for info in store.list(prefix, start_after=start_after)]


@given(file_keys, any_key, any_key, st.booleans())
def test_listing_is_what_sorting_and_filtering_say(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], prefix: str, after: str, from_names: bool
) -> None:
    store = open_store(str(tmp_path_factory.mktemp("store")))
    if from_names and names:  # else the random ones seldom hit anything
        chance = random.Random(after)
        prefix, after = (chance.choice(names)[: chance.randint(0, 8)] for _ in range(2))
    for name in names:
        store.put_bytes(name, b"")
    wanted = sorted((name.encode() for name in names if name.startswith(prefix)), key=bytes)
    assert [key.encode() for key in keys(store, prefix)] == wanted
    assert [key.encode() for key in keys(store, prefix, after)] == [name for name in wanted if name > after.encode()]


def test_start_after_reads_only_the_folders_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(str(tmp_path))
    for number in range(30):
        store.put_bytes(f"{number:02}/a.wav", b"")
    read: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: read.append(Path(path).name) or scandir(path))
    assert keys(store, start_after="27/a.wav") == ["28/a.wav", "29/a.wav"]
    assert read == [tmp_path.name, "27", "28", "29"]
    read.clear()
    assert keys(store, "05/") == ["05/a.wav"]
    assert read == ["05"]
    read.clear()
    assert next(store.list()).key == "00/a.wav"
    assert read == [tmp_path.name, "00"]


def test_links_do_not_lead_out(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.wav").write_bytes(b"secret")
    root = tmp_path / "root"
    root.mkdir()
    (root / "real.wav").write_bytes(b"x")
    (root / "inside.wav").symlink_to(root / "real.wav")
    (root / "out.wav").symlink_to(outside / "secret.wav")
    (root / "out").symlink_to(outside)
    (root / "dangling.wav").symlink_to(root / "nothing")
    (root / "round.wav").symlink_to(root / "round.wav")
    (root / "loop").symlink_to(root)
    store = open_store(str(root))
    assert keys(store) == ["inside.wav", "real.wav"]
    assert keys(store, "out/") == []
    assert store.get_bytes("inside.wav") == b"x"
    for key in ("out.wav", "out/secret.wav", "round.wav", "dangling.wav"):
        with pytest.raises(SetupError) as caught:
            store.get_bytes(key)
        assert caught.value.code is ErrorCode.OBJECT_NOT_FOUND
    with pytest.raises(SetupError) as caught:
        store.put_bytes("out/new.wav", b"x")
    assert caught.value.code is ErrorCode.ACCESS_DENIED
    with pytest.raises(SetupError) as caught:
        store.put_bytes("out/folder/new.wav", b"x")
    assert caught.value.code is ErrorCode.ACCESS_DENIED
    store.delete("out/secret.wav")
    assert [path.name for path in outside.iterdir()] == ["secret.wav"]


def test_what_is_no_file_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe.wav")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "socket"))
        assert keys(open_store(str(tmp_path))) == ["a.wav"]


def test_names_that_are_not_utf8_are_passed_over_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.wav")).write_bytes(b"latin-1")
    (tmp_path / "ok.wav").write_bytes(b"")
    assert keys(open_store(str(tmp_path))) == ["ok.wav"]
    assert "not UTF-8" in caplog.text


def test_unfinished_writes_are_never_seen(tmp_path: Path) -> None:
    (tmp_path / ".stenopool-write-0123").write_bytes(b"half")
    store = open_store(str(tmp_path))
    assert keys(store) == []
    with pytest.raises(RecordingError):
        store.get_bytes(".stenopool-write-0123")


@pytest.mark.parametrize("key", ["/abs", "a//b", "a/", "x" * 256, "é" * 128 + "/b"])
def test_keys_that_no_file_can_have(tmp_path: Path, key: str) -> None:
    store = open_store(str(tmp_path))
    for call in (store.uri_of, store.get_bytes, lambda key: store.put_bytes(key, b"")):
        with pytest.raises(RecordingError) as caught:
            call(key)
        assert caught.value.code is ErrorCode.KEY_UNUSABLE


def test_a_file_in_the_way(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put_bytes("a", b"")
    store.put_bytes("b/c", b"")
    for key in ("a/b", "b"):
        with pytest.raises(RecordingError) as caught:
            store.put_bytes(key, b"")
        assert caught.value.code is ErrorCode.KEY_UNUSABLE
    assert keys(store) == ["a", "b/c"]
    assert not [path for path in tmp_path.rglob("*") if "write" in path.name]


def test_delete_leaves_no_empty_folders_but_the_root(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put_bytes("a/b/c/d", b"")
    store.put_bytes("a/e", b"")
    store.delete("a/b/c/d")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "e"]
    store.delete("a/e")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put_bytes("a/b", b"")
    (tmp_path / "a").chmod(0)
    try:
        for call in (lambda: keys(store), lambda: store.get_bytes("a/b"), lambda: store.put_bytes("a/c", b"")):
            with pytest.raises(SetupError) as caught:
                call()
            assert caught.value.code is ErrorCode.ACCESS_DENIED
    finally:
        (tmp_path / "a").chmod(0o700)


def code_of(work: object, *arguments: object) -> ErrorCode:
    with pytest.raises(StenopoolError) as caught:
        work(*arguments)  # type: ignore[operator]
    return caught.value.code


@pytest.mark.skipif(os.getuid() != 0, reason="a small disk can be mounted by root only")
def test_a_full_disk_says_which_side(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no right to mount")
    try:
        big = b"x" * 1_000_000
        assert code_of(open_store(str(small)).put_bytes, "a", big) is ErrorCode.STORAGE_UNAVAILABLE
        assert list(small.iterdir()) == []
        source = open_store(str(tmp_path / "source"))
        source.put_bytes("a", big)
        assert code_of(source.get_file, "a", small / "a") is ErrorCode.SCRATCH_FULL
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_file_that_grows_while_it_is_read(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put_bytes("a.wav", b"x" * 1000)
    chunks = store.stream("a.wav")
    next(chunks)
    with (tmp_path / "a.wav").open("ab") as more:
        more.write(b"y")
    with pytest.raises(TransientError) as caught:
        list(chunks)
    assert caught.value.code is ErrorCode.SOURCE_CHANGED


def test_locations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a b ü%20"
    folder.mkdir()
    by_path, by_uri = open_store(str(folder)), open_store(folder.as_uri())
    assert isinstance(by_path, LocalStore)
    assert by_path.uri == by_uri.uri
    monkeypatch.chdir(folder)
    assert open_store(".").uri == by_path.uri
    assert open_store("s3://bucket/a b/c?d#e/").uri == "s3://bucket/a b/c?d#e"
    assert open_store("s3://bucket").uri == "s3://bucket"
    assert open_store("s3://bucket").uri_of("x/y z") == "s3://bucket/x/y z"


@pytest.mark.parametrize(
    "uri", ["", "s3://", "s3:///key", "s3://user:pass-word@bucket/x", "gs://b/x", "https://me:pass-word@host/x"]
)
def test_what_is_no_location(uri: str) -> None:
    with pytest.raises(SetupError) as caught:
        open_store(uri)
    assert caught.value.code is ErrorCode.LOCATION_INVALID
    assert "pass-word" not in str(caught.value)


def test_a_file_is_no_folder_and_a_source_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    assert code_of(open_store, str(tmp_path / "a.wav")) is ErrorCode.LOCATION_INVALID
    assert keys(open_store(str(tmp_path / "later"))) == []
    with pytest.raises(SetupError) as caught:
        open_store(str(tmp_path / "later"), must_exist=True)
    assert caught.value.code is ErrorCode.OBJECT_NOT_FOUND


def test_named_endings_are_looked_for_without_reading_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(str(tmp_path))
    for number in range(300):
        store.put_bytes(f"r/{number}!a.json", b"")
    monkeypatch.setattr(os, "scandir", lambda _: pytest.fail("the directory was read"))
    found = store.list("r/7!a", endings=(".json", ".x.json"))
    assert [info.key for info in found] == ["r/7!a.json"]


def test_a_directory_that_must_not_be_read_is_told_where_endings_are_named(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    store = open_store(str(tmp_path))
    store.put_bytes("r/a.json", b"")
    (tmp_path / "r").chmod(0)
    try:
        assert code_of(lambda: list(store.list("r/a", endings=[".json"]))) is ErrorCode.ACCESS_DENIED
    finally:
        (tmp_path / "r").chmod(0o755)


@pytest.mark.parametrize("link", ["file in", "file out", "folder", "broken", "round"])
def test_links_are_found_by_their_endings_as_by_a_listing(tmp_path: Path, link: str) -> None:
    root = tmp_path / "root"
    (root / "r").mkdir(parents=True)
    (tmp_path / "secret.json").write_bytes(b"x")
    (root / "there.json").write_bytes(b"x")
    (root / "elsewhere").mkdir()
    (root / "elsewhere" / "a.json").write_bytes(b"x")
    targets = {"file in": root / "there.json", "file out": tmp_path / "secret.json", "broken": root / "no"}
    if link == "folder":
        (root / "r").rmdir()
        (root / "r").symlink_to(root / "elsewhere")
    else:
        (root / "r" / "a.json").symlink_to(targets.get(link, root / "r" / "a.json"))
    store = open_store(str(root))
    listed = list(store.list("r/a"))
    assert list(store.list("r/a", endings=[".json"])) == listed
    assert [info.key for info in listed] == (["r/a.json"] if link == "file in" else [])
