"""Where objects are: `open_store` turns an address into an `ObjectStore`."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from stenopool.errors import LocationInvalid
from stenopool.storage.base import ObjectInfo, ObjectStore, Writer

__all__ = ["ObjectInfo", "ObjectStore", "Writer", "find_retention", "open_store"]

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
# arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME, arn:aws:s3-outposts:REGION:ACCOUNT:outpost/ID/accesspoint/NAME
_ACCESS_POINT = re.compile(
    r"arn:[\w-]+:s3[\w-]*:[\w-]*:\d{12}:(?:outpost[:/][\w-]+[:/])?accesspoint[:/][\w.-]+(?=/|$)", re.ASCII
)
# What is written for an address and would be a folder's path: s3:/bucket, arn:aws:s3:::bucket.
_NEARLY = re.compile(r"(s3a?|arn|https?|file):", re.IGNORECASE)
_S3_FORMS = "Use s3://bucket/prefix, or s3://arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME/prefix for an access point."


def open_store(uri: str, *, must_exist: bool = False) -> ObjectStore:
    """The store at ``s3://bucket/prefix``, ``file:///folder`` or a plain folder path.

    In place of the bucket, the ARN of an access point may be given. ``must_exist`` is for sources, where a misspelt
    address must not look like an empty one: OBJECT_NOT_FOUND if the folder or bucket is not there. (Whether anything
    is below a bucket's prefix is asked by `ObjectStore.find_absence`.)

    Raises `LocationInvalid` for anything else that is not a location, and what listing raises.
    """
    scheme, separator, rest = uri.partition("://")
    if separator and scheme.lower() == "s3":
        bucket, prefix = _split_bucket(rest)
        # boto3 takes a third of a second to import; a run between folders does without it.
        from stenopool.storage.s3 import S3Store

        store = S3Store(bucket, prefix)
        if must_exist:
            store.attempt(ObjectStore.check_root)
        return store
    if separator and scheme == "file":
        parts = urlsplit(uri, allow_fragments=False)
        if parts.netloc not in ("", "localhost") or parts.query:
            raise LocationInvalid("A file:// address needs three slashes: file:///folder.")
        return _open_folder(unquote(parts.path), must_exist)
    if separator and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        # The rest is not repeated: other people's addresses carry passwords.
        raise LocationInvalid(f"{scheme}:// is not a kind of location that is known.")
    if nearly := _NEARLY.match(uri):
        remedy = f"{_S3_FORMS} For a folder of this name: ./{nearly[0]}..."
        raise LocationInvalid(f"An address that begins with {nearly[0]} is not known.", remedy=remedy)
    return _open_folder(uri, must_exist)


def _split_bucket(rest: str) -> tuple[str, str]:
    """What stands between s3:// and the prefix, and the prefix."""
    if access_point := _ACCESS_POINT.match(rest):
        return access_point[0], rest[access_point.end() + 1 :]
    bucket, _, prefix = rest.partition("/")
    if bucket.startswith("arn:"):
        raise LocationInvalid("This ARN is not the ARN of an access point.", remedy=_S3_FORMS)
    if not _BUCKET.fullmatch(bucket):
        raise LocationInvalid("s3:// must be followed by a bucket's name, without credentials.")
    return bucket, prefix


def _open_folder(path: str, must_exist: bool) -> ObjectStore:
    from stenopool.storage.local import LocalStore, find_missing

    if not path or "\0" in path:
        raise LocationInvalid(f"{path!r} is not a folder's path.")
    folder = Path(path).expanduser()
    if folder.exists() and not folder.is_dir():
        remedy = f"Give the folder {folder.parent}, as a source with --only '{folder.name}'."
        raise LocationInvalid(f"{folder} is a file, not a folder.", remedy=remedy)
    if must_exist and not folder.exists():
        raise find_missing(folder)
    return LocalStore(folder)


def find_retention(store: ObjectStore) -> str:
    """How long a bucket with Object Lock keeps every version of every object; empty for other stores."""
    if store.uri.startswith("s3:"):
        from stenopool.storage import s3, s3_rules

        return s3_rules.find_retention(store) if isinstance(store, s3.S3Store) else ""
    return ""
