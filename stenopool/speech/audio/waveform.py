"""Prepared audio: 16 kHz FLAC on disk, read in parts, so that a day of audio needs little memory."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Waveform:
    """One channel of a prepared 16 kHz file. Samples are read on demand, not kept in memory."""

    path: Path
    channel: int = 0

    @cached_property
    def frames(self) -> int:
        """Length in samples."""
        return int(soundfile.info(str(self.path)).frames)

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.frames / SAMPLE_RATE

    def read(self, start: float = 0.0, end: float | None = None) -> Samples:
        """Samples from ``start`` to ``end`` seconds: float32 mono in [-1, 1], shape (n,); shorter at the file's end."""
        first = max(0, round(start * SAMPLE_RATE))
        last = self.frames if end is None else min(self.frames, round(end * SAMPLE_RATE))
        if last <= first:
            return np.zeros(0, np.float32)
        data, _ = soundfile.read(str(self.path), start=first, stop=last, dtype="float32", always_2d=True)
        return np.ascontiguousarray(data[:, self.channel])
