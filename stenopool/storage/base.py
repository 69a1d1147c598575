"""The `ObjectStore` protocol: the operations that Stenopool needs from storage, both for folders and for S3."""

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

    ``archived``: the storage class from which the object must be restored before it can be read; empty for other
    objects.
    """

    key: str
    size: int
    etag: str
    modified: float
    archived: str = ""


class Walk:
    """Controls the listing of a folder; listings of S3 ignore it.

    Without a `Walk`, a listing enters every folder, stops at a folder that cannot be read, and omits everything that is
    not a file.
    """

    def __init__(self, enters: Callable[[str], bool] = lambda _: True) -> None:
        self.enters = enters
        """Whether to enter a folder (its key ends in "/"); other folders are not opened."""
        self.unreadable: dict[str, StenopoolError] = {}
        """Entries that are not files or cannot be read, by key; a folder's key ends in "/".

        In names that are not UTF-8, invalid bytes are written as ``\\xNN``.
        """


class PresignedPut(NamedTuple):
    """An address for uploading one object. All headers are signed: a request without any of them is refused."""

    url: str
    headers: dict[str, str]


class Writer(Protocol):
    """An object being written. `ObjectStore.sweep_partial` removes writes that were neither committed nor aborted."""

    def write(self, data: bytes | bytearray) -> None:
        """Append these bytes."""

    def commit(self) -> None:
        """Complete the object and make it visible."""

    def abort(self) -> None:
        """Discard the object; does nothing after `commit`."""


class ObjectStore(Protocol):
    """Objects below one prefix. Keys are relative to it, ``/``-separated, and sorted by their UTF-8 bytes.

    Errors are the same for all stores: `ObjectNotFound`, `AccessDenied`, `StorageUnavailable` after the client's
    retries, `KeyUnusable` for a key that the store cannot hold; reading also raises `ObjectArchived` and
    `ObjectEncrypted`.
    """

    uri: str
    address: str
    """The address with which the store was opened, if it is not ``uri``: a block's address, for its credentials."""

    def uri_of(self, key: str) -> str:
        """The full address of a key."""

    def list(
        self,
        prefix: str = "",
        *,
        start_after: str = "",
        page_size: int | None = None,
        endings: Collection[str] | None = None,
        walk: Walk | None = None,
    ) -> Iterator[ObjectInfo]:
        """List objects whose key starts with ``prefix``, after ``start_after``, with one page in memory at a time.

        ``page_size``: maximum number of objects per request, for callers that read only a few. ``endings``: only keys
        that consist of ``prefix`` and one of these endings, which contain no slash. A folder then checks only these
        files; without endings, it reads all names of the directory that contains the prefix. ``walk``: which folders to
        enter, and where to record unreadable entries.

        Sorted by UTF-8 bytes, except on S3 servers with a different order: SeaweedFS lists "a/b" before "a b", and
        ``start_after`` follows that order too. Callers may rely on the order only for speed.
        """

    def check_root(self) -> None:
        """Raise the store's error if the store as a whole is not accessible."""
        next(self.list(page_size=1), None)

    def attempt(self, step: "Callable[[ObjectStore], object]") -> None:
        """Call ``step`` with this store. If it fails and a setting would help, the error names that setting."""
        step(self)

    def find_absence(self, prefix: str = "") -> ObjectNotFound | None:  # noqa: ARG002 (a store without folders)
        """Explain why nothing is listed below a prefix, with suggestions; None if it exists but is empty.

        Buckets and folders exist even if they are empty, and so do prefixes with a marker.
        """
        return None

    def head(self, key: str) -> ObjectInfo:
        """The object as a listing would show it, except that a restored object is not ``archived``."""

    def is_restored(self, key: str) -> bool:  # noqa: ARG002
        """Whether an object listed as ``archived`` has been restored and can currently be read."""
        return False

    def exists(self, key: str) -> bool:
        """Whether the object exists."""
        try:
            self.head(key)
        except ObjectNotFound:
            return False
        return True

    def get_file(self, key: str, path: Path, *, etag: str | None = None) -> int:
        """Download to ``path`` atomically and in bounded memory; returns the size. ``etag``: as in `stream`.

        Errors about ``path``: FileNotFoundError if its folder does not exist, `TransientError` SCRATCH_FULL if the disk
        is full, otherwise `StorageUnavailable`.
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
        """A small object's content. If it does not exist, ``default``; without a default, raises `ObjectNotFound`."""
        try:
            return b"".join(self.stream(key))
        except ObjectNotFound:
            if default is _RAISE:
                raise
            return default

    def stream(self, key: str, *, first: int = 0, last: int | None = None, etag: str | None = None) -> Iterator[bytes]:
        """Stream an object's bytes from ``first`` to ``last`` (inclusive; None: to the end).

        Raises `SourceChanged` if the content changes during the download or, with ``etag``, does not match it.
        """

    def put_file(self, key: str, path: Path, *, content_type: str | None = None) -> None:
        """Upload atomically: readers see the complete object or none."""

    def put_bytes(self, key: str, data: bytes, *, content_type: str | None = None, if_absent: bool = False) -> bool:
        """Like `put_file`, for small contents. With ``if_absent``, returns False if the object already exists."""

    def presigned_put(self, key: str, size: int, lifetime: int, sha256: str | None = None) -> PresignedPut:
        """An address for uploading ``size`` bytes with PUT within ``lifetime`` seconds; never overwrites an object.

        ``sha256``: hex digest of these bytes; AWS and MinIO then refuse other content. Raises `LocationInvalid` for a
        folder, because no server accepts uploads.
        """

    def writer(self, key: str) -> "Writer":
        """Write an object piece by piece, in bounded memory. It does not exist before `Writer.commit`."""

    def delete(self, key: str) -> None:
        """Delete an object; no error if it does not exist."""

    def sweep_partial(self, older_than_seconds: float) -> int:
        """Remove leftovers of killed writers, which listings do not show; returns their number.

        Local: temporary files. S3: incomplete multipart uploads, which incur cost until they are aborted. The age
        protects writes in progress: choose one longer than the longest write.
        """


