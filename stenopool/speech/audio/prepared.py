"""What `prepare_audio` says about the FLAC file that it wrote."""

from pydantic import BaseModel

from stenopool.speech.transcript import AudioInfo


class Prepared(BaseModel):
    """What became of one recording's audio."""

    audio: AudioInfo
    channels: int
    """Channels of the FLAC file: 1, or with split as many as the recording has."""
    flags: list[str]
    """For the transcript: truncated, decode_errors, opposite_phase."""
