"""The `ObjectStore` protocol: the few things Stenopool asks of storage, local folder or S3 alike."""

import errno
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from stenopool.errors import (
    AccessDenied,
    ErrorCode,
    KeyUnusable,
    ObjectEncrypted,
    ObjectNotFound,
    StenopoolError,
    StorageUnavailable,
    TransientError,
)
from stenopool.runtime.logs import logger

D = TypeVar("D")
_RAISE: Any = object()


class ObjectInfo(NamedTuple):
    """One object of a listing. ``key`` is relative to the store; ``modified`` is Unix time.

    ``archived``: the storage class that it has to be restored from before it can be read; empty for most.
    """

    key: str
    size: int
    etag: str
    modified: float
    archived: str = ""


class Walk:
    """How a listing of a folder treats what is in its way; listings of servers have none of these.

    A listing without one enters every folder, stops at one that cannot be read, and leaves out what is not a file.
    """

    def __init__(self, enters: Callable[[str], bool] = lambda _: True) -> None:
        self.enters = enters
        """Whether a folder, whose key ends in "/", is entered at all; else it is not even opened."""
        self.unreadable: dict[str, StenopoolError] = {}
        """What was met and cannot be a recording or cannot be read, by key; a folder's key ends in "/".

        A name that is not UTF-8 is there with its bytes as ``\\xNN``.
        """


class PresignedPut(NamedTuple):
    """An address that takes one object. Every header is signed: a request without one of them is refused."""

    url: str
    headers: dict[str, str]


class Writer(Protocol):
    """One object under way. What is neither committed nor aborted is removed by `ObjectStore.sweep_partial`."""

    def write(self, data: bytes | bytearray) -> None:
        """Go on with these bytes."""

    def commit(self) -> None:
        """The object is there from now on, whole."""

    def abort(self) -> None:
        """Leave nothing behind; does nothing after `commit`."""


class ObjectStore(Protocol):
    """Objects under one prefix. Keys are relative to it, ``/``-separated, and sort by their UTF-8 bytes.

    Errors, the same for every store: `ObjectNotFound`, `AccessDenied`, `StorageUnavailable` once the client's own
    retries are spent, `KeyUnusable` for a key that the store cannot hold; reading also raises `ObjectArchived` and
    `ObjectEncrypted`.
    """

    uri: str
    address: str
    """What the store was opened with, where that is more than ``uri``: a block's address, which brings credentials."""

    def uri_of(self, key: str) -> str:
        """The whole address of a key."""

    def list(
        self,
        prefix: str = "",
        *,
        start_after: str = "",
        page_size: int | None = None,
        endings: Collection[str] | None = None,
        walk: Walk | None = None,
    ) -> Iterator[ObjectInfo]:
        """Objects whose key starts with ``prefix``, after ``start_after``, one page in memory at a time.

        ``page_size``: how many the caller means to read; a server is not asked for more at a time. ``endings``: only
        keys that are ``prefix`` and one of these, which have no slash. A folder then looks for these files alone,
        whatever lies beside them; without, it reads all names of the directory that holds the prefix. ``walk``: what
        a folder's listing enters, and where it notes what it could not list.

        In UTF-8 byte order, except on S3 servers that have another one (SeaweedFS lists "a/b" before "a b", and
        ``start_after`` follows its order too): nothing may rely on order for more than speed.
        """

    def check_root(self) -> None:
        """Nothing if the store as a whole answers; else the error that it gives for every object."""
        next(self.list(page_size=1), None)

    def attempt(self, step: "Callable[[ObjectStore], object]") -> None:
        """Do ``step`` with this store. Its error says which setting the store needs for it, if one helps."""
        step(self)

    def find_absence(self, prefix: str = "") -> ObjectNotFound | None:  # noqa: ARG002 (what knows no folders)
        """Why nothing is listed below a prefix, with what may be meant instead; None if it exists, and is empty.

        Buckets and folders exist, and prefixes for which there is a marker.
        """
        return None

    def head(self, key: str) -> ObjectInfo:
        """What a listing would say of this object, except that one that has been restored is not ``archived``."""

    def is_restored(self, key: str) -> bool:  # noqa: ARG002
        """Whether an object that is listed as ``archived`` has been restored, and can be read for some days."""
        return False

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        try:
            self.head(key)
        except ObjectNotFound:
            return False
        return True

    def get_file(self, key: str, path: Path, *, etag: str | None = None) -> int:
        """Download to ``path`` in bounded memory, whole or not at all; returns its size. ``etag``: as in `stream`.

        What is wrong with ``path`` is not the object's fault: FileNotFoundError if its folder is not there,
        `TransientError` SCRATCH_FULL if the disk is full, else `StorageUnavailable`.
        """
        part = path.with_name(f"{path.name}.part")
        try:
            with part.open("wb") as file:
                size = sum(map(file.write, self.stream(key, etag=etag)))
            part.replace(path)
        except FileNotFoundError:
            raise
        except OSError as error:
            what = f"{key} cannot be written to {path.parent}: {error.strerror or type(error).__name__}."
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise TransientError(ErrorCode.SCRATCH_FULL, what) from error
            raise StorageUnavailable(what) from error
        finally:
            with suppress(OSError):
                part.unlink()
        return size

    def get_bytes(self, key: str, default: D = _RAISE) -> bytes | D:
        """A small object's content, or ``default`` if there is no such object; `ObjectNotFound` without one."""
        try:
            return b"".join(self.stream(key))
        except ObjectNotFound:
            if default is _RAISE:
                raise
            return default

    def stream(self, key: str, *, first: int = 0, last: int | None = None, etag: str | None = None) -> Iterator[bytes]:
        """An object's bytes from ``first`` to ``last``, both included, as they come; None: to the end.

        Fails with SOURCE_CHANGED if the content changes meanwhile, or, with ``etag``, if it is another one.
        """

    def put_file(self, key: str, path: Path, *, content_type: str | None = None) -> None:
        """Upload atomically: readers see the whole object or none."""

    def put_bytes(self, key: str, data: bytes, *, content_type: str | None = None, if_absent: bool = False) -> bool:
        """As `put_file`, for small contents. With ``if_absent``, False if there was an object already."""

    def presigned_put(self, key: str, size: int, lifetime: int, sha256: str | None = None) -> PresignedPut:
        """An address to which ``size`` bytes may be sent with PUT for ``lifetime`` seconds; never over an object.

        ``sha256``: of these bytes, in hexadecimal; AWS and MinIO then refuse others. Raises `LocationInvalid` in a
        folder, where no server could take them.
        """

    def writer(self, key: str) -> "Writer":
        """An object that is written as it comes, in bounded memory; not there before `Writer.commit`."""

    def delete(self, key: str) -> None:
        """Remove an object; no error if it is not there."""

    def sweep_partial(self, older_than_seconds: float) -> int:
        """Remove what killed writers left under this store and no listing shows; how many of them there were.

        Local: temporary files. S3: uploads in parts that were never completed, which are paid for until they are
        aborted. The age keeps writes safe that are still going on: give more than the longest one takes.
        """


