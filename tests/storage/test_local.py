"""Folders, in addition to the contract: order, links, odd names, permissions, full disks, leftovers."""

import contextlib
import ctypes
import errno
import os
import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stenopool.errors import (
    AccessDenied,
    ErrorCode,
    KeyUnusable,
    ObjectEncrypted,
    RecordingError,
    SetupError,
    StenopoolError,
    StorageUnavailable,
    TransientError,
)
from stenopool.storage import ObjectStore, open_store
from stenopool.storage.base import os_errors
from stenopool.storage.local import LocalStore
from tests.support.keys import any_key, file_keys


def keys(store: ObjectStore, prefix: str = "", start_after: str = "") -> list[str]:
    return [info.key for info in store.list(prefix, start_after=start_after)]


@given(file_keys, any_key, any_key, st.booleans())
def test_listing_equals_sorting_and_filtering(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], prefix: str, after: str, from_names: bool
) -> None:
    store = open_store(str(tmp_path_factory.mktemp("store")))
    if from_names and names:  # otherwise random ones rarely match
        chance = random.Random(after)
        prefix, after = (chance.choice(names)[: chance.randint(0, 8)] for _ in range(2))
    for name in names:
        store.put_bytes(name, b"")
    wanted = sorted((name.encode() for name in names if name.startswith(prefix)), key=bytes)
    assert [key.encode() for key in keys(store, prefix)] == wanted
    assert [key.encode() for key in keys(store, prefix, after)] == [name for name in wanted if name > after.encode()]


def test_start_after_reads_only_the_necessary_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(str(tmp_path))
    for number in range(30):
        store.put_bytes(f"{number:02}/a.wav", b"")
    read: list[str] = []
    scandir = os.scandir
    name_of = lambda held: Path(f"/proc/self/fd/{held}").readlink().name  # noqa: E731
    monkeypatch.setattr(os, "scandir", lambda held: read.append(name_of(held)) or scandir(held))
    assert keys(store, start_after="27/a.wav") == ["28/a.wav", "29/a.wav"]
    assert read == [tmp_path.name, "27", "28", "29"]
    read.clear()
    assert keys(store, "05/") == ["05/a.wav"]
    assert read == ["05"]
    read.clear()
    assert next(store.list()).key == "00/a.wav"
    assert read == [tmp_path.name, "00"]


def test_links_to_the_outside_are_not_followed(tmp_path: Path) -> None:
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


def test_only_files_are_listed(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe.wav")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "socket"))
        assert keys(open_store(str(tmp_path))) == ["a.wav"]


def test_names_that_are_not_utf8_are_skipped_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.wav")).write_bytes(b"latin-1")
    (tmp_path / "ok.wav").write_bytes(b"")
    assert keys(open_store(str(tmp_path))) == ["ok.wav"]
    assert "not UTF-8" in caplog.text


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EIO, StorageUnavailable),
        (errno.ESTALE, StorageUnavailable),
        (errno.ENOTCONN, StorageUnavailable),
        (errno.EUCLEAN, StorageUnavailable),
        (errno.ENOKEY, ObjectEncrypted),
        (errno.EACCES, AccessDenied),
        (errno.ENAMETOOLONG, KeyUnusable),
        (errno.ELOOP, KeyUnusable),
    ],
)
def test_system_errors_are_translated(number: int, kind: type[StenopoolError]) -> None:
    with pytest.raises(StenopoolError) as caught, os_errors("a.wav"):
        raise OSError(number, os.strerror(number))
    assert type(caught.value) is kind


def test_unfinished_writes_are_invisible(tmp_path: Path) -> None:
    (tmp_path / ".stenopool-write-0123").write_bytes(b"half")
    store = open_store(str(tmp_path))
    assert keys(store) == []
    with pytest.raises(RecordingError):
        store.get_bytes(".stenopool-write-0123")


@pytest.mark.parametrize("key", ["/abs", "a//b", "a/", "x" * 256, "é" * 128 + "/b"])
def test_keys_that_cannot_be_file_names_are_refused(tmp_path: Path, key: str) -> None:
    store = open_store(str(tmp_path))
    for call in (store.uri_of, store.get_bytes, lambda key: store.put_bytes(key, b"")):
        with pytest.raises(RecordingError) as caught:
            call(key)
        assert caught.value.code is ErrorCode.KEY_UNUSABLE


