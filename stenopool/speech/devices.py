"""Choose a model's device and compute type, and translate its exceptions to faults of the device or the recording."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stenopool.errors import (
    DeviceUnavailable,
    ErrorCode,
    OptionsInvalid,
    OutOfMemory,
    RecordingError,
    StenopoolError,
    TransientError,
)
from stenopool.options import EngineName, MachineOptions


def require_device(execution: MachineOptions) -> bool:
    """Whether models run on CUDA here. Raises `SetupError` DEVICE_UNAVAILABLE if it was requested and cannot be used.

    Uses CTranslate2, which is always installed; torch takes seconds to import.
    """
    import ctranslate2

    return _use_cuda(execution, ctranslate2.get_cuda_device_count() > 0, "no usable GPU was found")


def torch_device(execution: MachineOptions) -> Any:
    """The `torch.device` for these options. Raises `SetupError` DEVICE_UNAVAILABLE."""
    import torch

    cuda = _use_cuda(execution, torch.cuda.is_available(), f"PyTorch {torch.__version__} cannot use a GPU")
    return torch.device("cuda" if cuda else "cpu")


def _use_cuda(execution: MachineOptions, usable: bool, why_not: str) -> bool:
    if execution.device == "cuda" and not usable:
        raise DeviceUnavailable(f"CUDA was requested, but {why_not}.")
    return usable and execution.device != "cpu"


def choose_placement(execution: MachineOptions, *, engine: EngineName = "faster-whisper") -> tuple[str, str]:
    """Return the device (cpu or cuda) and compute type for an engine: as requested, or the best on this machine.

    Raises `SetupError` DEVICE_UNAVAILABLE, or OPTIONS_INVALID if the engine lacks the compute type on this device.
    """
    import ctranslate2

    device = "cuda" if require_device(execution) else "cpu"
    if engine == "whisper":
        supported = {"float16", "float32"} if device == "cuda" else {"float32"}
    else:
        supported = set(ctranslate2.get_supported_compute_types(device))
    if execution.compute_type == "auto":
        preferred = ("float16", "float32") if device == "cuda" else ("int8", "float32")
        return device, next(kind for kind in preferred if kind in supported)
    if execution.compute_type not in supported:
        raise OptionsInvalid(
            f"engine={engine} does not support compute_type={execution.compute_type} on {device}.",
            remedy=f"Use auto or one of {', '.join(sorted(supported))}.",
        )
    return device, execution.compute_type


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device ran out of memory. CTranslate2 and torch raise plain RuntimeErrors for that."""
    return isinstance(error, MemoryError) or "out of memory" in str(error).lower()


@contextmanager
def translate_faults(what: str, code: ErrorCode) -> Iterator[None]:
    """Translate a model's exceptions inside the block to Stenopool's errors. ``what``: the operation, for messages.

    Faults of the device can be retried: OUT_OF_MEMORY, DEVICE_LOST. Any other exception becomes a `RecordingError` with
    ``code``.
    """
    try:
        yield
    except StenopoolError:
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        if is_out_of_memory(error):
            raise OutOfMemory(f"{what}: out of memory on this device: {text}.") from error
        if "cuda error" in text.lower() or "cudnn" in text.lower():
            raise TransientError(ErrorCode.DEVICE_LOST, f"{what}: the GPU failed: {text}.") from error
        raise RecordingError(code, f"{what}: {text}.") from error
