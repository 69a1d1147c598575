"""The check for wrong headers finds missing speech and present speech."""

import random
from pathlib import Path

import numpy as np
import pytest

from benchmarks.lying_headers import Judge, changed, features, fields, missing, voice
from tests.speech.audio.test_lying_headers import data, riff, wave_format

SOUND = voice(4).astype(np.float32) / 32768


@pytest.mark.parametrize(
    "got",
    [
        np.zeros(64_000, np.float32),
        SOUND[:40_000],
        SOUND[::2],
        SOUND[::-1],
        np.concatenate([SOUND[:16_000], SOUND[48_000:]]),
        np.random.default_rng(0).uniform(-1, 1, 64_000).astype(np.float32),
    ],
)
def test_missing_speech_is_found(got: np.ndarray) -> None:
    assert missing(features(SOUND), features(got))


@pytest.mark.parametrize(
    "got",
    [
        SOUND,
        SOUND * 0.1,
        np.concatenate([np.zeros(8000, np.float32), SOUND]),
        np.concatenate([SOUND[32_000:], SOUND[:32_000]]),
        np.interp(np.arange(0, 63_000, 1.01), np.arange(64_000), SOUND).astype(np.float32),
    ],
)
def test_present_speech_is_found(got: np.ndarray) -> None:
    assert missing(features(SOUND), features(got)) == []


def test_loss_without_a_flag_is_reported(tmp_path: Path) -> None:
    whole, half = (riff(wave_format(), data(voice(seconds))) for seconds in (4, 2))
    judge = Judge(tmp_path, [("wav", whole)])
    judge.check(0, whole)
    with pytest.raises(AssertionError, match="lost silently"):
        judge.check(0, half)


def test_exactly_one_field_is_changed() -> None:
    content = riff(wave_format(), data(voice(1)))
    assert len(fields(content)) > 8
    for seed in range(50):
        other = changed(random.Random(seed), content, "wav")
        different = [at for at in range(len(content)) if content[at] != other[at]]
        assert len(other) == len(content)
        assert 1 <= len(different) <= 8
        assert different[-1] - different[0] < 8
