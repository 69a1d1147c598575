"""Locations by name: a saved block in place of an address, so that credentials stand in no parameter.

s3://calls/2026-11                      credentials from the environment (AWS_*)
block://s3-bucket/calls/2026-11         the saved S3 Bucket `calls`, below its folder
block://local-file-system/inbox/today   the saved Local File System `inbox`
"""

import asyncio
from pathlib import Path
from typing import TypeVar

from prefect.blocks.core import Block
from prefect.filesystems import LocalFileSystem

from stenopool.errors import ErrorCode, ObjectNotFound, SetupError
from stenopool.storage import ObjectStore, open_store

_SCHEME = "block://"
B = TypeVar("B", bound=Block)


async def opened(location: str, *, must_exist: bool = False) -> ObjectStore:
    """The store at an address or below a saved block; ``must_exist`` as in `open_store`.

    Raises `SetupError`: LOCATION_INVALID, OBJECT_NOT_FOUND (also where no block has that name), ACCESS_DENIED.
    """
    if not location.startswith(_SCHEME):
        return await asyncio.to_thread(open_store, location, must_exist=must_exist)
    kind, name, below = (*location.removeprefix(_SCHEME).split("/", 2), "", "")[:3]
    if kind == "s3-bucket":
        return await _bucket(name, below, must_exist)
    if kind == "local-file-system":
        folder = await _load(LocalFileSystem, name)
        path = Path(folder.basepath or "").expanduser() / below
        return await asyncio.to_thread(open_store, str(path), must_exist=must_exist)
    raise SetupError(
        ErrorCode.LOCATION_INVALID,
        f"{kind!r} is not a kind of block that holds recordings.",
        remedy="Use block://s3-bucket/NAME/prefix or block://local-file-system/NAME/folder.",
    )


async def _bucket(name: str, below: str, must_exist: bool) -> ObjectStore:
    from prefect_aws import S3Bucket

    from stenopool.storage.s3 import S3Store, connect

    saved = await _load(S3Bucket, name)
    session = await asyncio.to_thread(saved.credentials.get_boto3_session)
    client = connect(session, **saved.credentials.aws_client_parameters.get_params_override())
    prefix = "/".join(part for part in (saved.bucket_folder.strip("/"), below) if part)
    store = S3Store(saved.bucket_name, prefix, client=client)
    if must_exist:
        await asyncio.to_thread(lambda: next(store.list(), None))
    return store


async def _load(block: type[B], name: str) -> B:
    try:
        return await block.aload(name)
    except ValueError as error:
        raise ObjectNotFound(
            f"There is no block {block.get_block_type_slug()}/{name}.",
            remedy="Save it in Prefect's page under Blocks, or `stenopool deploy` with the one you mean.",
        ) from error
