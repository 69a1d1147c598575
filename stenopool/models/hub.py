"""Weights from the public hubs, into their own caches (HF_HOME; ours for openai-whisper). Short time-outs.

What is in a cache already is used without asking the network at all.
"""

import functools
import os
import re
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from stenopool.errors import ErrorCode, ModelMissing, SetupError
from stenopool.models import cache
from stenopool.models.sources import KnownModel, ModelKind, is_complete

OPENAI_ADDRESS = "https://openaipublic.azureedge.net/main/whisper/models"
_TIMEOUT = 5.0  # seconds to an answer: a blocked network is to be said at once, not after minutes
_FILES: dict[ModelKind, list[str]] = {
    "ctranslate2": ["config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*"],
    # One of several copies of the weights is enough; transformers prefers safetensors and loads both safely.
    "wav2vec2": ["*.json", "*.txt", "model.safetensors", "pytorch_model.bin"],
}


@functools.cache
def published() -> dict[Any, dict[str, str]]:
    """Where public models are, by kind and name: faster-whisper's own table, and ``published.toml``."""
    from faster_whisper.utils import _MODELS

    return {"ctranslate2": _MODELS, **tomllib.loads(Path(__file__).with_name("published.toml").read_text())}


class HubSource:
    """Hugging Face for ctranslate2, wav2vec2 and pyannote; OpenAI's own addresses for openai."""

    origin = "hub"

    def known(self) -> Iterator[KnownModel]:
        for kind, names in published().items():
            for name in names:
                yield KnownModel(name, kind, self.origin, _find_local(name, kind) is not None)

    def get(self, name: str, kind: ModelKind) -> Path | None:
        if local := _find_local(name, kind):
            return local
        if kind == "openai":
            return _download_openai(name)
        repository = _find_repository(name, kind)
        return _download(name, kind, repository) if repository else None


def _find_local(name: str, kind: ModelKind) -> Path | None:
    if kind == "openai":
        return _find_openai(name)
    repository = _find_repository(name, kind)
    return _find_snapshot(repository, kind) if repository else None


def _find_repository(name: str, kind: ModelKind) -> str | None:
    """The repository on Hugging Face; a name of the form owner/name is one."""
    return name if re.fullmatch(r"[\w.-]+/[\w.-]+", name) else published().get(kind, {}).get(name)


def _find_snapshot(repository: str, kind: ModelKind) -> Path | None:
    """The repository in Hugging Face's cache, if it is there and whole."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(repository, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    return folder if is_complete(folder, kind) else None


def is_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _download(name: str, kind: ModelKind, repository: str) -> Path:
    page = f"https://huggingface.co/{repository}"
    if is_offline():
        raise _missing(name, kind, page, "HF_HUB_OFFLINE is set")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    try:
        folder = Path(snapshot_download(repository, allow_patterns=_FILES.get(kind), etag_timeout=_TIMEOUT))
    except GatedRepoError as error:
        raise SetupError(
            ErrorCode.MODEL_GATED,
            f"{repository} is given only to those who accepted its terms.",
            remedy=f"Accept them at {page} and set HF_TOKEN, or give a local folder.",
        ) from error
    except RepositoryNotFoundError as error:
        raise _missing(name, kind, page, "there is no such repository, or HF_TOKEN may not read it") from error
    except (HfHubHTTPError, OSError) as error:
        raise _missing(name, kind, page, "the hub cannot be reached") from error
    if not is_complete(folder, kind):
        raise _missing(name, kind, page, f"the repository is not a {kind} model")
    return folder


def _missing(name: str, kind: ModelKind, page: str, why: str) -> SetupError:
    return ModelMissing(
        f"Model {name} ({kind}) is not on this machine, and {why}.",
        remedy=f"Where there is a network, run `stenopool models mirror {name}` to a folder or bucket and set "
        f"STENOPOOL_MODELS__MIRROR here, or download {page} into STENOPOOL_MODELS__PATH/{name}.",
    )


def _find_openai(name: str) -> Path | None:
    """A checkpoint that we downloaded, or openai-whisper itself, if it is the one in the table."""
    if name not in published()["openai"]:
        return None
    digest, _, file = published()["openai"][name].partition("/")
    theirs = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "whisper" / file
    if theirs.is_file() and cache.digest(theirs) == digest:
        return theirs
    ours = _openai_path(file)
    return ours if ours.is_file() else None


def _openai_path(file: str) -> Path:
    return cache.root() / "openai" / file.removesuffix(".pt") / file


def _download_openai(name: str) -> Path | None:
    """From the address in openai-whisper's table, which holds the file's SHA-256.

    Not by ``whisper._download``: it has no time-out and leaves half a file where the whole one belongs.
    """
    if name not in published()["openai"]:
        return None
    digest, _, file = published()["openai"][name].partition("/")
    address = f"{OPENAI_ADDRESS}/{digest}/{file}"
    if is_offline():
        raise _missing(name, "openai", address, "HF_HUB_OFFLINE is set")
    target = _openai_path(file)
    with cache.building(target.parent) as temporary:
        try:
            with urlopen(address, timeout=_TIMEOUT) as response, (temporary / file).open("wb") as stream:  # noqa: S310
                shutil.copyfileobj(response, stream, 1 << 20)
        except OSError as error:
            raise _missing(name, "openai", address, "the network cannot be reached") from error
        if cache.sha256(temporary / file) != digest:
            raise SetupError(ErrorCode.MODEL_CORRUPT, f"{address} came with the wrong content.", remedy="Try again.")
    return target


def verify() -> Iterator[cache.VerifiedModel]:
    """Check each model in Hugging Face's cache: large files lie there under the name of their SHA-256."""
    from huggingface_hub.constants import HF_HUB_CACHE

    for snapshot in sorted(Path(HF_HUB_CACHE).glob("models--*/snapshots/*")):
        named = [file for file in cache.files_of(snapshot) if re.fullmatch("[0-9a-f]{64}", file.resolve().name)]
        damaged = [str(file.relative_to(snapshot)) for file in named if cache.sha256(file) != file.resolve().name]
        if named:
            yield cache.VerifiedModel(snapshot, len(named), damaged)
