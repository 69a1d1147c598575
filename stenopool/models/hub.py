"""Downloads weights from the public hubs, with short timeouts, into their caches (HF_HOME; Stenopool's for
openai-whisper).

Only pinned models are downloaded (`stenopool.models.pins`): a commit is requested, and the SHA-256 of every file is
checked. Cached files that match the pin are used without the network.
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
_TIMEOUT = 5.0  # seconds: a blocked network must be reported at once, not after minutes
_FILES: dict[ModelKind, list[str]] = {
    "ctranslate2": ["config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*"],
    "wav2vec2": ["*.json", "*.txt", "model.safetensors", "pytorch_model.bin"],
    "pyannote": ["*"],
}
_NOT_WEIGHTS = (".*", "*/.*", "*.md", "*.gif", "*.png")


@functools.cache
def published() -> dict[Any, dict[str, str]]:
    """Locations of public models by kind and name: faster-whisper's own table, and ``published.toml``."""
    from faster_whisper.utils import _MODELS

    return {"ctranslate2": _MODELS, **_tables()}


@functools.cache
def _tables() -> dict[str, dict[str, str]]:
    return tomllib.loads(Path(__file__).with_name("published.toml").read_text())


def is_published(name: str, kind: ModelKind) -> bool:
    """Whether a public model with this name and kind exists, even if it cannot be downloaded here."""
    return name in (_tables() if kind in _tables() else published()).get(kind, {})


def find_checkpoint(digest: str) -> str | None:
    """The name of the OpenAI checkpoint with this SHA-256 (hex)."""
    return next((name for name, address in _tables()["openai"].items() if address.startswith(f"{digest}/")), None)


class HubSource:
    """Hugging Face for ctranslate2, wav2vec2 and pyannote; OpenAI's server for openai."""

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
            logger.warning("%s does not match its pin and is not used: %s.", local, ", ".join(differing))
        return _download(name, kind, repository)


def _find_local(name: str, kind: ModelKind) -> Path | None:
    if kind == "openai":
        return _find_openai(name)
    repository = _find_repository(name, kind)
    return _find_snapshot(repository, kind) if repository else None


def _find_repository(name: str, kind: ModelKind) -> str | None:
    """The repository on Hugging Face; a name of the form owner/name is used directly."""
    return name if re.fullmatch(r"[\w.-]+/[\w.-]+", name) else published().get(kind, {}).get(name)


def is_pinned(name: str, kind: ModelKind) -> bool:
    """Whether this model may be downloaded from the hub. OpenAI's addresses contain checksums."""
    repository = _find_repository(name, kind)
    return kind == "openai" or (repository is not None and find_pin(repository) is not None)


def _find_snapshot(repository: str, kind: ModelKind) -> Path | None:
    """The repository in Hugging Face's cache, if it is present and complete."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    pin = find_pin(repository)
    # The pinned commit, or the last one that other programs downloaded, whose weights may be the same.
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
    """Download a repository's pinned files. Raises `SetupError` MODEL_MISSING, MODEL_GATED or MODEL_CORRUPT."""
    with _asking_hub(name, kind, repository):
        pin = find_pin(repository)
        if pin is None:
            raise ModelMissing(
                f"Model {name} ({kind}) is not pinned, so the content from the hub cannot be verified.",
                remedy=f"Run `stenopool models pin {name} --kind {kind}`: it downloads the current model and pins it "
                "on this machine. On other machines, set STENOPOOL_MODELS__PINS to the same file.",
            )
        folder = _fetch(repository, pin.revision, pin.files)
    if absent := [file for file in pin.files if not (folder / file).is_file()]:
        raise _missing(name, kind, _page(repository), f"the hub did not provide {', '.join(absent)}")
    if differing := pin.find_differences(folder):
        for file in differing:  # otherwise they would be found again
            (folder / file).resolve().unlink(missing_ok=True)
            (folder / file).unlink(missing_ok=True)
        raise SetupError(
            ErrorCode.MODEL_CORRUPT,
            f"The download of {repository} at {pin.revision} does not match its pin: {', '.join(differing)}.",
            remedy="Try again. If this persists, the content on the hub has been changed: use a copy that you trust.",
        )
    return _require_complete(name, kind, repository, folder)


def pin_model(name: str, kind: ModelKind) -> tuple[Path, str]:
    """Download the current version of a model and pin it; returns its folder and the pin's text.

    Raises `SetupError` MODEL_MISSING or MODEL_GATED; OPTIONS_INVALID for kind openai, whose addresses contain
    checksums.
    """
    repository = _find_repository(name, kind)
    if kind == "openai" or repository is None:
        raise OptionsInvalid(
            f"{name} ({kind}) is not a model on Hugging Face.",
            remedy="`stenopool models list` shows the names. OpenAI's checkpoints are always pinned.",
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
    """Select the files that the kind needs; safetensors instead of a pickle if available."""
    chosen = [
        file
        for file in files
        if any(fnmatchcase(file, pattern) for pattern in _FILES[kind])
        and not any(fnmatchcase(file, pattern) for pattern in _NOT_WEIGHTS)
        and ("/" not in file or kind == "pyannote")  # pipelines consist of several models
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
    """Translate the hub's errors; raise `ModelMissing` if the network must not be used."""
    page = _page(repository)
    if is_offline():
        raise _missing(name, kind, page, "HF_HUB_OFFLINE is set")
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        yield
    except GatedRepoError as error:
        raise SetupError(
            ErrorCode.MODEL_GATED,
            f"{repository} is available only after accepting its terms.",
            remedy=f"Accept them at {page} and set HF_TOKEN, or use a local folder.",
        ) from error
    except RepositoryNotFoundError as error:
        raise _missing(name, kind, page, "the repository does not exist or HF_TOKEN does not allow access") from error
    except RevisionNotFoundError as error:
        raise _missing(name, kind, page, "the pinned commit no longer exists on the hub") from error
    except (HfHubHTTPError, OSError) as error:
        raise _missing(name, kind, page, "the hub cannot be reached") from error


def _missing(name: str, kind: ModelKind, page: str, why: str) -> SetupError:
    return ModelMissing(
        f"Model {name} ({kind}) is not on this machine, and {why}.",
        remedy=f"On a machine with network access, run `stenopool models mirror {name}` to a folder or bucket, and set "
        f"STENOPOOL_MODELS__MIRROR here. Or download {page} into STENOPOOL_MODELS__PATH/{name}.",
    )


def _find_openai(name: str) -> Path | None:
    """A checkpoint downloaded by Stenopool, or by openai-whisper if it matches the table."""
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
    """Download from the address in openai-whisper's table, which contains the file's SHA-256.

    Not with ``whisper._download``, which has no timeout and leaves an incomplete file at the final path.
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
            raise SetupError(
                ErrorCode.MODEL_CORRUPT, f"The content of {address} does not match its checksum.", remedy="Try again."
            )
    return target


def verify() -> Iterator[cache.VerifiedModel]:
    """Verify each model in Hugging Face's cache: pinned files, and large files, whose names are their SHA-256."""
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
