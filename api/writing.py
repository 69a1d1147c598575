"""An object that is written as it arrives: bounded memory, seen whole or not at all.

On S3 a multipart upload of parts of 8 MiB (one request for what is smaller); elsewhere a file in the scratch folder
that is put into the store at the end.
"""

import asyncio
import contextlib
import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from stenopool.errors import ErrorCode, TransientError
from stenopool.settings import get_settings
from stenopool.storage import ObjectStore
from stenopool.storage.s3 import S3Store

T = TypeVar("T")
_PART = 8 * 1024 * 1024


class Writing:
    """One object under way: `write` as often as there is something, then `commit`; `abort` leaves nothing behind."""

    def __init__(self, store: ObjectStore, key: str) -> None:
        store.uri_of(key)  # refuses what no object can be called
        self.key = key
        self.size = 0
        self._store = store
        self._digest = hashlib.sha256()
        self._buffer = bytearray()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    async def write(self, data: bytes) -> None:
        self.size += len(data)
        self._digest.update(data)
        self._buffer += data
        if len(self._buffer) >= _PART:
            part, self._buffer = bytes(self._buffer), bytearray()
            await asyncio.to_thread(self._part, part)

    async def commit(self) -> None:
        await asyncio.to_thread(self._commit, bytes(self._buffer))

    async def abort(self) -> None:
        self._buffer.clear()
        await asyncio.to_thread(self._abort)

    def _part(self, data: bytes) -> None:
        raise NotImplementedError

    def _commit(self, rest: bytes) -> None:
        raise NotImplementedError

    def _abort(self) -> None:
        raise NotImplementedError


class _S3Writing(Writing):
    def __init__(self, store: S3Store, key: str) -> None:
        super().__init__(store, key)
        self._s3 = store.client
        self._whole: dict[str, Any] = {"Bucket": store.bucket, "Key": store.prefix + key}
        self._upload: str | None = None
        self._parts: list[dict[str, Any]] = []

    def _part(self, data: bytes) -> None:
        if self._upload is None:
            self._upload = self._ask(self._s3.create_multipart_upload)["UploadId"]
        number = len(self._parts) + 1
        answer = self._ask(self._s3.upload_part, UploadId=self._upload, PartNumber=number, Body=data)
        self._parts.append({"PartNumber": number, "ETag": answer["ETag"]})

    def _commit(self, rest: bytes) -> None:
        if self._upload is None:
            self._store.put_bytes(self.key, rest)
            return
        if rest:
            self._part(rest)
        parts = {"Parts": self._parts}
        self._ask(self._s3.complete_multipart_upload, UploadId=self._upload, MultipartUpload=parts)
        self._upload = None

    def _abort(self) -> None:
        if self._upload:
            self._ask(self._s3.abort_multipart_upload, UploadId=self._upload)

    def _ask(self, call: Callable[..., T], **parameters: Any) -> T:
        try:
            return call(**self._whole, **parameters)
        except (ClientError, BotoCoreError) as error:
            message = f"put {self._store.uri}/{self.key}: {type(error).__name__}."
            raise TransientError(ErrorCode.STORAGE_UNAVAILABLE, message) from error


class _SpooledWriting(Writing):
    def __init__(self, store: ObjectStore, key: str) -> None:
        super().__init__(store, key)
        self._file: IO[bytes] | None = None

    def _part(self, data: bytes) -> None:
        if self._file is None:
            folder = get_settings().scratch.dir
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.NamedTemporaryFile(prefix="stenopool-upload-", dir=folder)  # noqa: SIM115
        try:
            self._file.write(data)
        except OSError as error:
            raise TransientError(ErrorCode.SCRATCH_FULL, f"The scratch folder: {error.strerror}.") from error

    def _commit(self, rest: bytes) -> None:
        if self._file is None:
            self._store.put_bytes(self.key, rest)
            return
        self._part(rest)
        self._file.flush()
        self._store.put_file(self.key, Path(self._file.name))
        self._abort()

    def _abort(self) -> None:
        file, self._file = self._file, None
        if file:
            with contextlib.suppress(FileNotFoundError):
                file.close()


def writing(store: ObjectStore, key: str) -> Writing:
    """A new object of this store, not there before `Writing.commit`."""
    return _S3Writing(store, key) if isinstance(store, S3Store) else _SpooledWriting(store, key)
