"""Capabilities of Whisper weights on this machine: of public models by digest, of others by vocabulary."""

import json
import pickletools
import zipfile
from pathlib import Path

from stenopool.languages import language_names
from stenopool.models import hub, pins
from stenopool.whisper_models import ENGLISH, ModelFacts, facts_of, facts_of_languages

# Models with fewer tokens are English-only (openai-whisper's `is_multilingual`); each further token is a language.
_MULTILINGUAL_TOKENS = 51_865
_TOKENS_WITHOUT_LANGUAGES = _MULTILINGUAL_TOKENS - 99


def find_facts(path: Path, digest: str) -> ModelFacts | None:
    """A model's capabilities, independent of its location and name; None if its files do not show them.

    ``path``: a CTranslate2 folder or a ``.pt`` checkpoint. ``digest``: SHA-256 (hex) of its weights.
    """
    if public := pins.find_repository(digest) or hub.find_checkpoint(digest):
        return facts_of(public)
    try:
        return _facts_of_checkpoint(path) if path.is_file() else _facts_of_folder(path)
    except (OSError, ValueError, TypeError, StopIteration, zipfile.BadZipFile):
        return None  # loading it will report the error


def _facts_of_folder(folder: Path) -> ModelFacts | None:
    """Derive the facts from the tokens of its vocabulary."""
    if (file := folder / "vocabulary.json").is_file():
        tokens = [str(token) for token in json.loads(file.read_text(encoding="utf-8"))]
    else:
        tokens = (folder / "vocabulary.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    special = {token[2:-2] for token in tokens if token.startswith("<|") and token.endswith("|>")}
    if "startoftranscript" not in special:
        return None
    return facts_of_languages(special) if len(tokens) >= _MULTILINGUAL_TOKENS else ModelFacts(ENGLISH, False)


def _facts_of_checkpoint(file: Path) -> ModelFacts | None:
    """Derive the facts from the vocabulary's size in the pickle, without executing the pickle or reading weights."""
    with zipfile.ZipFile(file) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        steps = [(step.name, argument) for step, argument, _ in pickletools.genops(archive.read(name))]
    after = steps[[argument for _, argument in steps].index("n_vocab") :]
    size = next(int(argument) for step, argument in after if step.startswith("BININT") and argument)
    if size < _MULTILINGUAL_TOKENS:
        return ModelFacts(ENGLISH, False)
    return facts_of_languages([*language_names()][: size - _TOKENS_WITHOUT_LANGUAGES])
