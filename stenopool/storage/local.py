# ruff: noqa: ARG002 (a file has no content type, and a folder no pages)
"""A folder as an object store: keys are relative paths, listed in the order S3 would list them."""

import errno
import io
import os
import shutil
import sys
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

from stenopool.errors import KeyUnusable, LocationInvalid, ObjectNotFound, SourceChanged
from stenopool.runtime.logs import logger
from stenopool.storage.base import ObjectInfo, ObjectStore, check_key, os_errors

_TEMPORARY = ".stenopool-write-"  # how our unfinished writes are called; never listed, never a key
_CHUNK = 1024 * 1024
_LONGEST_NAME = 255  # bytes of one path component, on every usual Linux file system


class LocalStore(ObjectStore):
    """Objects as files under one folder.

    Symbolic links to folders are not walked, and a link to a file counts only if the file lies under the root: a
    folder that others write to must not be able to publish the rest of the disk.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.uri = self.address = self.root.as_uri()

    def uri_of(self, key: str) -> str:
        return self._path(key).as_uri()

    def list(
        self,
        prefix: str = "",
        *,
        start_after: str = "",
        page_size: int | None = None,
        endings: Collection[str] | None = None,
    ) -> Iterator[ObjectInfo]:
        # Only the folder that the prefix names is walked; the rest of the prefix filters its entries.
        folder, slash, beginning = prefix.rpartition("/")
        try:
            path = self._path(folder) if slash else self.root
        except KeyUnusable:
            return
        if self._has_links(path):  # they are not walked
            return
        if endings is None:
            yield from self._walk(path, folder + slash, start_after.encode(), beginning)
            return
        with os_errors(folder), suppress(FileNotFoundError, NotADirectoryError, ValueError):  # a NUL: no file's name
            os.stat(f"{path}/.")  # noqa: PTH116 (Path drops the dot, and this fails where the folder is not to be read)
            # access, because most are missing, and an exception for each would take three times as long.
            found = [end for end in endings if os.access(f"{path}/{beginning}{end}", os.F_OK)]
            for key in sorted(prefix + end for end in found):
                if key > start_after and (info := self._describe(key, self._path(key))):
                    yield info

    def _walk(self, folder: Path, folder_key: str, start_after: bytes, beginning: str = "") -> Iterator[ObjectInfo]:
        """One folder's entries in memory at a time, per level: those whose names start with ``beginning``."""
        found: list[tuple[bytes, os.DirEntry[str]]] = []
        with os_errors(folder_key), suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith(beginning) or entry.name.startswith(_TEMPORARY):
                    continue
                try:
                    sort_key = f"{folder_key}{entry.name}".encode()
                except UnicodeEncodeError:
                    logger.warning("Skipped a name that is not UTF-8: %s", ascii(entry.path))
                    continue
                # A folder's name ends in "/", as all keys below it go on with that.
                found.append((sort_key + b"/" if entry.is_dir(follow_symlinks=False) else sort_key, entry))
        for sort_key, entry in sorted(found, key=itemgetter(0)):
            if sort_key.endswith(b"/"):
                # Every key below begins with sort_key: the whole subtree may be known to be unwanted.
                if sort_key > start_after or start_after.startswith(sort_key):
                    yield from self._walk(Path(entry), sort_key.decode(), start_after)
            elif sort_key > start_after and (info := self._describe(sort_key.decode(), entry)):
                yield info

    def _describe(self, key: str, entry: os.DirEntry[str] | Path) -> ObjectInfo | None:
        """What the listing says of a file; None for what is not one, or not any more."""
        if (is_link := entry.is_symlink()) and not self._stays_inside(Path(entry)):
            logger.warning("Skipped %s: a link that leads out of the folder", os.fspath(entry))
            return None
        # Path, because DirEntry fails on links that lead round in a circle. Not files: a folder, a socket, a pipe.
        if not (Path(entry) if is_link else entry).is_file():
            return None
        with os_errors(key), suppress(FileNotFoundError):
            return _info(key, entry.stat())
        return None

    def head(self, key: str) -> ObjectInfo:
        with self._open(key) as file:
            return _info(key, os.fstat(file.fileno()))

    def stream(self, key: str, *, first: int = 0, last: int | None = None, etag: str | None = None) -> Iterator[bytes]:
        with self._open(key) as file:
            found = _require_content(key, file, etag)
            file.seek(first)
            left = sys.maxsize if last is None else last - first + 1
            while left > 0 and (chunk := file.read(min(left, _CHUNK))):
                left -= len(chunk)
                yield chunk
            _require_content(key, file, found)

    def put_file(self, key: str, path: Path, *, content_type: str | None = None) -> None:
        with path.open("rb") as source:
            self._put(key, source)

    def put_bytes(self, key: str, data: bytes, *, content_type: str | None = None, if_absent: bool = False) -> bool:
        return self._put(key, io.BytesIO(data), if_absent=if_absent)

    def _put(self, key: str, source: BinaryIO, *, if_absent: bool = False) -> bool:
        writer = self.writer(key)
        try:
            with os_errors(key):
                shutil.copyfileobj(source, writer, _CHUNK)
            return writer.publish(if_absent=if_absent)
        finally:
            writer.abort()

    def presigned_put(self, key: str, size: int, lifetime: int) -> str:
        raise LocationInvalid(
            f"{self.uri} is a folder: it takes no direct uploads.",
            remedy="Use a source on S3, or send the file itself.",
        )

    def writer(self, key: str) -> "LocalWriter":
        return LocalWriter(self, key, self._path(key))

    def create(self, path: Path) -> BinaryIO:
        """A new file to write to; folders are made if need be."""
        for _ in range(100):
            if not self._stays_inside(path.parent):
                raise PermissionError(errno.EACCES, "a link leads out of the folder")
            try:
                return path.open("xb")
            except FileNotFoundError:  # not made yet, or a delete elsewhere pruned it just now
                path.parent.mkdir(parents=True, exist_ok=True)
        raise OSError(errno.EBUSY, "the folder is removed again and again")

    def delete(self, key: str) -> None:
        path = self._path(key)
        with os_errors(key), suppress(FileNotFoundError, NotADirectoryError):
            if not self._stays_inside(path.parent):
                return
            path.unlink()
        self.prune(path)

    def prune(self, path: Path) -> None:
        """S3 has no folders, so no empty one stays behind; one that still holds something stops the way up."""
        with suppress(OSError):
            for folder in path.parents:
                if folder == self.root:
                    break
                folder.rmdir()

    def sweep_partial(self, older_than_seconds: float) -> int:
        before, swept = time.time() - older_than_seconds, 0
        # os.walk follows no links, so nothing outside is touched; a folder that cannot be read is passed over.
        for folder, _, files in os.walk(self.root):
            for path in (Path(folder, name) for name in files if name.startswith(_TEMPORARY)):
                with os_errors(path.name), suppress(FileNotFoundError):
                    if path.lstat().st_mtime < before:
                        path.unlink()
                        swept += 1
                        self.prune(path)
        return swept

    def _path(self, key: str) -> Path:
        check_key(key)
        components = key.split("/")
        if "" in components:
            raise KeyUnusable(f"The key {key!r} has an empty part: no file can be named so.")
        if any(len(component.encode()) > _LONGEST_NAME for component in components):
            raise KeyUnusable(f"A part of the key {key!r} exceeds {_LONGEST_NAME} bytes.")
        if components[-1].startswith(_TEMPORARY):
            raise KeyUnusable(f"The key {key!r} is named like our own unfinished writes.")
        return self.root.joinpath(*components)

    def _has_links(self, path: Path) -> bool:
        """Whether a link lies between the root and this path, or is it."""
        below = [path, *path.parents]
        return any(map(os.path.islink, below[: below.index(self.root)]))

    def _stays_inside(self, path: Path) -> bool:
        # Nearly always there are no links, which few looks at the disk tell. Path.resolve() fails on links in a circle.
        return not self._has_links(path) or Path(os.path.realpath(path)).is_relative_to(self.root)

    @contextmanager
    def _open(self, key: str) -> Iterator[BinaryIO]:
        path = self._path(key)
        with os_errors(key):
            if not (self._stays_inside(path) and path.is_file()):
                raise ObjectNotFound(f"{key}: No such file in the folder.")
            with path.open("rb") as file:
                yield file


