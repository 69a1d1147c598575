# ruff: noqa: ARG002 (a file has no content type, and a folder no pages)
"""A folder as an object store: keys are relative paths, listed in the order S3 would list them."""

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

_TEMPORARY = ".stenopool-write-"  # how our unfinished writes are called; never listed, never a key
_CHUNK = 1024 * 1024
_LONGEST_NAME = 255  # bytes of one path component, on every usual Linux file system
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # no file can be reached by this path
_FOLDER = os.O_PATH | os.O_DIRECTORY


class _LeadsOut(PermissionError):
    """A link on the path leads out of the folder."""


class LocalStore(ObjectStore):
    """Objects as files under one folder.

    Symbolic links to folders are not walked, and a link to a file counts only if the file lies under the root: a
    folder that others write to must not be able to publish the rest of the disk. Others may exchange folders for links
    at any moment, so nothing is checked by its path and then opened by it again: a file or folder is held by a
    descriptor first (`O_PATH`: that opens no pipe or device), the kernel says where it lies, and all else goes by the
    descriptor.
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
        # Only the folder that the prefix names is walked; the rest of the prefix filters its entries.
        folder, slash, beginning = prefix.rpartition("/")
        try:
            path = self._path(folder) if slash else self.root
        except KeyUnusable:
            return
        with self._open_folder(folder, path, searched=endings is not None) as held:
            with os_errors(folder):
                # A link was followed if the kernel calls it by another name: links are not walked.
                if held is None or _real_path(held) != str(path):
                    return
            if endings is None:
                yield from self._walk(held, folder + slash, start_after.encode(), beginning, walk)
                return
            with os_errors(folder), suppress(ValueError):  # a NUL: no file's name
                os.stat(".", dir_fd=held)  # fails where the folder is not to be searched
                # access, because most are missing, and an exception for each would take three times as long.
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
        """Names in a folder that begin like this; none in what is not a folder of ours."""
        with suppress(StenopoolError, OSError):
            path = self._path(folder.removesuffix("/")) if folder else self.root
            with self._open_folder(folder, path) as held:
                if held is not None and _real_path(held) == str(path):
                    return _scan(held, beginning)
        return []

    def _walk(
        self, held: int, folder_key: str, start_after: bytes, beginning: str, walk: Walk | None
    ) -> Iterator[ObjectInfo]:
        """One folder's entries in memory at a time, per level: those whose names start with ``beginning``."""
        found: list[bytes] = []
        with self._noting(folder_key, walk), os_errors(folder_key), os.scandir(held) as entries:
            for entry in entries:
                if not entry.name.startswith(beginning) or entry.name.startswith(_TEMPORARY):
                    continue
                # A folder's name ends in "/", as all keys below it go on with that.
                key = f"{folder_key}{entry.name}{'/' if _is_folder(entry) else ''}"
                try:
                    found.append(key.encode())
                except UnicodeEncodeError:
                    leave_out_name(key, walk)
        for sort_key in sorted(found):
            key = sort_key.decode()
            if key.endswith("/"):
                # Every key below begins with sort_key: the whole subtree may be known to be unwanted.
                unwanted = sort_key <= start_after and not start_after.startswith(sort_key)
                if unwanted or (walk and not walk.enters(key)):
                    continue
                if len(sort_key) >= LONGEST_KEY:  # endless, perhaps, and nothing in it can have a key
                    message = f"What is in the folder {key} has keys of more than {LONGEST_KEY} bytes."
                    leave_out(key, KeyUnusable(message), walk)
                    continue
                with self._noting(key, walk), self._open_folder(key, key.split("/")[-2], held) as inner:
                    if inner is not None:
                        yield from self._walk(inner, key, start_after, "", walk)
            elif sort_key > start_after and (info := self._describe(key, held, walk)):
                yield info

    @contextmanager
    def _noting(self, key: str, walk: Walk | None) -> Iterator[None]:
        """An error about one file or folder does not end a listing with ``walk``, unless the root has it too."""
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
                        f"Allow reading the {what}, or leave it out: --exclude '{key}{'*' if key[-1] == '/' else ''}'."
                    )
                    error = ObjectDenied(f"The {what} {key} may not be read.", remedy=remedy)
                case StorageUnavailable():
                    error = ObjectUnreadable(f"The {what} {error.message}")
            leave_out(key, error, walk)

    def check_root(self) -> None:
        root = str(self.root)
        with os_errors(root), os.scandir(root) as entries:
            next(entries, None)
            # Fails where names may be read, but no file of the folder.
            os.stat(f"{root}/.")  # noqa: PTH116 (a Path drops the dot)

    @contextmanager
    def _open_folder(
        self, key: str, path: Path | str, folder: int | None = None, *, searched: bool = False
    ) -> Iterator[int | None]:
        """A folder to list, or to look for names in (``searched``); None if there is none, or it is a link."""
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
        """What the listing says of a file in a folder that is held; None for what is not one, or not any more."""
        name, status = key.rpartition("/")[2], None
        with self._noting(key, walk), os_errors(key), suppress(FileNotFoundError, NotADirectoryError):
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                status = None
                try:
                    with self._hold(name, folder=folder) as held:
                        status = os.fstat(held)
                except PermissionError:  # `_LeadsOut`, or so far out that it cannot be followed
                    leave_out(key, NotAFile(f"{key} is a link that leads out of the folder."), walk)
                except OSError as error:
                    if error.errno not in _ABSENT:
                        raise
                    leave_out(key, NotAFile(f"{key} is a link that leads nowhere."), walk)
        if status is None or stat.S_ISDIR(status.st_mode):  # a link to a folder, or a name that was one a moment ago
            return None
        if not stat.S_ISREG(status.st_mode):
            leave_out(key, NotAFile(f"{key} is a pipe, a socket or a device, not a file."), walk)
            return None
        return _info(key, status)

    @contextmanager
    def _hold(self, path: Path | str, flags: int = os.O_PATH, *, folder: int | None = None) -> Iterator[int]:
        """A descriptor of the file or folder that is at this path now, and lies inside the root; else `_LeadsOut`.

        It can be looked at and gone on from, but not read: opening reads nothing and waits for nobody.
        """
        held = os.open(path, flags, dir_fd=folder)
        try:
            if not f"{_real_path(held)}/".startswith(self._beginning):
                raise _LeadsOut(errno.EACCES, "a link leads out of the folder")
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
            f"{self.uri} is a folder: it takes no direct uploads.",
            remedy="Use a source on S3, or send the file itself.",
        )

    def writer(self, key: str) -> "LocalWriter":
        return LocalWriter(self, key, self._path(key))

    def create(self, path: Path) -> tuple[int, BinaryIO]:
        """A new file to write to, and a descriptor of its folder; folders are made if need be."""
        for _ in range(100):
            # Not made yet, or a delete elsewhere pruned it just now: once more.
            with suppress(FileNotFoundError):
                folder = self._make_folder(path.parent)
                try:
                    file = os.open(path.name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=folder)
                    return folder, os.fdopen(file, "wb")
                except BaseException:
                    os.close(folder)
                    raise
        raise OSError(errno.EBUSY, "the folder is removed again and again")

    def _make_folder(self, path: Path) -> int:
        """A descriptor of the folder at this path, the caller's to close; what is missing of it is made."""
        with suppress(FileNotFoundError), self._hold(path, _FOLDER) as held:
            return os.dup(held)
        if path == self.root:
            path.mkdir(parents=True, exist_ok=True)
            return self._make_folder(path)
        above = self._make_folder(path.parent)
        try:
            try:
                os.mkdir(path.name, dir_fd=above)  # itself no link, in a folder that was found inside
            except FileExistsError:
                if stat.S_ISLNK(os.stat(path.name, dir_fd=above, follow_symlinks=False).st_mode):
                    raise  # a link that leads nowhere
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
        """S3 has no folders, so no empty one stays behind; one that still holds something stops the way up."""
        with suppress(OSError):
            for empty in path.parents:
                if empty == self.root:
                    break
                with self._hold(empty.parent, _FOLDER) as folder:
                    os.rmdir(empty.name, dir_fd=folder)

    def sweep_partial(self, older_than_seconds: float) -> int:
        before, swept = time.time() - older_than_seconds, 0
        # fwalk goes by descriptors and follows no links; a folder that cannot be read, or is not there, is passed over.
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
            raise KeyUnusable(f"The key {key!r} has an empty part: no file can be named so.")
        if any(len(component.encode()) > _LONGEST_NAME for component in components):
            raise KeyUnusable(f"A part of the key {key!r} exceeds {_LONGEST_NAME} bytes.")
        if components[-1].startswith(_TEMPORARY):
            raise KeyUnusable(f"The key {key!r} is named like our own unfinished writes.")
        return self.root.joinpath(*components)

    @contextmanager
    def _open(self, key: str) -> Iterator[BinaryIO]:
        path = self._path(key)
        with os_errors(key):
            try:
                with self._hold(path) as held:
                    if not stat.S_ISREG(os.fstat(held).st_mode):
                        raise FileNotFoundError(errno.ENOENT, "not a file")
                    file = open(f"/proc/self/fd/{held}", "rb")  # noqa: PTH123, SIM115 (the very file that is held)
            except OSError as error:
                if error.errno in _ABSENT or isinstance(error, _LeadsOut):
                    raise ObjectNotFound(f"{key}: No such file in the folder.") from error
                raise
            with file:
                yield file


