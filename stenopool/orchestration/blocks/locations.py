"""Addresses of recordings and transcripts: `open_location` opens every kind of address that commands and flows accept.

./calls, file:///calls                  a folder s3://calls/2026-11                      a bucket, with credentials from
the environment (AWS_*) block://s3-bucket/calls/2026-11         the saved S3 Bucket `calls`, below its folder, with the
credentials saved in it block://local-file-system/inbox/today   the saved Local File System `inbox`

Blocks are stored on a Prefect server, which is contacted only for block addresses.
"""

import asyncio
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from stenopool.errors import AccessDenied, LocationInvalid, ObjectNotFound, StorageUnavailable
from stenopool.storage import ObjectStore, open_store

if TYPE_CHECKING:
    from prefect.blocks.core import Block

_SCHEME = "block://"
B = TypeVar("B", bound="Block")


def absolute_location(location: str) -> str:
    """An address that is valid in other processes, which run in other folders: a folder's path becomes absolute."""
    return location if "://" in location else str(Path(location).expanduser().absolute())


def open_location(location: str, *, must_exist: bool = False) -> ObjectStore:
    """Open the store at an address. Do not call it in a thread with a running event loop; see `open_stores`.

    ``must_exist``: as in `open_store`. Raises `LocationInvalid`, `ObjectNotFound` (also for an unknown block),
    `AccessDenied`, and `StorageUnavailable` if the Prefect server cannot be reached for a block.
    """
    if not location.startswith(_SCHEME):
        return open_store(location, must_exist=must_exist)
    kind, name, below = (*location.removeprefix(_SCHEME).split("/", 2), "", "")[:3]
    if kind == "s3-bucket":
        store = _open_bucket(name, below, must_exist)
    elif kind == "local-file-system":
        from prefect.filesystems import LocalFileSystem

        folder = Path(_load(LocalFileSystem, name).basepath or "").expanduser() / below
        store = open_store(str(folder), must_exist=must_exist)
    else:
        raise LocationInvalid(
            f"Blocks of the type {kind!r} cannot be used for recordings.",
            remedy="Use block://s3-bucket/NAME/prefix or block://local-file-system/NAME/folder.",
        )
    store.address = location
    return store


def open_existing(location: str) -> ObjectStore:
    """Open a store that must not be empty, as for `status`; raises `ObjectNotFound` if it is."""
    store = open_location(location, must_exist=True)
    if next(store.list(page_size=1), None) is None and (absence := store.find_absence()):
        raise absence
    return store


async def open_stores(source: str, destination: str) -> tuple[ObjectStore, ObjectStore]:
    """Open a flow's source, which must exist, and its destination."""
    return (
        await asyncio.to_thread(open_location, source, must_exist=True),
        await asyncio.to_thread(open_location, destination),
    )


def _open_bucket(name: str, below: str, must_exist: bool) -> ObjectStore:
    from prefect_aws import S3Bucket

    from stenopool.storage.s3 import S3Store, connect

    saved = _load(S3Bucket, name)
    session = saved.credentials.get_boto3_session()
    reconnect = partial(connect, session, **saved.credentials.aws_client_parameters.get_params_override())
    prefix = "/".join(part for part in (saved.bucket_folder.strip("/"), below) if part)
    store = S3Store(saved.bucket_name, prefix, client=reconnect(), reconnect=reconnect)
    if must_exist:
        store.attempt(ObjectStore.check_root)
    return store


def _load(block: "type[B]", name: str) -> B:
    import httpx
    from prefect.settings import get_current_settings

    what = f"the block {block.get_block_type_slug()}/{name}"
    if not get_current_settings().api.url:
        raise LocationInvalid(
            f"No Prefect server is configured for {what}.",
            remedy="Set PREFECT_API_URL, e.g. http://127.0.0.1:4200/api, or use a folder or s3://bucket/prefix.",
        )
    try:
        return asyncio.run(block.aload(name))
    except ValueError as error:
        raise ObjectNotFound(
            f"The Prefect server does not have {what}.",
            remedy="Save it in the Prefect UI under Blocks, or check the name.",
        ) from error
    except (httpx.HTTPError, RuntimeError) as error:  # Prefect raises RuntimeError if there is no response
        status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else None
        kind = AccessDenied if status in (401, 403) else StorageUnavailable
        raise kind(
            f"Cannot load {what} from the Prefect server: {type(error).__name__}.",
            remedy="Check PREFECT_API_URL, and PREFECT_API_KEY or PREFECT_API_AUTH_STRING.",
        ) from error
