"""Classification of exceptions: errors of the recording, and errors of the device."""

from pathlib import Path

import pytest
import soundfile

from stenopool.errors import (
    AccessDenied,
    DeviceUnavailable,
    ErrorCode,
    OutOfMemory,
    RecordingError,
    SetupError,
    SourceChanged,
    StenopoolError,
    TransientError,
)
from stenopool.speech.audio.waveform import Waveform
from stenopool.speech.engines.base import Utterance, to_failure

UTTERANCE = Utterance("meeting.flac", Waveform(Path("meeting.flac")))


def test_unreadable_audio_is_a_recording_error(tmp_path: Path) -> None:
    (tmp_path / "a.flac").write_bytes(b"fLaC")
    with pytest.raises(soundfile.LibsndfileError) as raised:
        Waveform(tmp_path / "a.flac").read()
    failure = to_failure(raised.value, UTTERANCE)
    assert (failure.code, failure.stage) == (ErrorCode.INPUT_CORRUPT, "transcribe")
    assert "meeting.flac" in failure.message


def test_our_own_errors_keep_their_code() -> None:
    error = RecordingError(ErrorCode.TOO_LONG, "It lasts a year.")
    assert to_failure(error, UTTERANCE).code is ErrorCode.TOO_LONG


@pytest.mark.parametrize(
    "error",
    [
        OutOfMemory("No memory for one window."),
        SourceChanged("It was replaced."),
        TransientError(ErrorCode.STORAGE_UNAVAILABLE, "The store does not respond."),
        AccessDenied("The key was revoked."),
        DeviceUnavailable("No GPU."),
        SetupError(ErrorCode.MODEL_CORRUPT, "The weights are cut off."),
    ],
    ids=lambda error: str(error.code),
)
def test_an_error_that_is_not_the_recordings_is_raised_unchanged(error: StenopoolError) -> None:
    with pytest.raises(type(error)) as raised:
        to_failure(error, UTTERANCE)
    assert raised.value is error


def test_any_other_error_is_an_engine_failure() -> None:
    failure = to_failure(ValueError("no such token"), UTTERANCE)
    assert failure.code is ErrorCode.ENGINE_FAILED
    assert "no such token" in failure.message


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("CUDA failed with error out of memory"), ErrorCode.OUT_OF_MEMORY),
        (MemoryError(), ErrorCode.OUT_OF_MEMORY),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), ErrorCode.DEVICE_LOST),
        (RuntimeError("cuDNN failed with status CUDNN_STATUS_EXECUTION_FAILED"), ErrorCode.DEVICE_LOST),
    ],
)
def test_device_errors_are_raised_for_a_retry(error: Exception, code: ErrorCode) -> None:
    with pytest.raises(TransientError) as raised:
        to_failure(error, UTTERANCE)
    assert raised.value.code is code
    assert raised.value.code.retryable
