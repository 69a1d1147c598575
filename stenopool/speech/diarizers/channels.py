"""Diarizer ``channels``: each channel is a speaker, as in calls recorded with one party per channel.

Words get their speaker from their channel. The turns are for the timeline and the RTTM file.
"""

from collections.abc import Sequence
from importlib.metadata import version

from stenopool.errors import ErrorCode
from stenopool.options import MachineOptions, TranscriptionOptions
from stenopool.speech.audio.vad import speech_regions
from stenopool.speech.audio.waveform import Waveform
from stenopool.speech.devices import translate_faults
from stenopool.speech.speakers import channel_name
from stenopool.speech.transcript import SpeakerTurn

# Seconds: the pause that ends a turn, and the padding, which is shorter than for an engine.
_PAUSE, _PAD = 0.5, 0.1


class ChannelsDiarizer:
    """One speaker per channel. Needs no extra; the VAD's weights come with the base installation."""

    def __init__(self, execution: MachineOptions) -> None:  # noqa: ARG002  (the VAD always runs on the CPU)
        self.version = version("faster-whisper")  # the VAD comes in its wheel

    def load(self) -> None:
        """Do nothing: there is nothing to load."""

    def diarize(self, recording: Sequence[Waveform], options: TranscriptionOptions) -> list[SpeakerTurn]:
        """Return the turns of each channel, with its name as speaker. Raises `RecordingError` DIARIZER_FAILED."""
        with translate_faults("Diarizing", ErrorCode.DIARIZER_FAILED):
            turns = [
                SpeakerTurn(
                    start=region.start, end=region.end, speaker=channel_name(waveform.channel, options.channel_names)
                )
                for waveform in recording
                for region in speech_regions(
                    waveform,
                    threshold=options.vad_threshold,
                    min_silence=_PAUSE,
                    max_speech=float("inf"),
                    pad=_PAD,
                )
            ]
        return sorted(turns, key=lambda turn: (turn.start, turn.end))


def check(execution: MachineOptions) -> None:
    """Do nothing: this diarizer has no requirements."""
