"""The diarizer protocol: who speaks when."""

from collections.abc import Sequence
from typing import Protocol

from stenopool.options import TranscriptionOptions
from stenopool.speech.audio.waveform import Waveform
from stenopool.speech.transcript import SpeakerTurn


class Diarizer(Protocol):
    """Finds who speaks when. Created with the execution options. Construction is cheap; `load` is not.

    Speakers are ``SPEAKER_00``, ``SPEAKER_01``, ... in order of their first turns, or the names of channels.
    """

    version: str

    def load(self) -> None:
        """Load weights; idempotent. Raises `SetupError` MODEL_MISSING, MODEL_GATED or EXTRA_MISSING."""
        ...

    def diarize(self, recording: Sequence[Waveform], options: TranscriptionOptions) -> list[SpeakerTurn]:
        """Return turns sorted by start; none for silence. The options limit the number of speakers.

        ``recording`` has one waveform per channel of the prepared audio: one, unless the channels are split. Raises
        `RecordingError` DIARIZER_FAILED.
        """
        ...
