"""The engine protocol."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from stenopool.errors import Failure
from stenopool.options import TranscriptionOptions
from stenopool.speech.audio.waveform import Waveform
from stenopool.speech.transcript import Transcript


@dataclass(frozen=True)
class Utterance:
    """One channel of one recording, 16 kHz mono, with an id for messages."""

    id: str
    waveform: Waveform


class Engine(Protocol):
    """A speech engine, loaded once per process, called with batches.

    It is built with (model, execution), cheap until `load`, and honours every option that `TranscriptionOptions`
    allows for it. Silence gives an empty transcript, not an error.
    """

    version: str
    device: str
    compute_type: str
    concurrent: bool  # whether `transcribe` may be called again while an earlier call continues
    model_digest: str | None  # SHA-256 of the main weights file; None before `load`

    def load(self) -> None:
        """Load weights; idempotent. Raises `SetupError` MODEL_MISSING, EXTRA_MISSING or DEVICE_UNAVAILABLE."""
        ...

    def transcribe(
        self, batch: Iterable[Utterance], options: TranscriptionOptions
    ) -> Iterator[tuple[Utterance, Transcript | Failure]]:
        """Yield each utterance once, with its result, as soon as it is ready, in any order.

        The batch may be iterated in another thread; its errors are raised here. The transcript has text, language,
        language_probability, duration, segments (with words if requested) and flags. A fault of one utterance is a
        `Failure`; `TransientError` is raised for faults of the device.
        """
        ...
