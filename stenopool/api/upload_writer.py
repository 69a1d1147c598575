"""An upload on its way into a store: sent in pieces of a megabyte, its SHA-256 taken."""

import asyncio
import hashlib

from stenopool.storage import ObjectStore, Writer

_PIECE = 1024 * 1024  # what the network gives at a time would be a call to a thread for each 64 KiB


class UploadWriter:
    """One object under way: `write` as often as there is something, then `commit`; `abort` leaves nothing behind."""

    def __init__(self, store: ObjectStore, key: str) -> None:
        store.uri_of(key)  # refuses what no object can be called
        self.key = key
        self.size = 0
        self._store = store
        self._digest = hashlib.sha256()
        self._buffer = bytearray()
        self._writer: Writer | None = None

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    async def write(self, data: bytes) -> None:
        self.size += len(data)
        self._digest.update(data)
        self._buffer += data
        if len(self._buffer) >= _PIECE:
            await asyncio.to_thread(self._flush)

    async def commit(self) -> None:
        await asyncio.to_thread(self._commit)

    async def abort(self) -> None:
        if self._writer:
            await asyncio.to_thread(self._writer.abort)

    def _flush(self) -> Writer:
        data, self._buffer = self._buffer, bytearray()
        self._writer = self._writer or self._store.writer(self.key)
        self._writer.write(data)
        return self._writer

    def _commit(self) -> None:
        self._flush().commit()
