# ruff: noqa: ARG002 (a file has no content type, and a folder no pages)
"""A folder as an object store: keys are relative paths, listed in the same order as on S3."""

import errno
import io
import os
import shutil
import stat
import sys
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from stenopool.errors import (
    AccessDenied,
    KeyUnusable,
    LocationInvalid,
    NotAFile,
    ObjectDenied,
    ObjectNotFound,
    ObjectUnreadable,
    SourceChanged,
    StenopoolError,
    StorageUnavailable,
)
from stenopool.storage.absence import find_absence
from stenopool.storage.base import (
    LONGEST_KEY,
    ObjectInfo,
    ObjectStore,
    PresignedPut,
    Walk,
    check_key,
    leave_out,
    leave_out_name,
    os_errors,
)

_TEMPORARY = ".stenopool-write-"  # prefix of unfinished writes; never listed, never a key
_CHUNK = 1024 * 1024
_LONGEST_NAME = 255  # bytes of one path component, on all common Linux file systems
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # no file can be reached by this path
_FOLDER = os.O_PATH | os.O_DIRECTORY


class _LeadsOut(PermissionError):
    """A link on the path points outside the folder."""


class LocalStore(ObjectStore):
    """Objects as files under one folder.

    Symbolic links to folders are not followed, and a link to a file counts only if the file is below the root: a folder
    that others can write to must not expose the rest of the disk. Others may replace folders with links at any time, so
    no path is checked and then opened again. Instead, a file or folder is first held by a descriptor (`O_PATH`, which
    does not open pipes or devices), the kernel reports its real path, and all further access uses the descriptor.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.uri = self.address = self.root.as_uri()
        self._beginning = os.path.join(self.root, "")  # noqa: PTH118 (Path drops the slash at the end)

    def uri_of(self, key: str) -> str:
        return self._path(key).as_uri()

    def list(
        self,
        prefix: str = "",
        *,
        start_after: str = "",
        page_size: int | None = None,
        endings: Collection[str] | None = None,
        walk: Walk | None = None,
    ) -> Iterator[ObjectInfo]:
        # Only the prefix's folder is walked; the rest of the prefix filters its entries.
        folder, slash, beginning = prefix.rpartition("/")
        try:
            path = self._path(folder) if slash else self.root
        except KeyUnusable:
            return
        with self._open_folder(folder, path, searched=endings is not None) as held:
            with os_errors(folder):
                # If the kernel reports a different path, a link was followed; links are not walked.
                if held is None or _real_path(held) != str(path):
                    return
            if endings is None:
                yield from self._walk(held, folder + slash, start_after.encode(), beginning, walk)
                return
            with os_errors(folder), suppress(ValueError):  # NUL cannot be in a file name
                os.stat(".", dir_fd=held)  # fails if the folder cannot be searched
                # os.access, because most files are missing, and an exception for each would take three times as long.
                names = [f"{beginning}{end}" for end in endings if "/" not in end]
                found = [name for name in names if os.access(name, os.F_OK, dir_fd=held)]
                for key in sorted(f"{folder}{slash}{name}" for name in found if not name.startswith(_TEMPORARY)):
                    if key > start_after and (info := self._describe(key, held)):
                        yield info

    def find_absence(self, prefix: str = "") -> ObjectNotFound | None:
        return find_absence(prefix, f"{self.root}/", self._is_file, self._list_names) if prefix else None

    def _is_file(self, key: str) -> bool:
        with suppress(StenopoolError):
            return self.exists(key)
        return False

    def _list_names(self, folder: str, beginning: str) -> Collection[str]:
        """Names in a folder that start with ``beginning``; empty if it is not a folder below the root."""
        with suppress(StenopoolError, OSError):
            path = self._path(folder.removesuffix("/")) if folder else self.root
            with self._open_folder(folder, path) as held:
                if held is not None and _real_path(held) == str(path):
                    return _scan(held, beginning)
        return []

    def _walk(
        self, held: int, folder_key: str, start_after: bytes, beginning: str, walk: Walk | None
    ) -> Iterator[ObjectInfo]:
        """Walk a folder recursively, with one folder's entries per level in memory. ``beginning``: filter for names."""
        found: list[bytes] = []
        with self._noting(folder_key, walk), os_errors(folder_key), os.scandir(held) as entries:
            for entry in entries:
                if not entry.name.startswith(beginning) or entry.name.startswith(_TEMPORARY):
                    continue
                # Add "/" to a folder's name, so that it sorts like the keys below it.
                key = f"{folder_key}{entry.name}{'/' if _is_folder(entry) else ''}"
                try:
                    found.append(key.encode())
                except UnicodeEncodeError:
                    leave_out_name(key, walk)
        for sort_key in sorted(found):
            key = sort_key.decode()
            if key.endswith("/"):
                # All keys below start with sort_key, so the whole subtree can be skipped.
                unwanted = sort_key <= start_after and not start_after.startswith(sort_key)
                if unwanted or (walk and not walk.enters(key)):
                    continue
                if len(sort_key) >= LONGEST_KEY:  # may be endless, and nothing in it can have a valid key
                    message = f"The keys in the folder {key} exceed {LONGEST_KEY} bytes."
                    leave_out(key, KeyUnusable(message), walk)
                    continue
                with self._noting(key, walk), self._open_folder(key, key.split("/")[-2], held) as inner:
                    if inner is not None:
                        yield from self._walk(inner, key, start_after, "", walk)
            elif sort_key > start_after and (info := self._describe(key, held, walk)):
                yield info

    @contextmanager
    def _noting(self, key: str, walk: Walk | None) -> Iterator[None]:
        """With ``walk``, record an error about one file or folder and continue, unless the root has an error too."""
        try:
            yield
        except StenopoolError as error:
            if walk is None or not key:
                raise
            self.check_root()
            what = "folder" if key.endswith("/") else "file"
            match error:
                case AccessDenied():
                    remedy = (
                        f"Allow reading the {what}, or exclude it: --exclude '{key}{'*' if key[-1] == '/' else ''}'."
                    )
                    error = ObjectDenied(f"Access to the {what} {key} is denied.", remedy=remedy)
                case StorageUnavailable():
                    error = ObjectUnreadable(f"The {what} {error.message}")
            leave_out(key, error, walk)

    def check_root(self) -> None:
        root = str(self.root)
        with os_errors(root), os.scandir(root) as entries:
            next(entries, None)
            # Fails if names can be read, but no files in the folder.
            os.stat(f"{root}/.")  # noqa: PTH116 (a Path drops the dot)

    @contextmanager
    def _open_folder(
        self, key: str, path: Path | str, folder: int | None = None, *, searched: bool = False
    ) -> Iterator[int | None]:
        """Open a folder to list it or (``searched``) to look up names; None if it does not exist or is a link."""
        held = None
        with os_errors(key):
            try:
                flags = os.O_NOFOLLOW | (_FOLDER if searched else os.O_RDONLY | os.O_DIRECTORY)
                held = os.open(path, flags, dir_fd=folder)
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
        try:
            yield held
        finally:
            if held is not None:
                os.close(held)

    def _describe(self, key: str, folder: int, walk: Walk | None = None) -> ObjectInfo | None:
        """A listing's entry for a file in an open folder; None if it is not a file or no longer exists."""
        name, status = key.rpartition("/")[2], None
        with self._noting(key, walk), os_errors(key), suppress(FileNotFoundError, NotADirectoryError):
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                status = None
                try:
                    with self._hold(name, folder=folder) as held:
                        status = os.fstat(held)
                except PermissionError:  # `_LeadsOut`, or the link cannot be followed
                    leave_out(key, NotAFile(f"{key} is a link that points outside the folder."), walk)
                except OSError as error:
                    if error.errno not in _ABSENT:
                        raise
                    leave_out(key, NotAFile(f"{key} is a broken link."), walk)
        if status is None or stat.S_ISDIR(status.st_mode):  # a link to a folder, or a name that has just changed
            return None
        if not stat.S_ISREG(status.st_mode):
            leave_out(key, NotAFile(f"{key} is a pipe, socket or device, not a file."), walk)
            return None
        return _info(key, status)

    @contextmanager
    def _hold(self, path: Path | str, flags: int = os.O_PATH, *, folder: int | None = None) -> Iterator[int]:
        """A descriptor of the file or folder at this path, if it is inside the root; otherwise raises `_LeadsOut`.

        The descriptor can be inspected and used to open other files, but not read. Opening it reads nothing and never
        blocks.
        """
        held = os.open(path, flags, dir_fd=folder)
        try:
            if not f"{_real_path(held)}/".startswith(self._beginning):
                raise _LeadsOut(errno.EACCES, "a link points outside the folder")
            yield held
        finally:
            os.close(held)

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

    def presigned_put(self, key: str, size: int, lifetime: int, sha256: str | None = None) -> PresignedPut:
        raise LocationInvalid(
            f"{self.uri} is a folder, which cannot accept direct uploads.",
            remedy="Use a source on S3, or send the file in the request.",
        )

    def writer(self, key: str) -> "LocalWriter":
        return LocalWriter(self, key, self._path(key))

    def create(self, path: Path) -> tuple[int, BinaryIO]:
        """Create a file; returns a descriptor of its folder, and the open file. Creates missing folders."""
        for _ in range(100):
            # Retry if the folder does not exist yet or a concurrent delete has just pruned it.
            with suppress(FileNotFoundError):
                folder = self._make_folder(path.parent)
                try:
                    file = os.open(path.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=folder)
                    return folder, os.fdopen(file, "wb")
                except BaseException:
                    os.close(folder)
                    raise
        raise OSError(errno.EBUSY, "the folder is repeatedly removed")

    def _make_folder(self, path: Path) -> int:
        """A descriptor of the folder at this path, which the caller closes. Creates missing folders."""
        with suppress(FileNotFoundError), self._hold(path, _FOLDER) as held:
            return os.dup(held)
        if path == self.root:
            path.mkdir(parents=True, exist_ok=True)
            return self._make_folder(path)
        above = self._make_folder(path.parent)
        try:
            try:
                os.mkdir(path.name, dir_fd=above)  # not a link, in a folder that is inside the root
            except FileExistsError:
                if stat.S_ISLNK(os.stat(path.name, dir_fd=above, follow_symlinks=False).st_mode):
                    raise  # a broken link
            with self._hold(path.name, _FOLDER, folder=above) as held:
                return os.dup(held)
        finally:
            os.close(above)

    def delete(self, key: str) -> None:
        path = self._path(key)
        gone = suppress(FileNotFoundError, NotADirectoryError, _LeadsOut)
        with os_errors(key), gone, self._hold(path.parent, _FOLDER) as folder:
            os.unlink(path.name, dir_fd=folder)
        self.prune(path)

    def prune(self, path: Path) -> None:
        """Remove empty parent folders, since S3 has no folders. Stops at the first folder that is not empty."""
        with suppress(OSError):
            for empty in path.parents:
                if empty == self.root:
                    break
                with self._hold(empty.parent, _FOLDER) as folder:
                    os.rmdir(empty.name, dir_fd=folder)

    def sweep_partial(self, older_than_seconds: float) -> int:
        before, swept = time.time() - older_than_seconds, 0
        # fwalk uses descriptors and does not follow links. Folders that cannot be read or do not exist are skipped.
        with suppress(OSError):
            for path, _, files, folder in os.fwalk(self.root):
                for name in (name for name in files if name.startswith(_TEMPORARY)):
                    with os_errors(name), suppress(FileNotFoundError):
                        if os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime < before:
                            os.unlink(name, dir_fd=folder)
                            swept += 1
                            self.prune(Path(path, name))
        return swept

    def _path(self, key: str) -> Path:
        check_key(key)
        components = key.split("/")
        if "" in components:
            raise KeyUnusable(f"The key {key!r} has an empty component, which is not a valid file name.")
        if any(len(component.encode()) > _LONGEST_NAME for component in components):
            raise KeyUnusable(f"A component of the key {key!r} exceeds {_LONGEST_NAME} bytes.")
        if components[-1].startswith(_TEMPORARY):
            raise KeyUnusable(f"The key {key!r} is reserved for unfinished writes.")
        return self.root.joinpath(*components)

    @contextmanager
    def _open(self, key: str) -> Iterator[BinaryIO]:
        path = self._path(key)
        with os_errors(key):
            try:
                with self._hold(path) as held:
                    if not stat.S_ISREG(os.fstat(held).st_mode):
                        raise FileNotFoundError(errno.ENOENT, "not a file")
                    file = open(f"/proc/self/fd/{held}", "rb")  # noqa: PTH123, SIM115 (exactly the file that is held)
            except OSError as error:
                if error.errno in _ABSENT or isinstance(error, _LeadsOut):
                    raise ObjectNotFound(f"{key}: no such file in the folder.") from error
                raise
            with file:
                yield file


