"""Stenopool's cache of weights: complete folders that appear atomically, each with its checksums."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from stenopool.settings import get_settings

_SUMS = "sha256.json"


class VerifiedModel(NamedTuple):
    """Result of verifying a model. ``damaged``: files whose content differs from what was fetched."""

    path: Path
    files: int
    damaged: list[str]


def root() -> Path:
    """The cache folder from the settings."""
    return get_settings().models.cache.expanduser()


@contextmanager
def building(folder: Path) -> Iterator[Path]:
    """A temporary folder to fill; at the end, its checksums are written and it is renamed to ``folder``.

    If two processes build the same folder at once, the result of one is used and that of the other deleted.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".building-", dir=folder.parent))
    try:
        yield temporary
        sums = {str(path.relative_to(temporary)): sha256(path) for path in files_of(temporary)}
        (temporary / _SUMS).write_text(json.dumps(sums, indent=1))
        temporary.chmod(0o755)  # mkdtemp uses 0700, but users of this machine may share the cache
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def files_of(path: Path) -> list[Path]:
    """The sorted files of a model (a folder or a single file), without Stenopool's checksums and hidden files.

    If the weights exist as safetensors, the pickle is omitted.
    """
    if path.is_file():
        return [path]
    return sorted(
        file
        for file in path.rglob("*")
        if file.is_file()
        and file.name != _SUMS
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
        and not (file.name == "pytorch_model.bin" and file.with_name("model.safetensors").is_file())
    )


def main_file(path: Path) -> Path:
    """The main weights file of a model: the largest."""
    return max(files_of(path), key=lambda file: (file.stat().st_size, file.name))


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, as hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def has_sha256(path: Path, expected: str) -> bool:
    """Whether a file exists with this digest; reads the file."""
    return path.is_file() and sha256(path) == expected


def digest(path: Path) -> str:
    """Like `sha256`, but cached by the file's path, size and modification time.

    The digest is not stored next to the file, whose folder may be read-only.
    """
    status = path.stat()
    identity = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}"
    kept = root() / "digests" / hashlib.sha256(identity.encode()).hexdigest()
    if kept.exists() and len(text := kept.read_text()) == 64:
        return text
    value = sha256(path)
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(value)
    return value


def verify() -> Iterator[VerifiedModel]:
    """Verify the checksums of all folders in the cache."""
    for record in sorted(root().rglob(_SUMS)):
        sums: dict[str, str] = json.loads(record.read_text())
        folder = record.parent
        damaged = [name for name, sum_ in sums.items() if not has_sha256(folder / name, sum_)]
        yield VerifiedModel(folder, len(sums), damaged)
