"""The result of `prepare_audio`."""

from pydantic import BaseModel

from stenopool.speech.transcript import AudioInfo


class Prepared(BaseModel):
    """A recording's audio and the FLAC file made of it."""

    audio: AudioInfo
    channels: int
    """Channels of the FLAC file: 1, or all with ``split``."""
    flags: list[str]
    """For the transcript: truncated, decode_errors, opposite_phase."""