class LocalWriter:
    """A temporary file in the target's folder, renamed at the end; both use the folder's descriptor."""

    def __init__(self, store: LocalStore, key: str, path: Path) -> None:
        self._store, self._key = store, key
        self._temporary = path.with_name(f"{_TEMPORARY}{uuid.uuid4().hex}")
        self._name = path.name
        with os_errors(key):
            self._folder, self._target = store.create(self._temporary)
        self._open = True

    def write(self, data: bytes | bytearray) -> None:
        with os_errors(self._key):
            self._target.write(data)

    def commit(self) -> None:
        self.publish()

    def publish(self, *, if_absent: bool = False) -> bool:
        """Like `commit`; with ``if_absent``, returns False if the object already exists."""
        folder = self._folder
        with os_errors(self._key):
            self._target.flush()
            os.fsync(self._target.fileno())
            self._target.close()
            if not if_absent:
                os.replace(self._temporary.name, self._name, src_dir_fd=folder, dst_dir_fd=folder)
                self._close()
                return True
            # Unlike a rename, a link fails if the name exists, so exactly one of two writers succeeds.
            with suppress(FileExistsError):
                os.link(self._temporary.name, self._name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
                return True
        return False

    def abort(self) -> None:
        if not self._open:
            return
        with suppress(OSError):  # a full disk refuses buffered data, which is no longer needed
            self._target.close()
        try:
            with os_errors(self._key), suppress(FileNotFoundError):
                os.unlink(self._temporary.name, dir_fd=self._folder)
        finally:
            self._close()
        self._store.prune(self._temporary)

    def _close(self) -> None:
        self._open = False
        os.close(self._folder)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:  # some file systems need another request; `_describe` repeats it and records the error
        return False


def find_missing(folder: Path) -> ObjectNotFound:
    """The error for a folder that does not exist, with suggestions."""

    def list_names(path: str, beginning: str) -> list[str]:
        with suppress(OSError):
            return _scan(f"/{path}", beginning)
        return []

    found = find_absence(f"{str(folder.absolute())[1:]}/", "/", lambda _: False, list_names)
    return ObjectNotFound(f"The folder {folder} does not exist.", remedy=found.remedy if found else None)


def _scan(folder: int | str, beginning: str) -> list[str]:
    with os.scandir(folder) as entries:
        names = [f"{one.name}/" if one.is_dir() else one.name for one in entries if one.name.startswith(beginning)]
    return [name for name in names if name.isprintable()]


def _real_path(held: int) -> str:
    """The real path of a descriptor's file or folder, as reported by the kernel."""
    try:
        return os.readlink(f"/proc/self/fd/{held}")  # noqa: PTH115 (creating a Path for each object takes time)
    except FileNotFoundError:
        raise OSError(errno.ENOSYS, "using a folder as a store requires /proc") from None


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    etag = f"{status.st_mtime_ns:x}-{status.st_size:x}"
    return ObjectInfo(key, status.st_size, etag, status.st_mtime_ns / 1e9)


def _require_content(key: str, file: BinaryIO, etag: str | None) -> str:
    found = _info(key, os.fstat(file.fileno())).etag
    if etag not in (None, found):
        raise SourceChanged(f"{key} has changed since it was listed.")
    return found
