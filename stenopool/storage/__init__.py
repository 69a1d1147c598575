"""Where objects are: `open_store` turns an address into an `ObjectStore`."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from stenopool.errors import LocationInvalid, ObjectNotFound
from stenopool.storage.base import ObjectInfo, ObjectStore, Writer

__all__ = ["ObjectInfo", "ObjectStore", "Writer", "open_store"]

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")


def open_store(uri: str, *, must_exist: bool = False) -> ObjectStore:
    """The store at ``s3://bucket/prefix``, ``file:///folder`` or a plain folder path.

    ``must_exist`` is for sources, where a misspelt address must not look like an empty one: OBJECT_NOT_FOUND if the
    folder or bucket is not there. Raises `LocationInvalid` for anything else that is not a location.
    """
    scheme, separator, rest = uri.partition("://")
    if separator and scheme == "s3":
        bucket, _, prefix = rest.partition("/")
        if not _BUCKET.fullmatch(bucket):
            raise LocationInvalid("s3:// must be followed by a bucket's name and nothing secret.")
        # boto3 takes a third of a second to import; a run between folders does without it.
        from stenopool.storage.s3 import S3Store

        store = S3Store(bucket, prefix)
        if must_exist:
            store.check_root()
        return store
    if separator and scheme == "file":
        parts = urlsplit(uri, allow_fragments=False)
        if parts.netloc not in ("", "localhost") or parts.query:
            raise LocationInvalid("A file:// address needs three slashes: file:///folder.")
        return _open_folder(unquote(parts.path), must_exist)
    if separator and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        # The rest is not repeated: other people's addresses carry passwords.
        raise LocationInvalid(f"{scheme}:// is not a kind of location that is known.")
    return _open_folder(uri, must_exist)


def _open_folder(path: str, must_exist: bool) -> ObjectStore:
    from stenopool.storage.local import LocalStore

    if not path or "\0" in path:
        raise LocationInvalid(f"{path!r} is not a folder's path.")
    folder = Path(path).expanduser()
    if folder.exists() and not folder.is_dir():
        raise LocationInvalid(f"{folder} is a file, not a folder.")
    if must_exist and not folder.exists():
        raise ObjectNotFound(f"There is no folder {folder}.")
    return LocalStore(folder)