class LocalWriter:
    """A temporary file beside its place, renamed in the end; both by the descriptor of their folder."""

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
        """As `commit`; with ``if_absent``, False if there is an object already."""
        folder = self._folder
        with os_errors(self._key):
            self._target.flush()
            os.fsync(self._target.fileno())
            self._target.close()
            if not if_absent:
                os.replace(self._temporary.name, self._name, src_dir_fd=folder, dst_dir_fd=folder)
                self._close()
                return True
            # A link, unlike a rename, fails if the name is taken: of two writers exactly one wins.
            with suppress(FileExistsError):
                os.link(self._temporary.name, self._name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
                return True
        return False

    def abort(self) -> None:
        if not self._open:
            return
        with suppress(OSError):  # a full disk refuses what is still in memory, and that is not wanted any more
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
    except OSError:  # some file systems have to be asked; `_describe` asks again, and notes it
        return False


def find_missing(folder: Path) -> ObjectNotFound:
    """The error for a folder that does not exist, with what may be meant instead."""

    def list_names(path: str, beginning: str) -> list[str]:
        with suppress(OSError):
            return _scan(f"/{path}", beginning)
        return []

    found = find_absence(f"{str(folder.absolute())[1:]}/", "/", lambda _: False, list_names)
    return ObjectNotFound(f"There is no folder {folder}.", remedy=found.remedy if found else None)


def _scan(folder: int | str, beginning: str) -> list[str]:
    with os.scandir(folder) as entries:
        names = [f"{one.name}/" if one.is_dir() else one.name for one in entries if one.name.startswith(beginning)]
    return [name for name in names if name.isprintable()]


def _real_path(held: int) -> str:
    """Where the file or folder of a descriptor lies, as the kernel says it."""
    try:
        return os.readlink(f"/proc/self/fd/{held}")  # noqa: PTH115 (a Path for each object that is read costs time)
    except FileNotFoundError:
        raise OSError(errno.ENOSYS, "folders as stores need /proc") from None


def _info(key: str, status: os.stat_result) -> ObjectInfo:
    etag = f"{status.st_mtime_ns:x}-{status.st_size:x}"
    return ObjectInfo(key, status.st_size, etag, status.st_mtime_ns / 1e9)


def _require_content(key: str, file: BinaryIO, etag: str | None) -> str:
    found = _info(key, os.fstat(file.fileno())).etag
    if etag not in (None, found):
        raise SourceChanged(f"{key} is not the content that was listed.")
    return found
