"""What the diarizers share: packages and device looked for, and failures as our own errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from stenopool.errors import (
    DeviceUnavailable,
    ErrorCode,
    OutOfMemory,
    RecordingError,
    SetupError,
    StenopoolError,
    TransientError,
)
from stenopool.options import ExecutionOptions


def require(*packages: str) -> None:
    """Raises `SetupError` EXTRA_MISSING if one of the packages is not installed. Imports none of them."""
    # Names without a dot only: for a dotted one find_spec imports the parent.
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise SetupError(
            ErrorCode.EXTRA_MISSING,
            f"The diarizer needs {', '.join(missing)}, which the extra `diarization` brings.",
            remedy="Run `uv sync --extra diarization` (or `pip install 'stenopool[diarization]'`), "
            "or use --diarization off.",
        )


def require_device(execution: ExecutionOptions) -> None:
    """Raises `SetupError` DEVICE_UNAVAILABLE if CUDA is asked for and there is no GPU. Without torch: it is cheap."""
    import ctranslate2

    if execution.device == "cuda" and ctranslate2.get_cuda_device_count() == 0:
        raise DeviceUnavailable("CUDA was asked for, and no usable GPU is found.")


def torch_device(execution: ExecutionOptions) -> Any:
    """The `torch.device` that the options ask for. Raises `SetupError` DEVICE_UNAVAILABLE."""
    import torch

    usable = torch.cuda.is_available()
    if execution.device == "cuda" and not usable:
        raise DeviceUnavailable("CUDA was asked for, and torch finds no usable CUDA device.")
    return torch.device("cpu" if execution.device == "cpu" or not usable else "cuda")


@contextmanager
def failures(diarizer: str) -> Iterator[None]:
    """Errors of the models as ours: what is the device's is worth another try, anything else is this recording's."""
    try:
        yield
    except StenopoolError:
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        if isinstance(error, MemoryError) or "out of memory" in text.lower():
            raise OutOfMemory(f"{diarizer} ran out of memory: {error}") from error
        if "cuda error" in text.lower() or "cudnn" in text.lower():
            raise TransientError(ErrorCode.DEVICE_LOST, f"The GPU failed in {diarizer}: {error}") from error
        raise RecordingError(ErrorCode.DIARIZER_FAILED, f"{diarizer}: {text}") from error
