"""The random model costs as much as a trained one: it outputs a fixed number of tokens, then ends."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.random_model import SHAPES, write
from stenopool import models

_TOKENS = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-random"
    write(folder, SHAPES["tiny"]._replace(mels=128), _TOKENS)
    return folder


@pytest.fixture(scope="module")
def whisper(folder: Path) -> Any:
    from faster_whisper import WhisperModel

    return WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1)


def test_it_has_the_requested_shape(whisper: Any) -> None:
    assert whisper.feature_extractor.mel_filters.shape[0] == whisper.model.n_mels == 128
    assert whisper.model.is_multilingual


def test_its_vocabulary_is_that_of_multilingual_whisper(folder: Path) -> None:
    vocabulary = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
    given = (models.find("base", "ctranslate2").path / "vocabulary.txt").read_text(encoding="utf-8")
    assert vocabulary == given.removesuffix("\n").split("\n")
    assert len(vocabulary) == 51865


def test_its_text_is_the_same_for_any_audio(whisper: Any) -> None:
    from faster_whisper.tokenizer import Tokenizer

    tokenizer = Tokenizer(whisper.hf_tokenizer, True, task="transcribe", language="en")
    heard = np.random.default_rng(2).standard_normal((3, 128, 3000), np.float32)
    encoded = whisper.encode(heard)
    languages = whisper.model.detect_language(encoded)
    assert {each[0][0] for each in languages} == {"<|en|>"}
    prompt = whisper.get_prompt(tokenizer, previous_tokens=[], without_timestamps=True)
    answers = whisper.model.generate(encoded, [prompt] * 3, beam_size=5, return_scores=True, return_no_speech_prob=True)
    texts = {tokenizer.decode(answer.sequences_ids[0]) for answer in answers}
    assert len(texts) == 1
    assert [len(answer.sequences_ids[0]) for answer in answers] == [_TOKENS] * 3
    assert len(set(answers[0].sequences_ids[0])) == _TOKENS
    # Nothing in the result is a reason to decode again.
    assert min(answer.scores[0] for answer in answers) > -0.5
    assert max(answer.no_speech_prob for answer in answers) < 0.1
