"""pydub on bounded pieces of a spool: a day of audio never lies in memory at once."""

import warnings
from collections.abc import Iterator
from typing import IO

import numpy as np
from numpy.typing import NDArray

from stenopool.speech.audio.waveform import SAMPLE_RATE

with warnings.catch_warnings():
    # pydub warns that it finds no ffmpeg on PATH. It is given decoded samples only, so it needs none.
    warnings.simplefilter("ignore", RuntimeWarning)
    from pydub import AudioSegment

__all__ = ["AudioSegment", "samples", "segments"]

SLICE_SECONDS = 60.0


def segments(spool: IO[bytes], channels: int, seconds: float = SLICE_SECONDS) -> Iterator[AudioSegment]:
    """The spool from its beginning, ``seconds`` at a time."""
    frame = 2 * channels
    spool.seek(0)
    while data := spool.read(round(seconds * SAMPLE_RATE) * frame):
        whole = len(data) - len(data) % frame
        yield AudioSegment(data=data[:whole], sample_width=2, frame_rate=SAMPLE_RATE, channels=channels)


def samples(segment: AudioSegment) -> NDArray[np.int16]:
    """The samples of a segment: int16, shape (frames, channels)."""
    return np.frombuffer(segment.raw_data, np.int16).reshape(-1, segment.channels)
