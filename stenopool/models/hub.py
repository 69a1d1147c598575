"""Weights from the public hubs, into their own caches (HF_HOME; ours for openai-whisper). Short time-outs.

Nothing is downloaded that is not pinned (`stenopool.models.pins`): a commit is requested, and every file compared with
its SHA-256. What is in a cache already is used without asking the network at all, if it is what is pinned.
"""

import functools
import os
import re
import shutil
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from stenopool.errors import ErrorCode, ModelMissing, OptionsInvalid, SetupError
from stenopool.models import cache
from stenopool.models.pins import Pin, find_pin, write_pin
from stenopool.models.sources import KnownModel, ModelKind, is_complete
from stenopool.runtime.logs import logger

OPENAI_ADDRESS = "https://openaipublic.azureedge.net/main/whisper/models"
_TIMEOUT = 5.0  # seconds to an answer: a blocked network is to be said at once, not after minutes
_FILES: dict[ModelKind, list[str]] = {
    "ctranslate2": ["config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*"],
    "wav2vec2": ["*.json", "*.txt", "model.safetensors", "pytorch_model.bin"],
    "pyannote": ["*"],
}
_NOT_WEIGHTS = (".*", "*/.*", "*.md", "*.gif", "*.png")


@functools.cache
def published() -> dict[Any, dict[str, str]]:
    """Where public models are, by kind and name: faster-whisper's own table, and ``published.toml``."""
    from faster_whisper.utils import _MODELS

    return {"ctranslate2": _MODELS, **_tables()}


@functools.cache
def _tables() -> dict[str, dict[str, str]]:
    return tomllib.loads(Path(__file__).with_name("published.toml").read_text())


def is_published(name: str, kind: ModelKind) -> bool:
    """Whether there is a public model of this name and kind, whether or not it can be downloaded here."""
    return name in (_tables() if kind in _tables() else published()).get(kind, {})


def find_checkpoint(digest: str) -> str | None:
    """The name of OpenAI's checkpoint with this SHA-256 (hex)."""
    return next((name for name, address in _tables()["openai"].items() if address.startswith(f"{digest}/")), None)


class HubSource:
    """Hugging Face for ctranslate2, wav2vec2 and pyannote; OpenAI's own addresses for openai."""

    origin = "hub"

    def known(self) -> Iterator[KnownModel]:
        for kind, names in published().items():
            for name in names:
                yield KnownModel(name, kind, self.origin, _find_local(name, kind) is not None)

    def get(self, name: str, kind: ModelKind) -> Path | None:
        local = _find_local(name, kind)
        if kind == "openai":
            return local or _download_openai(name)
        repository = _find_repository(name, kind)
        if repository is None:
            return None
        if local:
            pin = find_pin(repository)
            differing = pin.find_differences(local) if pin else []
            if not differing:
                return local
            logger.warning("%s is not what is pinned, so it is not used: %s.", local, ", ".join(differing))
        return _download(name, kind, repository)


def _find_local(name: str, kind: ModelKind) -> Path | None:
    if kind == "openai":
        return _find_openai(name)
    repository = _find_repository(name, kind)
    return _find_snapshot(repository, kind) if repository else None


def _find_repository(name: str, kind: ModelKind) -> str | None:
    """The repository on Hugging Face; a name of the form owner/name is one."""
    return name if re.fullmatch(r"[\w.-]+/[\w.-]+", name) else published().get(kind, {}).get(name)


def is_pinned(name: str, kind: ModelKind) -> bool:
    """Whether the hub may be asked for this model. OpenAI's addresses hold checksums."""
    repository = _find_repository(name, kind)
    return kind == "openai" or (repository is not None and find_pin(repository) is not None)


def _find_snapshot(repository: str, kind: ModelKind) -> Path | None:
    """The repository in Hugging Face's cache, if it is there and whole."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    pin = find_pin(repository)
    # The commit that is pinned, or the one that others took last: its weights may be the same.
    for revision in filter(None, (pin and pin.revision, "main")):
        try:
            folder = Path(snapshot_download(repository, revision=revision, local_files_only=True))
        except LocalEntryNotFoundError:
            continue
        if is_complete(folder, kind):
            return folder
    return None


def is_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _download(name: str, kind: ModelKind, repository: str) -> Path:
    """A repository's pinned files. Raises `SetupError` MODEL_MISSING, MODEL_GATED, MODEL_CORRUPT."""
    with _asking_hub(name, kind, repository):
        pin = find_pin(repository)
        if pin is None:
            raise ModelMissing(
                f"Model {name} ({kind}) is not pinned: nothing vouches for what the hub gives for it.",
                remedy=f"Run `stenopool models pin {name} --kind {kind}`: it downloads the model as it is now, and "
                "holds this machine to that, and every other that gets the same file by STENOPOOL_MODELS__PINS.",
            )
        folder = _fetch(repository, pin.revision, pin.files)
    if absent := [file for file in pin.files if not (folder / file).is_file()]:
        raise _missing(name, kind, _page(repository), f"the hub did not give {', '.join(absent)}")
    if differing := pin.find_differences(folder):
        for file in differing:  # else they would be found here again
            (folder / file).resolve().unlink(missing_ok=True)
            (folder / file).unlink(missing_ok=True)
        raise SetupError(
            ErrorCode.MODEL_CORRUPT,
            f"{repository} at {pin.revision} came with other content than is pinned: {', '.join(differing)}.",
            remedy="Try again. If it stays so, somebody has changed what the hub gives: use a copy that you trust.",
        )
    return _require_complete(name, kind, repository, folder)


