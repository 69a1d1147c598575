"""Pins: the expected commit of a repository on the hub, and the expected SHA-256 of each of its files.

Stenopool's pins are in ``pins.toml``. Your own, written by `stenopool models pin` to ``STENOPOOL_MODELS__PINS``, take
precedence.
"""

import json
import tomllib
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from filelock import FileLock
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from stenopool.errors import ErrorCode, SetupError
from stenopool.models import cache
from stenopool.settings import get_settings

_SHIPPED = Path(__file__).with_name("pins.toml")


def check_file_name(name: str) -> str:
    """Raise ValueError for a file name that points outside a model's folder."""
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise ValueError(f"{name!r} is not inside a model's folder")
    return name


FileSums = dict[Annotated[str, AfterValidator(check_file_name)], Annotated[str, Field(pattern="^[0-9a-f]{64}$")]]


class Pin(BaseModel):
    """A commit of a repository, and the SHA-256 (hex) of each file used."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    revision: Annotated[str, Field(pattern="^[0-9a-f]{40}$")]
    files: Annotated[FileSums, Field(min_length=1)]

    def find_differences(self, folder: Path) -> list[str]:
        """The files that are missing in the folder or have different content."""
        return [
            name
            for name, expected in self.files.items()
            if not (folder / name).is_file() or cache.digest(folder / name) != expected
        ]


_Pins = TypeAdapter(dict[str, Pin])


def find_pin(repository: str) -> Pin | None:
    """The pin of ``owner/name``; None if it is not pinned."""
    return _read(pins_file()).get(repository) or _read(_SHIPPED).get(repository)


def find_repository(digest: str) -> str | None:
    """The pinned repository that contains a file with this SHA-256 (hex)."""
    pinned = {**_read(_SHIPPED), **_read(pins_file())}
    return next((repository for repository, pin in pinned.items() if digest in pin.files.values()), None)


def pins_file() -> Path:
    """The file with your own pins."""
    return (get_settings().models.pins or cache.root() / "pins.toml").expanduser()


def write_pin(repository: str, pin: Pin) -> str:
    """Add or replace one of your own pins; returns its text."""
    path = pins_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f"{path.name}.lock")):
        pins = {**_read(path), repository: pin}
        part = path.with_name(f"{path.name}.part")
        part.write_text("\n".join(_format(*each) for each in sorted(pins.items())), encoding="utf-8")
        part.replace(path)
    return _format(repository, pin)


def _format(repository: str, pin: Pin) -> str:
    """The pin as TOML, whose strings may be written like JSON's."""
    table = json.dumps(repository)
    files = "".join(f"{json.dumps(name)} = {json.dumps(sum_)}\n" for name, sum_ in sorted(pin.files.items()))
    return f"[{table}]\nrevision = {json.dumps(pin.revision)}\n\n[{table}.files]\n{files}"


def _read(path: Path) -> dict[str, Pin]:
    """Read a file of pins. Raises `SetupError` MODEL_CORRUPT if it is invalid."""
    try:
        return _parse(path, path.stat().st_mtime_ns)
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ValidationError) as error:
        raise SetupError(
            ErrorCode.MODEL_CORRUPT,
            f"{path} is not a valid file of model pins: {error}",
            remedy="Create it again with `stenopool models pin`.",
        ) from error


@lru_cache(maxsize=8)
def _parse(path: Path, changed: int) -> dict[str, Pin]:  # noqa: ARG001 (read again after a change)
    found: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    return _Pins.validate_python(found)
