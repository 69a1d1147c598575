"""Our cache of weights: whole folders that appear at once, each with the checksums it was made with."""

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
    """A model that was read again: ``damaged`` names the files whose content is not what was fetched."""

    path: Path
    files: int
    damaged: list[str]


def root() -> Path:
    """The cache folder of the settings."""
    return get_settings().models.cache.expanduser()


@contextmanager
def building(folder: Path) -> Iterator[Path]:
    """A temporary folder to fill; at the end its checksums are written and it becomes ``folder`` by one rename.

    Two processes may build the same folder at once: one of them wins, the other's work is thrown away.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".building-", dir=folder.parent))
    try:
        yield temporary
        sums = {str(path.relative_to(temporary)): sha256(path) for path in files_of(temporary)}
        (temporary / _SUMS).write_text(json.dumps(sums, indent=1))
        temporary.chmod(0o755)  # mkdtemp gives 0700, but other users of the machine may share the cache
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def files_of(path: Path) -> list[Path]:
    """The files of a model, a folder or a single file, without our checksums and hidden files; sorted.

    Weights that are there as safetensors are not taken as a pickle too.
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
    """Whether there is a file with this content; it is read."""
    return path.is_file() and sha256(path) == expected


def digest(path: Path) -> str:
    """As `sha256`, but computed once: kept in the cache under the file's path, size and time of change.

    Not beside the file, which may lie in a folder that is not ours to write to.
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
    """Compare every folder of the cache with its checksums."""
    for record in sorted(root().rglob(_SUMS)):
        sums: dict[str, str] = json.loads(record.read_text())
        folder = record.parent
        damaged = [name for name, sum_ in sums.items() if not has_sha256(folder / name, sum_)]
        yield VerifiedModel(folder, len(sums), damaged)
