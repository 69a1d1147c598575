"""Object storage: `open_store` opens an `ObjectStore` by its address."""

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
# Malformed addresses that would be taken for a folder's path: s3:/bucket, arn:aws:s3:::bucket.
_NEARLY = re.compile(r"(s3a?|arn|https?|file):", re.IGNORECASE)
_S3_FORMS = "Use s3://bucket/prefix, or s3://arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME/prefix for an access point."


def open_store(uri: str, *, must_exist: bool = False) -> ObjectStore:
    """Open the store at ``s3://bucket/prefix``, ``file:///folder`` or a plain folder path.

    The bucket may also be the ARN of an access point. ``must_exist``: for sources, where a misspelled address must not
    look like an empty source; raises `ObjectNotFound` if the folder or bucket does not exist.
    (`ObjectStore.find_absence` checks whether a prefix exists.)

    Raises `LocationInvalid` for an invalid address, and the errors of listing.
    """
    scheme, separator, rest = uri.partition("://")
    if separator and scheme.lower() == "s3":
        bucket, prefix = _split_bucket(rest)
        # Importing boto3 takes a third of a second, and a run between folders does not need it.
        from stenopool.storage.s3 import S3Store

        store = S3Store(bucket, prefix)
        if must_exist:
            store.attempt(ObjectStore.check_root)
        return store
    if separator and scheme == "file":
        parts = urlsplit(uri, allow_fragments=False)
        if parts.netloc not in ("", "localhost") or parts.query:
            raise LocationInvalid("Invalid file:// address: it needs three slashes, as in file:///folder.")
        return _open_folder(unquote(parts.path), must_exist)
    if separator and re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        # The rest is not shown, as it may contain a password.
        raise LocationInvalid(f"Addresses with {scheme}:// are not supported.")
    if nearly := _NEARLY.match(uri):
        remedy = f"{_S3_FORMS} For a folder with this name, use ./{nearly[0]}..."
        raise LocationInvalid(f"Addresses that start with {nearly[0]} are not supported.", remedy=remedy)
    return _open_folder(uri, must_exist)


def _split_bucket(rest: str) -> tuple[str, str]:
    """Split the part after s3:// into the bucket (or access point) and the prefix."""
    if access_point := _ACCESS_POINT.match(rest):
        return access_point[0], rest[access_point.end() + 1 :]
    bucket, _, prefix = rest.partition("/")
    if bucket.startswith("arn:"):
        raise LocationInvalid("Invalid S3 address: the ARN is not that of an access point.", remedy=_S3_FORMS)
    if not _BUCKET.fullmatch(bucket):
        raise LocationInvalid(
            "Invalid S3 address: expected s3://bucket/prefix (credentials in the address are not supported)."
        )
    return bucket, prefix


def _open_folder(path: str, must_exist: bool) -> ObjectStore:
    from stenopool.storage.local import LocalStore, find_missing

    if not path or "\0" in path:
        raise LocationInvalid(f"{path!r} is not a valid folder path.")
    folder = Path(path).expanduser()
    if folder.exists() and not folder.is_dir():
        remedy = f"Use the folder {folder.parent}; for a source, add --only '{folder.name}'."
        raise LocationInvalid(f"{folder} is a file, not a folder.", remedy=remedy)
    if must_exist and not folder.exists():
        raise find_missing(folder)
    return LocalStore(folder)


def find_retention(store: ObjectStore) -> str:
    """The default retention of a bucket with Object Lock; empty for other stores."""
    if store.uri.startswith("s3:"):
        from stenopool.storage import s3, s3_rules

        return s3_rules.find_retention(store) if isinstance(store, s3.S3Store) else ""
    return ""
