"""The model inside whisperX's pipeline. Imported by the engine's `load` only: whisperX takes half a minute."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from whisperx.asr import WhisperModel


class RememberingModel(WhisperModel):  # type: ignore[misc]  # whisperX is untyped
    """WhisperX's model, remembering what it encoded, so that words can be timed without encoding again."""

    _memory: list[Any] | None = None

    def encode(self, features: Any) -> Any:
        """As whisperX's; shape (batch, 1500, width)."""
        encoded = super().encode(features)
        if self._memory is not None:
            self._memory.append(encoded)
        return encoded

    @contextmanager
    def remembering(self) -> Iterator[list[Any]]:
        """Within, every encoder output is added to the list, batch by batch in order."""
        self._memory = []
        try:
            yield self._memory
        finally:
            self._memory = None
