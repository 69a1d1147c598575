"""A Whisper model of any size with random weights, for speed tests: as slow as a trained one, always the same text.

    uv run python -m benchmarks.random_model ./large-v3-random [--shape large-v3] [--tokens 25]
    uv run python -m benchmarks.compare ../shared/speech --kinds en_short --device cuda --model ./large-v3-random

Weights are random, but decoding ends after ``--tokens`` tokens, like about seven seconds of speech, with a high
probability and without repetition. So no system decodes again or up to the maximum length. The table of positions
controls this: at each position, it points to the next token, with values so large that the layers do not change it.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stenopool import models

# Row length of the table of positions, much larger than what the layers add; and the score (before softmax) of the
# token that it points to. The others have about 0: together they weigh e to the 11th.
_POINTING = 100.0
_SCORE = 16.0
_SMALL, _USUAL = 0.001, 0.02  # deviations of weights: of those added to the stream, and of the rest
_AUDIO_POSITIONS, _TEXT_POSITIONS = 1500, 448
_PROMPT = 3  # tokens before the text starts: start, language, task
_TIMING_HEADS = 10
_TIMES = 1501  # tokens for 0.00 to 30.00 seconds
_COMMON = 2000  # words for the text; the most common ones come first in a tokenizer


class Shape(NamedTuple):
    """Sizes as in openai-whisper's ``ModelDimensions``."""

    encoder_layers: int
    decoder_layers: int
    width: int
    heads: int
    mels: int


SHAPES = {
    "tiny": Shape(4, 4, 384, 6, 80),
    "base": Shape(6, 6, 512, 8, 80),
    "large-v3": Shape(32, 32, 1280, 20, 128),
    "large-v3-turbo": Shape(32, 4, 1280, 20, 128),
}


def write(folder: Path, shape: Shape, tokens: int, seed: int = 1) -> None:
    """Write a CTranslate2 folder with float16 weights. Uses the tokenizer of Whisper base, which must be available."""
    from ctranslate2.specs import WhisperSpec

    base = models.find("base", "ctranslate2").path
    vocabulary = _vocabulary(base)
    folder.mkdir(parents=True, exist_ok=True)
    spec = WhisperSpec(shape.encoder_layers, shape.heads, shape.decoder_layers, shape.heads)
    random = np.random.default_rng(seed)
    _encoder(spec.encoder, shape, random)
    _decoder(spec.decoder, shape, _script(vocabulary, tokens, random), len(vocabulary), random)
    given = json.loads((base / "config.json").read_text(encoding="utf-8"))
    for name in ("suppress_ids", "suppress_ids_begin", "lang_ids"):
        setattr(spec.config, name, given[name])
    later = shape.decoder_layers // 2
    spec.config.alignment_heads = [(later + n % later, n % shape.heads) for n in range(_TIMING_HEADS)]
    spec.register_vocabulary(vocabulary)
    spec.validate()
    spec.optimize(quantization="float16")
    spec.save(str(folder))
    shutil.copy(base / "tokenizer.json", folder)
    features = {"feature_size": shape.mels, "sampling_rate": 16000, "hop_length": 160, "chunk_length": 30, "n_fft": 400}
    (folder / "preprocessor_config.json").write_text(json.dumps(features), encoding="utf-8")


def _vocabulary(base: Path) -> list[str]:
    tokenizer = json.loads((base / "tokenizer.json").read_text(encoding="utf-8"))
    numbers: dict[str, int] = tokenizer["model"]["vocab"]
    numbers |= {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    # Times follow, as in every Whisper; not every tokenizer.json names them.
    times = [f"<|{n * 0.02:.2f}|>" for n in range(_TIMES)]
    return [*sorted(numbers.keys() - set(times), key=numbers.__getitem__), *times]


def _script(vocabulary: list[str], tokens: int, random: np.random.Generator) -> list[int]:
    """The token after each position: the language, two unused tokens, different words, and the end."""
    words = [number for number, token in enumerate(vocabulary) if token.startswith("Ġ") and token[1:].isalpha()]
    end = vocabulary.index("<|endoftext|>")
    said = [int(word) for word in random.choice(words[:_COMMON], tokens, replace=False)]
    script = [vocabulary.index("<|en|>"), *said[: _PROMPT - 1], *said]
    return script + [end] * (_TEXT_POSITIONS - len(script))


def _encoder(spec: Any, shape: Shape, random: np.random.Generator) -> None:
    width = shape.width
    for conv, inputs in ((spec.conv1, shape.mels), (spec.conv2, width)):
        conv.weight = _normal(random, (width, inputs, 3), _USUAL)
        conv.bias = _zeros(width)
    spec.position_encodings.encodings = _normal(random, (_AUDIO_POSITIONS, width), _USUAL)
    _norm(spec.layer_norm, width)
    for layer in spec.layer:
        _attention(layer.self_attention, width, random)
        _feed_forward(layer.ffn, width, random)


def _decoder(spec: Any, shape: Shape, script: list[int], vocabulary: int, random: np.random.Generator) -> None:
    width = shape.width
    directions = random.standard_normal((vocabulary, width), np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    spec.embeddings.weight = spec.projection.weight = directions.astype(np.float16)
    spec.position_encodings.encodings = (_POINTING * directions[script]).astype(np.float16)
    _norm(spec.layer_norm, width, _SCORE / np.sqrt(width))
    for layer in spec.layer:
        _attention(layer.self_attention, width, random)
        _attention(layer.attention, width, random)
        _feed_forward(layer.ffn, width, random)


def _attention(spec: Any, width: int, random: np.random.Generator) -> None:
    """Self-attention computes queries, keys and values together; attention to the encoder computes keys and values
    separately.
    """
    _norm(spec.layer_norm, width)
    *asked, out = spec.linear
    for linear, times in zip(asked, (3,) if len(asked) == 1 else (1, 2), strict=True):
        _linear(linear, times * width, width, random, _USUAL)
    _linear(out, width, width, random, _SMALL)


def _feed_forward(spec: Any, width: int, random: np.random.Generator) -> None:
    _norm(spec.layer_norm, width)
    _linear(spec.linear_0, 4 * width, width, random, _USUAL)
    _linear(spec.linear_1, width, 4 * width, random, _SMALL)


def _linear(spec: Any, outputs: int, inputs: int, random: np.random.Generator, deviation: float) -> None:
    spec.weight = _normal(random, (outputs, inputs), deviation)
    spec.bias = _zeros(outputs)


def _norm(spec: Any, width: int, factor: float = 1.0) -> None:
    spec.gamma = np.full(width, factor, np.float16)
    spec.beta = _zeros(width)


def _normal(random: np.random.Generator, shape: tuple[int, ...], deviation: float) -> NDArray[np.float16]:
    values = random.standard_normal(shape, np.float32)
    values *= deviation
    return values.astype(np.float16)


def _zeros(count: int) -> NDArray[np.float16]:
    return np.zeros(count, np.float16)


def main() -> None:
    """Write the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default="large-v3")
    parser.add_argument("--tokens", type=int, default=25, help="Number of text tokens in each window.")
    arguments = parser.parse_args()
    write(arguments.folder, SHAPES[arguments.shape], arguments.tokens)
    print(f"A {arguments.shape} of random weights is in {arguments.folder}")


if __name__ == "__main__":
    main()
