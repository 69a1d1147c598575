"""The models of this process: one engine and one diarizer, kept after loading."""

import threading
from functools import cache

from stenopool.options import DiarizerName, EngineName, MachineOptions, TranscriptionOptions
from stenopool.speech import diarizers, engines
from stenopool.speech.diarizers.base import Diarizer
from stenopool.speech.engines.base import Engine


class LoadedModels:
    """Models are kept until others are needed: loading takes longer than most recordings. Thread-safe."""

    def __init__(self) -> None:
        self.exclusive = threading.Lock()
        """Hold this to use a model that allows one caller at a time, as WhisperX's pipeline does."""
        self._engine: tuple[tuple[EngineName, str, MachineOptions], Engine] | None = None
        self._diarizer: tuple[tuple[DiarizerName, MachineOptions], Diarizer] | None = None
        self._engine_lock, self._diarizer_lock = threading.Lock(), threading.Lock()

    def engine(self, options: TranscriptionOptions, execution: MachineOptions) -> Engine:
        """The engine that the options name, loaded. Raises as `engines.create` and `Engine.load` do."""
        wanted = (options.engine, options.model, execution.machine)
        with self._engine_lock:
            if self._engine is None or self._engine[0] != wanted:
                self._engine = (wanted, engines.create(options, execution.machine))
            self._engine[1].load()
            return self._engine[1]

    def diarizer(self, name: DiarizerName, execution: MachineOptions) -> Diarizer:
        """The diarizer of this name, loaded. Raises as `diarizers.create` and `Diarizer.load` do."""
        wanted = (name, execution.machine)
        with self._diarizer_lock:
            if self._diarizer is None or self._diarizer[0] != wanted:
                self._diarizer = (wanted, diarizers.create(name, execution.machine))
            self._diarizer[1].load()
            return self._diarizer[1]


@cache
def loaded_models() -> LoadedModels:
    """The models of this process."""
    return LoadedModels()


def check_models(options: TranscriptionOptions, execution: MachineOptions) -> None:
    """Check extras, weights, tokens and device before audio is read. Raises `SetupError`."""
    engines.check(options, execution)
    diarizers.check(options, execution)
