"""Where a model runs and in which number format: as asked, or the best that this machine has."""

from stenopool.errors import DeviceUnavailable, ErrorCode, SetupError
from stenopool.options import ExecutionOptions


def placement(execution: ExecutionOptions, *, engine: str = "faster-whisper") -> tuple[str, str]:
    """Device (cpu or cuda) and compute type for an engine.

    Raises `SetupError` DEVICE_UNAVAILABLE if cuda is asked for and there is none, OPTIONS_INVALID for a compute type
    that the engine does not have on this device. CTranslate2, always installed, is asked in place of torch, which
    takes seconds to import.
    """
    import ctranslate2

    cuda = ctranslate2.get_cuda_device_count() > 0
    if execution.device == "cuda" and not cuda:
        raise DeviceUnavailable("CUDA was asked for, and no usable GPU is found.")
    device = "cuda" if cuda and execution.device != "cpu" else "cpu"
    if engine == "whisper":
        supported = {"float16", "float32"} if device == "cuda" else {"float32"}
    else:
        supported = set(ctranslate2.get_supported_compute_types(device))
    if execution.compute_type == "auto":
        preferred = ("float16", "float32") if device == "cuda" else ("int8", "float32")
        return device, next(kind for kind in preferred if kind in supported)
    if execution.compute_type not in supported:
        raise SetupError(
            ErrorCode.OPTIONS_INVALID,
            f"engine={engine} cannot honour compute_type={execution.compute_type} on {device}.",
            remedy=f"Use auto or one of {', '.join(sorted(supported))}.",
        )
    return device, execution.compute_type
