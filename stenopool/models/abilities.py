"""What Whisper weights on this machine can do: a public model is known by its digest, others by their vocabulary."""

import json
import pickletools
import zipfile
from pathlib import Path

from stenopool.languages import language_names
from stenopool.models import hub, pins
from stenopool.whisper_models import ENGLISH, ModelFacts, facts_of, facts_of_languages

# Models with fewer tokens are English only (openai-whisper's `is_multilingual`); one more token is one more language.
_MULTILINGUAL_TOKENS = 51_865
_TOKENS_WITHOUT_LANGUAGES = _MULTILINGUAL_TOKENS - 99


def find_facts(path: Path, digest: str) -> ModelFacts | None:
    """What a model can do, wherever it lies and whatever it is called; None where its files do not say.

    ``path``: a CTranslate2 folder or a ``.pt`` checkpoint. ``digest``: SHA-256 (hex) of its weights.
    """
    if public := pins.find_repository(digest) or hub.find_checkpoint(digest):
        return facts_of(public)
    try:
        return _facts_of_checkpoint(path) if path.is_file() else _facts_of_folder(path)
    except (OSError, ValueError, TypeError, StopIteration, zipfile.BadZipFile):
        return None  # loading it says what is wrong with it


def _facts_of_folder(folder: Path) -> ModelFacts | None:
    """By the tokens of its vocabulary."""
    if (file := folder / "vocabulary.json").is_file():
        tokens = [str(token) for token in json.loads(file.read_text(encoding="utf-8"))]
    else:
        tokens = (folder / "vocabulary.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    special = {token[2:-2] for token in tokens if token.startswith("<|") and token.endswith("|>")}
    if "startoftranscript" not in special:
        return None
    return facts_of_languages(special) if len(tokens) >= _MULTILINGUAL_TOKENS else ModelFacts(ENGLISH, False)


def _facts_of_checkpoint(file: Path) -> ModelFacts | None:
    """By the size of its vocabulary, which its pickle says. Nothing of the pickle is run, and no weights are read."""
    with zipfile.ZipFile(file) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        steps = [(step.name, argument) for step, argument, _ in pickletools.genops(archive.read(name))]
    after = steps[[argument for _, argument in steps].index("n_vocab") :]
    size = next(int(argument) for step, argument in after if step.startswith("BININT") and argument)
    if size < _MULTILINGUAL_TOKENS:
        return ModelFacts(ENGLISH, False)
    return facts_of_languages([*language_names()][: size - _TOKENS_WITHOUT_LANGUAGES])
