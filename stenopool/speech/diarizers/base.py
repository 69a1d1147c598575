"""The diarizer protocol: who speaks when."""

from collections.abc import Sequence
from typing import Protocol

from stenopool.options import TranscriptionOptions
from stenopool.speech.audio.waveform import Waveform
from stenopool.speech.transcript import SpeakerTurn


class Diarizer(Protocol):
    """Says who speaks when. Built with the execution options, cheap until `load`.

    Speakers are ``SPEAKER_00``, ``SPEAKER_01``, ... in the order in which they are first heard; with ``channels``, the
    channels' names.
    """

    version: str

    def load(self) -> None:
        """Load weights; idempotent. Raises `SetupError` MODEL_MISSING, MODEL_GATED or EXTRA_MISSING."""
        ...

    def diarize(self, recording: Sequence[Waveform], options: TranscriptionOptions) -> list[SpeakerTurn]:
        """Turns sorted by start, speakers bounded as the options say; none for silence.

        ``recording`` has one waveform per channel of the prepared audio: one, unless the channels are split.
        Raises `RecordingError` DIARIZER_FAILED.
        """
        ...
