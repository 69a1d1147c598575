"""The kinds of model, and what makes a folder of each kind complete."""

from pathlib import Path
from typing import Literal, get_args

ModelKind = Literal["ctranslate2", "openai", "wav2vec2", "pyannote"]
KINDS: tuple[ModelKind, ...] = get_args(ModelKind)

# Each line: one of these must be there. A download that was cut off leaves a folder without some of them.
_REQUIRED: dict[ModelKind, tuple[tuple[str, ...], ...]] = {
    "ctranslate2": (("config.json",), ("model.bin",), ("tokenizer.json",), ("vocabulary.*",)),
    "openai": (("*.pt", "model.bin"),),
    "wav2vec2": (("config.json",), ("vocab.json",), ("model.safetensors", "pytorch_model.bin")),
    "pyannote": (("config.yaml",),),
}


def is_complete(folder: Path, kind: ModelKind) -> bool:
    """Whether the folder holds a whole model of this kind."""
    return folder.is_dir() and all(
        any(any(folder.glob(pattern)) for pattern in alternatives) for alternatives in _REQUIRED[kind]
    )
