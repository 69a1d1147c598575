"""The models of this process: one engine and one diarizer, kept after loading."""

from functools import cache, lru_cache
from threading import Lock

from stenopool.options import DiarizerName, MachineOptions, TranscriptionOptions
from stenopool.speech import diarizers, engines
from stenopool.speech.diarizers.base import Diarizer
from stenopool.speech.engines.base import Engine


class LoadedModels:
    """Keeps models until others are needed, because loading takes longer than most recordings. Thread-safe."""

    def __init__(self) -> None:
        self.exclusive = Lock()
        """Hold this to use a model that allows one caller at a time, as WhisperX's pipeline does."""
        self._engine_lock, self._diarizer_lock = Lock(), Lock()
        self._engine, self._diarizer = lru_cache(1)(engines.create), lru_cache(1)(diarizers.create)
        self._channels = lru_cache(1)(diarizers.create)

    def engine(self, options: TranscriptionOptions, execution: MachineOptions) -> Engine:
        """Return the engine named in the options, loaded. Raises as `engines.create` and `Engine.load` do."""
        with self._engine_lock:
            engine = self._engine(options.engine, options.model, execution.machine)
            engine.load()
            return engine

    def diarizer(self, name: DiarizerName, execution: MachineOptions) -> Diarizer:
        """Return the diarizer of this name, loaded. Raises as `diarizers.create` and `Diarizer.load` do."""
        # The channels diarizer has no model, so it does not evict one that a single-channel recording needs.
        create = self._channels if name == "channels" else self._diarizer
        with self._diarizer_lock:
            diarizer = create(name, execution.machine)
            diarizer.load()
            return diarizer


@cache
def loaded_models() -> LoadedModels:
    """The models of this process."""
    return LoadedModels()


def check_models(options: TranscriptionOptions, execution: MachineOptions) -> None:
    """Check extras, weights, tokens and device before audio is read. Raises `SetupError`."""
    engines.check(options, execution)
    diarizers.check(options, execution)