class LocalWriter:
    """A temporary file beside its place, renamed in the end."""

    def __init__(self, store: LocalStore, key: str, path: Path) -> None:
        self._store, self._key, self._path = store, key, path
        self._temporary = path.with_name(f"{_TEMPORARY}{uuid.uuid4().hex}")
        with os_errors(key):
            self._target = store.create(self._temporary)

    def write(self, data: bytes | bytearray) -> None:
        with os_errors(self._key):
            self._target.write(data)

    def commit(self) -> None:
        self.publish()

    def publish(self, *, if_absent: bool = False) -> bool:
        """As `commit`; with ``if_absent``, False if there is an object already."""
        with os_errors(self._key):
            self._target.flush()
            os.fsync(self._target.fileno())
            self._target.close()
            # A link, unlike a rename, fails if the name is taken: of two writers exactly one wins.
            place = os.link if if_absent else os.replace
            with suppress(FileExistsError):
                place(self._temporary, self._path)
                return True
        return False

    def abort(self) -> None:
        with suppress(OSError):  # a full disk refuses what is still in memory, and that is not wanted any more
            self._target.close()
        with os_errors(self._key):
            self._temporary.unlink(missing_ok=True)
        self._store.prune(self._temporary)


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    etag = f"{status.st_mtime_ns:x}-{status.st_size:x}"
    return ObjectInfo(key, status.st_size, etag, status.st_mtime_ns / 1e9)


def _require_content(key: str, file: BinaryIO, etag: str | None) -> str:
    found = _info(key, os.fstat(file.fileno())).etag
    if etag not in (None, found):
        raise SourceChanged(f"{key} is not the content that was listed.")
    return found
