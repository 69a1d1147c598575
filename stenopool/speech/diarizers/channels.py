"""Diarizer ``channels``: a call recorded one party per channel. The channel is the speaker; speech says when.

In this mode the words of a channel belong to its speaker from the start (`channel_name`); turns are made for the
timeline and the RTTM file.
"""

from collections.abc import Iterable, Sequence
from importlib.metadata import version

from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.speech.audio.vad import speech_regions
from stenopool.speech.audio.waveform import Waveform
from stenopool.speech.diarizers.runtime import failures
from stenopool.speech.transcript import SpeakerTurn

# A pause as long as this ends a turn. Speech is cut closer than for an engine, which needs room around the words.
_PAUSE, _PAD = 0.5, 0.1


class ChannelsDiarizer:
    """One speaker per channel. Needs no extra and no weights but the VAD's, which come with the base install."""

    name = "channels"

    def __init__(self, execution: ExecutionOptions) -> None:
        self.execution = execution

    @property
    def version(self) -> str:
        """Version of faster-whisper, which carries the VAD."""
        return version("faster-whisper")

    def load(self) -> None:
        """Nothing to load."""

    def diarize(self, waveform: Waveform, options: TranscriptionOptions) -> list[SpeakerTurn]:
        """When the waveform's channel speaks, under that channel's name. Raises `RecordingError` DIARIZER_FAILED."""
        name = channel_name(waveform.channel, options.channel_names)
        with failures(self.name):
            regions = speech_regions(waveform, min_silence=_PAUSE, max_speech=float("inf"), pad=_PAD)
        return [SpeakerTurn(start=region.start, end=region.end, speaker=name) for region in regions]


def channel_turns(waveforms: Iterable[Waveform], options: TranscriptionOptions) -> list[SpeakerTurn]:
    """The turns of all channels of a recording, sorted by start."""
    diarizer = ChannelsDiarizer(ExecutionOptions())
    turns = [turn for waveform in waveforms for turn in diarizer.diarize(waveform, options)]
    return sorted(turns, key=lambda turn: (turn.start, turn.end))


def channel_name(channel: int, names: Sequence[str] = ()) -> str:
    """The speaker of a channel, counted from 0: its given name, else ``CHANNEL_0``, ``CHANNEL_1``, ..."""
    return names[channel] if channel < len(names) else f"CHANNEL_{channel}"


def require_packages() -> None:
    """All that it needs is in the base install."""


def check(execution: ExecutionOptions) -> None:
    """Nothing can be missing."""
