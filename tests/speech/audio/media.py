"""Test files made by the ffmpeg program that we ship, and functions that inspect results."""

import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.speech.audio.preparation import prepare_audio
from stenopool.speech.audio.waveform import Waveform
from stenopool.speech.transcript import Prepared


def make(out: Path, *arguments: str | Path) -> Path:
    """Run ffmpeg with the arguments, the output file last; return its path."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", *map(str, arguments), f"file:{out}"]
    subprocess.run(command, check=True)
    return out


def tone(out: Path, seconds: float, *arguments: str | Path) -> Path:
    """A 440 Hz tone that swells and fades like syllables, so that it counts as more than noise."""
    return make(out, "-f", "lavfi", "-i", f"sine=440:r=16000:d={seconds},tremolo=f=2:d=0.95", *arguments)


def prepare(source: Path, flac: Path, mode: str = "mix", **execution: float) -> Prepared:
    """`prepare_audio` with default options, except these."""
    return prepare_audio(source, flac, TranscriptionOptions(channels=mode), ExecutionOptions(**execution))


def rms_db(samples: NDArray[np.float32]) -> float:
    """Level in dB below full scale."""
    return float(20 * np.log10(np.sqrt(np.mean(samples.astype(np.float64) ** 2)) + 1e-10))


def channels(flac: Path, count: int) -> list[NDArray[np.float32]]:
    """All samples of each channel."""
    return [Waveform(flac, channel).read() for channel in range(count)]
