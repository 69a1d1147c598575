"""Speech engines: one file each, behind the protocol in `stenopool.speech.engines.base`."""

from importlib import import_module
from typing import NamedTuple, cast

from stenopool import extras, models
from stenopool.models.kinds import ModelKind
from stenopool.options import EngineName, MachineOptions, TranscriptionOptions
from stenopool.speech.devices import choose_placement
from stenopool.speech.engines.base import Engine

__all__ = ["check", "create"]


class _Adapter(NamedTuple):
    """An engine's module and class, the package it needs, its extra, and its kind of weights."""

    module: str
    name: str
    package: str
    extra: str
    kind: ModelKind


_ADAPTERS: dict[EngineName, _Adapter] = {
    "faster-whisper": _Adapter("faster_whisper", "FasterWhisperEngine", "faster_whisper", "", "ctranslate2"),
    "whisper": _Adapter("whisper", "WhisperEngine", "whisper", "whisper", "openai"),
    "whisperx": _Adapter("whisperx", "WhisperXEngine", "whisperx", "whisperx", "ctranslate2"),
}


def create(options: TranscriptionOptions, execution: MachineOptions) -> Engine:
    """The engine that the options name, not loaded yet.

    Raises `SetupError` EXTRA_MISSING, DEVICE_UNAVAILABLE or OPTIONS_INVALID (compute type).
    """
    adapter = _ADAPTERS[options.engine]
    extras.require(f"engine={options.engine}", adapter.package, extra=adapter.extra)
    engine = getattr(import_module(f"stenopool.speech.engines.{adapter.module}"), adapter.name)
    return cast(Engine, engine(options.model, execution))


def check(options: TranscriptionOptions, execution: MachineOptions) -> None:
    """Check, before audio is read and without loading a model, whether this machine can honour the options.

    Downloads missing weights. Raises `SetupError` EXTRA_MISSING, DEVICE_UNAVAILABLE,
    OPTIONS_INVALID, MODEL_MISSING, MODEL_GATED or MODEL_CORRUPT.
    """
    adapter = _ADAPTERS[options.engine]
    extras.require(f"engine={options.engine}", adapter.package, extra=adapter.extra)
    choose_placement(execution, engine=options.engine)
    models.find(options.model, adapter.kind)
    if options.word_timestamps == "alignment":
        extras.require("word_timestamps=alignment", "whisperx", extra="whisperx")
        language = "en" if options.model.endswith(".en") else options.language
        # A language that is detected later may have no model: then words keep attention times, and a flag says so.
        if language not in ("auto", "per-segment"):
            models.find(language, "wav2vec2")