def pin_model(name: str, kind: ModelKind) -> tuple[Path, str]:
    """Download a model as the hub has it now and pin it: its folder, and the pin as it is written.

    Raises `SetupError` MODEL_MISSING, MODEL_GATED; OPTIONS_INVALID for kind openai, whose addresses hold checksums.
    """
    repository = _find_repository(name, kind)
    if kind == "openai" or repository is None:
        raise OptionsInvalid(
            f"{name} ({kind}) is not a model on Hugging Face.",
            remedy="`stenopool models list` shows the names; openai's checkpoints are pinned as they are.",
        )
    with _asking_hub(name, kind, repository):
        from huggingface_hub import HfApi

        info = HfApi().model_info(repository, revision="main", timeout=_TIMEOUT)
        files = _choose_files(kind, [file.rfilename for file in info.siblings or ()])
        folder = _fetch(repository, str(info.sha), files)
    _require_complete(name, kind, repository, folder)
    pin = Pin(revision=str(info.sha), files={file: cache.sha256(folder / file) for file in files})
    return folder, write_pin(repository, pin)


def _choose_files(kind: ModelKind, files: list[str]) -> list[str]:
    """Those that the kind's reader needs; safetensors instead of a pickle where there are some."""
    chosen = [
        file
        for file in files
        if any(fnmatchcase(file, pattern) for pattern in _FILES[kind])
        and not any(fnmatchcase(file, pattern) for pattern in _NOT_WEIGHTS)
        and ("/" not in file or kind == "pyannote")  # its pipelines consist of several models
    ]
    pickled = {"pytorch_model.bin"} if "model.safetensors" in chosen else set()
    return [file for file in chosen if file not in pickled]


def _fetch(repository: str, revision: str, files: Iterable[str]) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(repository, revision=revision, allow_patterns=list(files), etag_timeout=_TIMEOUT))


def _require_complete(name: str, kind: ModelKind, repository: str, folder: Path) -> Path:
    if not is_complete(folder, kind):
        raise _missing(name, kind, _page(repository), f"the repository is not a {kind} model")
    return folder


def _page(repository: str) -> str:
    return f"https://huggingface.co/{repository}"


@contextmanager
def _asking_hub(name: str, kind: ModelKind, repository: str) -> Iterator[None]:
    """Its errors as ours, and none of it where the network is not to be asked."""
    page = _page(repository)
    if is_offline():
        raise _missing(name, kind, page, "HF_HUB_OFFLINE is set")
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        yield
    except GatedRepoError as error:
        raise SetupError(
            ErrorCode.MODEL_GATED,
            f"{repository} is given only to those who accepted its terms.",
            remedy=f"Accept them at {page} and set HF_TOKEN, or give a local folder.",
        ) from error
    except RepositoryNotFoundError as error:
        raise _missing(name, kind, page, "there is no such repository, or HF_TOKEN may not read it") from error
    except RevisionNotFoundError as error:
        raise _missing(name, kind, page, "the hub has the commit no more that is pinned") from error
    except (HfHubHTTPError, OSError) as error:
        raise _missing(name, kind, page, "the hub cannot be reached") from error


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
    """Check each model in Hugging Face's cache: what is pinned, and large files, whose names are their SHA-256."""
    from huggingface_hub.constants import HF_HUB_CACHE

    for snapshot in sorted(Path(HF_HUB_CACHE).glob("models--*/snapshots/*")):
        names = {str(file.relative_to(snapshot)): file.resolve().name for file in cache.files_of(snapshot)}
        sums = {file: name for file, name in names.items() if re.fullmatch("[0-9a-f]{64}", name)}
        pin = find_pin(snapshot.parents[1].name.removeprefix("models--").replace("--", "/", 1))
        if pin and pin.revision == snapshot.name:
            sums |= pin.files
        if sums:
            damaged = [file for file, sum_ in sums.items() if not cache.has_sha256(snapshot / file, sum_)]
            yield cache.VerifiedModel(snapshot, len(sums), damaged)