def leave_out(key: str, error: StenopoolError, walk: Walk | None) -> None:
    """Record an entry that cannot be listed, or log it if there is no ``walk``."""
    if walk is None:
        logger.warning("Skipped %s: %s", ascii(key), error.message)
    else:
        walk.unreadable[key] = error


def leave_out_name(name: str, walk: Walk | None) -> None:
    """Like `leave_out`, for a name that is not UTF-8."""
    legible = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    leave_out(legible, KeyUnusable(f"The name {legible} is not UTF-8."), walk)


def is_text(key: str) -> bool:
    """Whether a name is valid UTF-8 (in other names, invalid bytes are surrogates)."""
    if key.isascii():
        return True
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True


LONGEST_KEY = 1024  # bytes of a full S3 key


def check_key(key: str) -> None:
    """Raise `KeyUnusable` for a key that a store cannot hold safely.

    "." and ".." as a path component would mean another file on disk, and proxies and servers resolve them too.
    """
    try:
        data = key.encode()
    except UnicodeEncodeError:
        raise KeyUnusable(f"The key {key!a} is not valid UTF-8.") from None
    dotted = key.startswith(".") or "/." in key  # rare, so that a million keys need not be split
    parts = key.split("/") if dotted else ()
    if not key or "\0" in key or len(data) > LONGEST_KEY or "." in parts or ".." in parts:
        reason = f"of {len(data)} bytes (maximum {LONGEST_KEY})" if len(data) > LONGEST_KEY else f"{key!r}"
        raise KeyUnusable(f"Invalid object key {reason}.")


_KINDS = {
    errno.ENOENT: ObjectNotFound,
    errno.ENOKEY: ObjectEncrypted,  # fscrypt: the folder is locked
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), AccessDenied),
    # A file exists where the key needs a folder, or vice versa.
    **dict.fromkeys((errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP), KeyUnusable),
}


@contextmanager
def os_errors(key: str) -> Iterator[None]:
    """Translate the operating system's errors about an object."""
    try:
        yield
    except OSError as error:
        what = f"{key or 'the folder'}: {error.strerror or type(error).__name__}."
        raise _KINDS.get(error.errno or 0, StorageUnavailable)(what) from error
