"""A store in memory, for properties over many random key sets; it can list in SeaweedFS's order."""

from collections.abc import Collection, Iterator
from pathlib import Path

from stenopool.errors import ObjectNotFound
from stenopool.storage.base import ObjectInfo, ObjectStore, Walk, check_key


class MemoryStore(ObjectStore):
    """Objects in a dict. ``folders_first`` sorts by path segment, like SeaweedFS, instead of by bytes.

    ``lists`` counts the started listings, ``listed`` the objects that they returned.
    """

    def __init__(self, uri: str = "memory://store", *, folders_first: bool = False) -> None:
        self.uri = self.address = uri
        self.objects: dict[str, bytes] = {}
        self.folders_first = folders_first
        self.lists = self.listed = 0

    def _order(self, key: str) -> list[bytes] | bytes:
        return [part.encode() for part in key.split("/")] if self.folders_first else key.encode()

    def _info(self, key: str) -> ObjectInfo:
        content = self.objects[key]
        return ObjectInfo(key, len(content), f"{hash(content):x}", 0.0)

    def uri_of(self, key: str) -> str:
        check_key(key)
        return f"{self.uri}/{key}"

    def list(
        self,
        prefix: str = "",
        *,
        start_after: str = "",
        page_size: int | None = None,
        endings: Collection[str] | None = None,
        walk: Walk | None = None,
    ) -> Iterator[ObjectInfo]:
        self.lists += 1
        after = self._order(start_after) if start_after else None
        for key in sorted(self.objects, key=self._order):
            wanted = key.startswith(prefix) and (endings is None or key[len(prefix) :] in endings)
            if wanted and (after is None or self._order(key) > after):  # type: ignore[operator]
                self.listed += 1
                yield self._info(key)

    def head(self, key: str) -> ObjectInfo:
        if key not in self.objects:
            raise ObjectNotFound(f"{key} is not there.")
        return self._info(key)

    def stream(self, key: str, *, first: int = 0, last: int | None = None, etag: str | None = None) -> Iterator[bytes]:
        self.head(key)
        yield self.objects[key]

    def put_file(self, key: str, path: Path, *, content_type: str | None = None) -> None:
        self.put_bytes(key, path.read_bytes())

    def put_bytes(self, key: str, data: bytes, *, content_type: str | None = None, if_absent: bool = False) -> bool:
        check_key(key)
        if if_absent and key in self.objects:
            return False
        self.objects[key] = data
        return True

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    def sweep_partial(self, older_than_seconds: float) -> int:
        return 0
