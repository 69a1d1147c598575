"""The models of this process: one engine and one diarizer, loaded once and kept."""

import threading
from functools import cache

from stenopool.options import DiarizerName, EngineName, MachineOptions, TranscriptionOptions
from stenopool.speech import diarizers, engines
from stenopool.speech.diarizers.base import Diarizer
from stenopool.speech.engines.base import Engine


class LoadedModels:
    """Loading costs more than most recordings, so models are kept until others are asked for.

    Methods may be called from several threads.
    """

    def __init__(self) -> None:
        self.exclusive = threading.Lock()
        """Held by whoever computes with a model that takes one caller at a time, as whisperX's pipeline does."""
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
    """This process's."""
    return LoadedModels()


def check_models(options: TranscriptionOptions, execution: MachineOptions) -> None:
    """Check extras, weights, tokens and device before any audio is touched. Raises `SetupError`."""
    engines.check(options, execution)
    diarizers.check(options, execution)
