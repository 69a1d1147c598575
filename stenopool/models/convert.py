"""Converts a CTranslate2 Whisper model to a checkpoint for openai-whisper: the same tensors with other names.

CTranslate2's binary layout: ``ModelSpec.save`` in https://github.com/OpenNMT/CTranslate2 (python/ctranslate2/specs).
The names: its converter for transformers' Whisper, and ``whisper/model.py`` of https://github.com/openai/whisper.
"""

import mmap
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stenopool.errors import ErrorCode, ModelMissing, SetupError
from stenopool.models import cache

_DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
_HEAD_SIZE = 64  # the same in all Whisper models, like 1,500 frames of audio and 448 tokens of text

# openai-whisper's tensor names, and CTranslate2's.
_TENSORS = {
    "encoder.positional_embedding": "encoder/position_encodings/encodings",
    "encoder.conv1.weight": "encoder/conv1/weight",
    "encoder.conv1.bias": "encoder/conv1/bias",
    "encoder.conv2.weight": "encoder/conv2/weight",
    "encoder.conv2.bias": "encoder/conv2/bias",
    "encoder.ln_post.weight": "encoder/layer_norm/gamma",
    "encoder.ln_post.bias": "encoder/layer_norm/beta",
    "decoder.positional_embedding": "decoder/position_encodings/encodings",
    "decoder.token_embedding.weight": "decoder/embeddings/weight",
    "decoder.ln.weight": "decoder/layer_norm/gamma",
    "decoder.ln.bias": "decoder/layer_norm/beta",
}
# In each block: CTranslate2's layer, and openai-whisper's module or the modules that the layer combines.
_MODULES = {
    "self_attention/linear_0": ("attn.query", "attn.key", "attn.value"),
    "self_attention/linear_1": ("attn.out",),
    "self_attention/layer_norm": ("attn_ln",),
    "attention/linear_0": ("cross_attn.query",),
    "attention/linear_1": ("cross_attn.key", "cross_attn.value"),
    "attention/linear_2": ("cross_attn.out",),
    "attention/layer_norm": ("cross_attn_ln",),
    "ffn/linear_0": ("mlp.0",),
    "ffn/linear_1": ("mlp.2",),
    "ffn/layer_norm": ("mlp_ln",),
}


def checkpoint_of(folder: Path) -> Path:
    """The ``.pt`` file for a folder: the one in it, or its ``model.bin`` converted once into the cache.

    Raises `ModelMissing` if the folder contains neither, or quantized weights.
    """
    if checkpoint := next(iter(sorted(folder.glob("*.pt"))), None):
        return checkpoint
    weights = folder / "model.bin"
    if not weights.is_file():
        raise ModelMissing(f"{folder} contains neither a .pt checkpoint nor a model.bin.")
    converted = cache.root() / "converted" / f"{folder.name}-{cache.digest(weights)[:12]}"
    if not converted.is_dir():
        import torch

        with cache.building(converted) as temporary:
            dims, tensors = convert(weights)
            state = {name: torch.from_numpy(array.copy()) for name, array in tensors.items()}
            torch.save({"dims": dims, "model_state_dict": state}, temporary / "model.pt")
    return converted / "model.pt"


def convert(weights: Path) -> tuple[dict[str, int], dict[str, NDArray[Any]]]:
    """Dimensions and state dict of openai-whisper for a CTranslate2 ``model.bin`` in float16 or float32."""
    given = _read(weights)
    if any(name.endswith("weight_scale") for name in given):
        raise ModelMissing(
            f"{weights} is quantized, which openai-whisper cannot run.",
            remedy="Use it with engine faster-whisper or whisperx, or use a float16 model.",
        )
    state = {name: given[source] for name, source in _TENSORS.items()}
    layers = {"encoder": 0, "decoder": 0}
    for name, array in given.items():
        if found := re.fullmatch(r"(encoder|decoder)/layer_(\d+)/(.+)/(weight|bias|gamma|beta)", name):
            side, index, layer, quantity = found.groups()
            quantity = {"gamma": "weight", "beta": "bias"}.get(quantity, quantity)
            layers[side] = max(layers[side], int(index) + 1)
            modules = _MODULES[layer]
            for module, part in zip(modules, np.split(array, len(modules)), strict=True):
                # CTranslate2 stores a zero bias for the key, which Whisper does not have.
                if not (module.endswith(".key") and quantity == "bias"):
                    state[f"{side}.blocks.{index}.{module}.{quantity}"] = part
    width, mels, _ = given["encoder/conv1/weight"].shape
    dims = {
        "n_mels": mels,
        "n_audio_ctx": 1500,
        "n_audio_state": width,
        "n_audio_head": width // _HEAD_SIZE,
        "n_audio_layer": layers["encoder"],
        "n_vocab": given["decoder/embeddings/weight"].shape[0],
        "n_text_ctx": 448,
        "n_text_state": width,
        "n_text_head": width // _HEAD_SIZE,
        "n_text_layer": layers["decoder"],
    }
    return dims, state


def _read(weights: Path) -> dict[str, NDArray[Any]]:
    """The variables of a ``model.bin`` by name, as views of the mapped file."""
    with weights.open("rb") as stream:
        data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    position = 0

    def take(form: str) -> tuple[Any, ...]:
        nonlocal position
        values = struct.unpack_from(f"<{form}", data, position)
        position += struct.calcsize(f"<{form}")
        return values

    def text() -> str:
        return bytes(take(f"{take('H')[0]}s")[0]).rstrip(b"\0").decode()

    variables: dict[str, NDArray[Any]] = {}
    try:
        take("I"), text(), take("I")  # version of the format, name and revision of the specification
        for _ in range(take("I")[0]):
            name = text()
            shape = take(f"{take('B')[0]}I")
            code, size = take("BI")
            dtype = np.dtype(_DTYPES[code])
            variables[name] = np.frombuffer(data, dtype, size // dtype.itemsize, position).reshape(shape)
            position += size
        for _ in range(take("I")[0]):
            alias, name = text(), text()
            variables[alias] = variables[name]
    except (struct.error, ValueError, KeyError, UnicodeDecodeError) as error:
        raise SetupError(ErrorCode.MODEL_CORRUPT, f"{weights} is not a complete CTranslate2 model: {error}.") from error
    return variables