def test_a_key_below_a_file_is_refused(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put_bytes("a", b"")
    store.put_bytes("b/c", b"")
    for key in ("a/b", "b"):
        with pytest.raises(RecordingError) as caught:
            store.put_bytes(key, b"")
        assert caught.value.code is ErrorCode.KEY_UNUSABLE
    assert keys(store) == ["a", "b/c"]
    assert not [path for path in tmp_path.rglob("*") if "write" in path.name]


def test_delete_removes_empty_folders_except_the_root(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put_bytes("a/b/c/d", b"")
    store.put_bytes("a/e", b"")
    store.delete("a/b/c/d")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "e"]
    store.delete("a/e")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_missing_permissions_are_reported(tmp_path: Path) -> None:
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
def test_a_full_disk_is_reported_for_the_right_side(tmp_path: Path) -> None:
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


def test_a_file_that_grows_while_it_is_read_is_detected(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    store.put_bytes("a.wav", b"x" * 1000)
    chunks = store.stream("a.wav")
    next(chunks)
    with (tmp_path / "a.wav").open("ab") as more:
        more.write(b"y")
    with pytest.raises(TransientError) as caught:
        list(chunks)
    assert caught.value.code is ErrorCode.SOURCE_CHANGED


def test_addresses_of_folders_are_equivalent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_invalid_addresses_are_refused(uri: str) -> None:
    with pytest.raises(SetupError) as caught:
        open_store(uri)
    assert caught.value.code is ErrorCode.LOCATION_INVALID
    assert "pass-word" not in str(caught.value)


def test_a_file_is_not_a_folder_and_a_source_must_exist(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    assert code_of(open_store, str(tmp_path / "a.wav")) is ErrorCode.LOCATION_INVALID
    assert keys(open_store(str(tmp_path / "later"))) == []
    with pytest.raises(SetupError) as caught:
        open_store(str(tmp_path / "later"), must_exist=True)
    assert caught.value.code is ErrorCode.OBJECT_NOT_FOUND


def test_named_endings_are_found_without_reading_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(str(tmp_path))
    for number in range(300):
        store.put_bytes(f"r/{number}!a.json", b"")
    monkeypatch.setattr(os, "scandir", lambda _: pytest.fail("the directory was read"))
    found = store.list("r/7!a", endings=(".json", ".x.json"))
    assert [info.key for info in found] == ["r/7!a.json"]


def test_an_unreadable_directory_is_reported_if_endings_are_named(tmp_path: Path) -> None:
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
def test_links_are_found_by_their_endings_like_in_a_listing(tmp_path: Path, link: str) -> None:
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


_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@contextlib.contextmanager
def exchanging(one: Path, other: Path) -> Iterator[None]:
    """In the background, exchange two names repeatedly and atomically: neither is ever missing."""
    libc, over = ctypes.CDLL(None, use_errno=True), threading.Event()
    names = os.fsencode(one), os.fsencode(other)

    def exchange() -> None:
        while not over.is_set():
            assert libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture
def raced(tmp_path: Path) -> tuple[LocalStore, Path]:
    """A store with a folder ``d``, to be exchanged with a link to a folder outside; and the folder outside."""
    outside, root = tmp_path / "outside", tmp_path / "root"
    for folder, content in ((outside, b"secret, outside"), (root / "d", b"inside")):
        folder.mkdir(parents=True)
        (folder / "f").write_bytes(content)
    (root / "link").symlink_to(outside)
    return LocalStore(root), outside


def repeat(work: Callable[[], object], seconds: float = 2.0) -> list[Any]:
    """The results of ``work``, repeated for this long, without its errors."""
    found, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(StenopoolError):
            found.append(work())
    return found


def test_nothing_outside_is_read_while_a_folder_is_replaced_by_a_link(raced: tuple[LocalStore, Path]) -> None:
    store, _ = raced
    with exchanging(store.root / "d", store.root / "link"):
        read = repeat(lambda: store.get_bytes("d/f"))
        sizes = repeat(lambda: store.head("d/f").size)
    assert set(read) == {b"inside"}, "and it is read at times"
    assert set(sizes) == {len(b"inside")}


def test_nothing_outside_is_read_while_a_file_is_replaced_by_a_link(raced: tuple[LocalStore, Path]) -> None:
    store, outside = raced
    (store.root / "d" / "link").symlink_to(outside / "f")
    with exchanging(store.root / "d" / "f", store.root / "d" / "link"):
        read = repeat(lambda: store.get_bytes("d/f"))
        listed = repeat(lambda: {info.size for info in store.list("d/")})
    assert set(read) == {b"inside"}
    assert set().union(*listed) == {len(b"inside")}


@pytest.mark.parametrize("endings", [None, ["f"]], ids=["walked", "by endings"])
@pytest.mark.parametrize("prefix", ["", "d/"])
def test_nothing_outside_is_listed_while_a_folder_is_replaced_by_a_link(
    raced: tuple[LocalStore, Path], prefix: str, endings: list[str] | None
) -> None:
    store, _ = raced
    with exchanging(store.root / "d", store.root / "link"):
        listed = repeat(lambda: tuple(info.size for info in store.list(prefix, endings=endings)), 1.0)
    assert set(listed) <= {(), (len(b"inside"),)}


def test_nothing_outside_is_written_or_removed_while_a_folder_is_replaced_by_a_link(
    raced: tuple[LocalStore, Path],
) -> None:
    store, outside = raced
    (outside / "empty").mkdir()
    (outside / ".stenopool-write-theirs").touch()
    changes = (
        lambda: store.put_bytes("d/new", b"x"),
        lambda: store.put_bytes("d/deep/er/new", b"x"),
        lambda: store.put_bytes("d/once", b"x", if_absent=True),
        lambda: store.delete("d/once"),
        lambda: store.delete("d/f"),
        lambda: store.delete("d/empty/none"),
        lambda: store.sweep_partial(-60),
    )
    before = sorted(path.relative_to(outside) for path in outside.rglob("*"))
    with exchanging(store.root / "d", store.root / "link"):
        for change in changes:
            repeat(change, 0.7)
    assert sorted(path.relative_to(outside) for path in outside.rglob("*")) == before
    assert (outside / "f").read_bytes() == b"secret, outside"


def test_an_upload_ends_in_the_folder_where_it_started_even_if_a_link_replaces_it(
    raced: tuple[LocalStore, Path],
) -> None:
    store, outside = raced
    for end in ("commit", "abort"):
        writer = store.writer("d/new")
        writer.write(b"x")
        (store.root / "d").rename(store.root / "moved")
        (store.root / "d").symlink_to(outside)
        getattr(writer, end)()
        (store.root / "d").unlink()
        (store.root / "moved").rename(store.root / "d")
    assert store.get_bytes("d/new") == b"x"
    assert sorted(path.name for path in store.root.glob("d/*")) == ["f", "new"]
    assert [path.name for path in outside.iterdir()] == ["f"]


def test_a_pipe_does_not_block(raced: tuple[LocalStore, Path]) -> None:
    """Opening a pipe waits for a writer, possibly forever; a pipe may also replace a file."""
    store, _ = raced
    os.mkfifo(store.root / "d" / "pipe")
    assert code_of(store.get_bytes, "d/pipe") is ErrorCode.OBJECT_NOT_FOUND
    with exchanging(store.root / "d" / "f", store.root / "d" / "pipe"):
        assert set(repeat(lambda: store.get_bytes("d/f"), 1.0)) == {b"inside"}


def test_descriptors_are_closed(raced: tuple[LocalStore, Path]) -> None:
    store, _ = raced
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(50):
        store.put_bytes("d/e/a", b"x")
        store.put_bytes("d/e/a", b"x", if_absent=True)
        store.writer("d/e/b").commit()
        next(store.list())
        list(store.list("d/", endings=["f"]))
        for refused in ("link/f", "d", "no/f", "d/f/f"):
            with contextlib.suppress(StenopoolError):
                store.get_bytes(refused)
        for refused in ("link/x", "d/f/f", "d/e"):
            with contextlib.suppress(StenopoolError):
                store.put_bytes(refused, b"x")
        store.delete("d/e/a")
        store.delete("d/e/b")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
