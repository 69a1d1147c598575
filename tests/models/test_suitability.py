"""Options that no machine can honor are refused, even on machines without weights."""

from pathlib import Path
from typing import Any

import pytest

from stenopool.errors import ErrorCode, SetupError
from stenopool.models.suitability import check_options
from stenopool.options import STORED, TranscriptionOptions
from stenopool.settings import get_settings


def _refusal(**choices: Any) -> str:
    try:
        check_options(TranscriptionOptions.model_validate(choices, context=STORED))
    except SetupError as error:
        return str(error) if error.code is ErrorCode.OPTIONS_INVALID else repr(error)
    return ""


@pytest.mark.parametrize(
    ("choices", "named", "remedy"),
    [
        # Stored options from before these rules are refused here, when their work would start.
        ({"model": "turbo", "task": "translate"}, "model=turbo and task=translate", "large-v3"),
        ({"model": "distil-large-v3", "language": "de"}, "model=distil-large-v3 and language=de", "large-v3"),
        ({"model": "base", "language": "yue"}, "model=base and language=yue", "turbo"),
        (
            {"engine": "whisper", "model": "distil-large-v3"},
            "engine=whisper and model=distil-large-v3",
            "faster-whisper",
        ),
        ({"engine": "whisper", "model": "distil-small.en"}, "engine=whisper and model=distil-small.en", "whisperx"),
        ({"language": "th", "word_timestamps": "alignment"}, "language=th and word_timestamps=alignment", "attention"),
        (
            {"languages": ("th", "lo"), "word_timestamps": "alignment"},
            "languages=lo,th and word_timestamps",
            "attention",
        ),
        (
            {"model": "large-v3", "engine": "whisperx", "language": "yue", "word_timestamps": "alignment"},
            "language=yue and word_timestamps=alignment",
            "wav2vec2/yue",
        ),
    ],
)
def test_options_that_no_machine_can_honour_are_refused(choices: dict[str, Any], named: str, remedy: str) -> None:
    refusal = _refusal(**choices)
    assert named in refusal
    assert remedy in refusal


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"word_timestamps": "alignment"},
        {"language": "de", "word_timestamps": "alignment"},
        {"languages": ("de", "th"), "word_timestamps": "alignment"},  # a flag says which language it was
        {"model": "distil-large-v3", "word_timestamps": "alignment"},
        {"engine": "whisper", "model": "turbo"},
        {"engine": "whisper", "model": "./mine"},
        {"model": "somebody/else", "task": "translate"},
    ],
)
def test_options_that_some_machine_can_honour_are_accepted(choices: dict[str, Any]) -> None:
    assert _refusal(**choices) == ""


def test_your_own_models_are_considered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "wav2vec2" / "th"
    folder.mkdir(parents=True)
    for name in ("config.json", "vocab.json", "model.safetensors"):
        (folder / name).write_text("{}")
    checkpoint = tmp_path / "openai" / "distil-large-v3.pt"
    checkpoint.parent.mkdir()
    checkpoint.touch()
    monkeypatch.setenv("STENOPOOL_MODELS__PATH", str(tmp_path))
    get_settings.cache_clear()
    assert _refusal(language="th", word_timestamps="alignment") == ""
    assert _refusal(engine="whisper", model="distil-large-v3") == ""
    assert _refusal(language="lo", word_timestamps="alignment")


def test_a_model_may_be_on_a_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STENOPOOL_MODELS__MIRROR", "s3://models")
    get_settings.cache_clear()
    assert _refusal(language="th", word_timestamps="alignment") == ""
