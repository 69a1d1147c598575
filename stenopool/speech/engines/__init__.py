"""Speech engines: one file each, with the base class `Engine` in `stenopool.speech.engines.base`."""

from importlib import import_module
from typing import cast

from stenopool import extras, models
from stenopool.models.suitability import aligned_languages, check_model, check_options
from stenopool.options import EngineName, MachineOptions, TranscriptionOptions
from stenopool.speech.devices import choose_placement
from stenopool.speech.engines.base import Engine

__all__ = ["check", "create"]

# Each class is in a module named after the package that it needs.
_CLASSES: dict[EngineName, str] = {
    "faster-whisper": "FasterWhisperEngine",
    "whisper": "WhisperEngine",
    "whisperx": "WhisperXEngine",
}


def create(name: EngineName, model: str, execution: MachineOptions) -> Engine:
    """Create the engine of this name, without loading it.

    Raises `SetupError` EXTRA_MISSING, DEVICE_UNAVAILABLE or OPTIONS_INVALID (compute type).
    """
    return _class(name)(model, execution)


def check(options: TranscriptionOptions, execution: MachineOptions) -> None:
    """Check, before audio is read and without loading a model, whether this machine supports the options.

    Downloads missing weights. Raises `SetupError` EXTRA_MISSING, DEVICE_UNAVAILABLE,
    OPTIONS_INVALID, MODEL_MISSING, MODEL_GATED or MODEL_CORRUPT.
    """
    check_options(options)
    engine = _class(options.engine)
    choose_placement(execution, engine=options.engine)
    check_model(options, models.find(options.model, engine.kind).facts)
    if options.word_timestamps == "alignment":
        extras.require("word_timestamps=alignment", "whisperx", extra="whisperx")
        # A language that is detected later may have no model. Words then keep attention times, and a flag is set.
        if len(languages := aligned_languages(options)) == 1:
            models.find(languages[0], "wav2vec2")


def _class(name: EngineName) -> type[Engine]:
    """Raises `SetupError` EXTRA_MISSING."""
    package = name.replace("-", "_")
    extras.require(f"engine={name}", package, extra="" if name == "faster-whisper" else name)
    return cast(type[Engine], getattr(import_module(f"stenopool.speech.engines.{package}"), _CLASSES[name]))
