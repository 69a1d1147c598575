"""A private mirror of weights for installations without access to the hub: a folder or s3:// prefix with a manifest.

``models.json`` maps ``<kind>/<name>`` to its files and their SHA-256; the files are at ``<kind>/<name>/<file>``.
"""

import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, Field, ValidationError

from stenopool.errors import ErrorCode, ModelMissing, SetupError
from stenopool.models import cache
from stenopool.models.pins import FileSums
from stenopool.models.sources import KnownModel, ModelKind
from stenopool.storage import open_store
from stenopool.storage.base import ObjectStore

_MANIFEST = "models.json"


class Manifest(BaseModel):
    """The contents of a mirror: ``<kind>/<name>`` → file → SHA-256."""

    schema_version: str = "1.0"
    models: dict[str, FileSums] = Field(default_factory=dict)


class WrittenMirror(NamedTuple):
    """The entries of a mirror, and the SHA-256 of its manifest, which covers every file."""

    entries: list[str]
    sha256: str


class MirrorSource:
    """Models of a mirror, downloaded into the cache and verified. A changed manifest entry is downloaded again.

    ``sha256``: of the manifest, if known. Without it, anyone with write access to the mirror can change weights and
    checksums.
    """

    origin = "mirror"

    def __init__(self, uri: str, sha256: str | None = None) -> None:
        self._store: ObjectStore = open_store(uri)
        self._sha256 = sha256

    @cached_property
    def _manifest(self) -> Manifest:
        if found := _read(self._store, self._sha256):
            return found
        uri = self._store.uri
        raise ModelMissing(
            f"No mirror of models exists at {uri}.",
            remedy=f"Create one with `stenopool models mirror base {uri}`, or unset STENOPOOL_MODELS__MIRROR.",
        )

    def known(self) -> Iterator[KnownModel]:
        for entry in self._manifest.models:
            kind, _, name = entry.partition("/")
            yield KnownModel(name, kind, self.origin, True)  # type: ignore[arg-type]  # another kind is harmless in a list

    def get(self, name: str, kind: ModelKind) -> Path | None:
        entry = f"{kind}/{name}"
        sums = self._manifest.models.get(entry)
        if sums is None:
            return None
        version = hashlib.sha256(repr(sorted(sums.items())).encode()).hexdigest()[:12]
        folder = cache.root() / "mirror" / kind / f"{name.replace('/', '--')}-{version}"
        if not folder.is_dir():
            with cache.building(folder) as temporary:
                for file, expected in sums.items():
                    self._download(f"{entry}/{file}", temporary / file, expected)
        return folder

    def _download(self, key: str, path: Path, expected: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._store.get_file(key, path)
        if cache.sha256(path) != expected:
            raise SetupError(
                ErrorCode.MODEL_CORRUPT,
                f"{self._store.uri_of(key)} does not match the mirror's manifest.",
                remedy="Write the mirror again with `stenopool models mirror`.",
            )


def write_mirror(
    models: list[tuple[str, ModelKind, Path]], store: ObjectStore, sha256: str | None = None
) -> WrittenMirror:
    """Upload models (name, kind, folder or file) and then the manifest, keeping existing entries.

    ``sha256``: required digest of the existing manifest.
    """
    manifest = _read(store, sha256) or Manifest()
    for name, kind, path in models:
        entry = f"{kind}/{name}"
        root = path if path.is_dir() else path.parent
        sums = {str(file.relative_to(root)): cache.digest(file) for file in cache.files_of(path)}
        for file in sums:
            store.put_file(f"{entry}/{file}", root / file)
        manifest.models[entry] = sums
    content = manifest.model_dump_json(indent=1).encode()
    store.put_bytes(_MANIFEST, content, content_type="application/json")
    return WrittenMirror(sorted(manifest.models), hashlib.sha256(content).hexdigest())


def _read(store: ObjectStore, sha256: str | None) -> Manifest | None:
    content = store.get_bytes(_MANIFEST, None)
    if content is not None and sha256 not in (None, hashlib.sha256(content).hexdigest()):
        raise SetupError(
            ErrorCode.MODEL_CORRUPT,
            f"{store.uri_of(_MANIFEST)} does not match STENOPOOL_MODELS__MIRROR_SHA256.",
            remedy="If you changed the mirror, set it to what `stenopool models mirror` printed; else someone did.",
        )
    try:
        return None if content is None else Manifest.model_validate_json(content)
    except ValidationError as error:
        raise SetupError(
            ErrorCode.MODEL_CORRUPT, f"{store.uri_of(_MANIFEST)} is not a valid manifest: {error}"
        ) from error
