"""Where recordings and transcripts are: `open_location` takes every address that a command or a flow may be given.

./calls, file:///calls                  a folder
s3://calls/2026-11                      a bucket, with credentials from the environment (AWS_*)
block://s3-bucket/calls/2026-11         the saved S3 Bucket `calls`, below its folder, with the credentials saved in it
block://local-file-system/inbox/today   the saved Local File System `inbox`

Blocks are saved on a Prefect server, which is asked for them only if an address names one.
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
    """An address as other processes need it, which run in other folders: a folder's path becomes absolute."""
    return location if "://" in location else str(Path(location).expanduser().absolute())


def open_location(location: str, *, must_exist: bool = False) -> ObjectStore:
    """The store at an address. Not for a thread in which an event loop runs: see `open_stores`.

    ``must_exist`` as in `open_store`. Raises `LocationInvalid`, `ObjectNotFound` (also where no block has
    that name), `AccessDenied`, and `StorageUnavailable` where the Prefect server cannot be asked for a block.
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
            f"{kind!r} is not a kind of block that holds recordings.",
            remedy="Use block://s3-bucket/NAME/prefix or block://local-file-system/NAME/folder.",
        )
    store.address = location
    return store


def open_existing(location: str) -> ObjectStore:
    """The store at an address with something in it, as `status` needs it; `ObjectNotFound` if there is nothing."""
    store = open_location(location, must_exist=True)
    if next(store.list(page_size=1), None) is None and (absence := store.find_absence()):
        raise absence
    return store


async def open_stores(source: str, destination: str) -> tuple[ObjectStore, ObjectStore]:
    """What a flow reads, which must exist, and what it writes to."""
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
            f"No Prefect server is configured that could hold {what}.",
            remedy="Set PREFECT_API_URL, e.g. http://127.0.0.1:4200/api, or give a folder or s3://bucket/prefix.",
        )
    try:
        return asyncio.run(block.aload(name))
    except ValueError as error:
        raise ObjectNotFound(
            f"There is no such block on the Prefect server: {what}.",
            remedy="Save it in Prefect's page under Blocks, or `stenopool deploy` with the one you mean.",
        ) from error
    except (httpx.HTTPError, RuntimeError) as error:  # Prefect raises RuntimeError where nothing answers
        status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else None
        kind = AccessDenied if status in (401, 403) else StorageUnavailable
        raise kind(
            f"The Prefect server cannot be asked for {what}: {type(error).__name__}.",
            remedy="Check PREFECT_API_URL, and PREFECT_API_KEY or PREFECT_API_AUTH_STRING.",
        ) from error