def leave_out(key: str, error: StenopoolError, walk: Walk | None) -> None:
    """Note what a listing cannot list, or log it where nobody takes the notes."""
    if walk is None:
        logger.warning("Skipped %s: %s", ascii(key), error.message)
    else:
        walk.unreadable[key] = error


def leave_out_name(name: str, walk: Walk | None) -> None:
    """`leave_out` for a name that `is_text` refuses."""
    legible = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    leave_out(legible, KeyUnusable(f"The name {legible} is not UTF-8."), walk)


def is_text(key: str) -> bool:
    """Whether a name, whose undecodable bytes are surrogates, is UTF-8."""
    if key.isascii():
        return True
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True


LONGEST_KEY = 1024  # bytes of a whole S3 key


def check_key(key: str) -> None:
    """Refuse what no store of ours can hold safely: `RecordingError` KEY_UNUSABLE.

    "." and ".." as a whole part would mean another file on disk, and proxies and servers resolve them too.
    """
    try:
        data = key.encode()
    except UnicodeEncodeError:
        raise KeyUnusable(f"The key {key!a} is not text in UTF-8.") from None
    dotted = key.startswith(".") or "/." in key  # few are, and a million keys are not taken apart for nothing
    parts = key.split("/") if dotted else ()
    if not key or "\0" in key or len(data) > LONGEST_KEY or "." in parts or ".." in parts:
        reason = f"of {len(data)} bytes, {LONGEST_KEY} at most" if len(data) > LONGEST_KEY else f"{key!r}"
        raise KeyUnusable(f"No object can have the key {reason}.")


_KINDS = {
    errno.ENOENT: ObjectNotFound,
    errno.ENOKEY: ObjectEncrypted,  # of fscrypt: the folder is locked
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), AccessDenied),
    # A file stands where the key needs a folder, or the other way round.
    **dict.fromkeys((errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP), KeyUnusable),
}


@contextmanager
def os_errors(key: str) -> Iterator[None]:
    """The operating system's errors about an object as ours."""
    try:
        yield
    except OSError as error:
        what = f"{key or 'the folder'}: {error.strerror or type(error).__name__}."
        raise _KINDS.get(error.errno or 0, StorageUnavailable)(what) from error
