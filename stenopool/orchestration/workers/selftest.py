"""Checks that this image's CTranslate2, torch, cuBLAS and cuDNN are compatible with each other and the GPU.

``python -m stenopool.orchestration.workers.selftest [cuda|cpu]``. It needs no weights: it creates a Whisper model with
one small random layer, which uses the same convolutions. Each part runs in a separate child process, because an
incompatible library ends its process without a message. The GPU image runs it at each start, before any work
(`container.py`), and `stenopool doctor` runs the parts that transcription needs.
"""

import ctypes
import mmap
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stenopool.runtime.processes import python_command

_TIMEOUT = 300.0  # seconds: the largest model from a cold disk
_MAJOR = re.compile(rb"libcu(blas|dnn)\.so\.(\d+)\0")
_REMEDY = {
    "CUDA libraries": "Rebuild the image from uv.lock (workers/Dockerfile), and do not change LD_LIBRARY_PATH.",
    "GPU": "Start the container with a GPU (docker run --gpus all; Kubernetes: limit nvidia.com/gpu) on a host with an "
    "NVIDIA driver for CUDA 12.8 and the container toolkit; or set STENOPOOL_SELFTEST=cpu to run without a GPU.",
    "CTranslate2": "It does not work on this device. Compare the versions above with the driver's (nvidia-smi).",
    "torch": "It does not work on this device. Compare the versions above with the driver's (nvidia-smi).",
}


class TrialFailed(Exception):
    """The child process failed; the message contains the reason."""


def run(device: str) -> bool:
    """Run all applicable checks, with a line each on stderr; returns False if one fails. ``device``: cuda or cpu."""
    if device not in ("cuda", "cpu"):
        _say("fail", "self-test", f"STENOPOOL_SELFTEST={device} is not one of cuda, cpu, off")
        return False
    with tempfile.TemporaryDirectory() as folder:
        checks: dict[str, Callable[[], str]] = {
            "CUDA libraries": lambda: attempt("libraries"),
            "GPU": lambda: attempt("gpu"),
            "CTranslate2": lambda: attempt("model", folder) and attempt("ctranslate2", folder, device, "default"),
            "torch": lambda: attempt("torch", device),
        }
        if device == "cpu":
            del checks["GPU"]
        if find_spec("torch") is None:  # nothing to compare CTranslate2 with
            del checks["CUDA libraries"], checks["torch"]
        for name, check in checks.items():
            try:
                _say("ok", name, check())
            except TrialFailed as failed:
                _say("fail", name, str(failed), _REMEDY[name])
                return False
    return True


def attempt(*arguments: str) -> str:
    """Run one of this module's programs in a child process; returns its output. Raises `TrialFailed`.

    ``ctranslate2 MODEL DEVICE COMPUTE_TYPE``: load weights and encode a second of silence. ``torch DEVICE``: one
    convolution. ``libraries``, ``gpu``, ``model FOLDER``: see the functions.
    """
    return run_command(python_command("stenopool.orchestration.workers.selftest", *arguments))


def run_command(command: Sequence[str]) -> str:
    """A command's output; raises `TrialFailed` with its last error line, or the signal that killed it."""
    try:
        child = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise TrialFailed(f"It did not finish within {_TIMEOUT:g} s.") from None
    if child.returncode:
        words = child.stderr.strip().splitlines()[-1:] or ["no error message"]
        ended = f"killed by signal {-child.returncode}" if child.returncode < 0 else f"exit code {child.returncode}"
        raise TrialFailed(f"The process ended ({ended}): {words[0]}")
    return child.stdout.strip()


def read_versions(library: Path) -> dict[str, int]:
    """The major versions of cuBLAS and cuDNN that a shared library opens by name: ``{"blas": 12}``.

    They are not in its table of needed libraries, where ldd would find them, because they are opened on first use.
    """
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return {found[1].decode(): int(found[2]) for found in _MAJOR.finditer(content)}


def _libraries() -> str:
    """Check that the libraries CTranslate2 needs can be opened and are the same files that torch has opened."""
    import ctranslate2
    import psutil
    import torch  # opens the libraries in its wheels

    own = next(Path(ctranslate2.__file__).parent.with_name("ctranslate2.libs").glob("libctranslate2*"))
    names = read_versions(own)
    if torch.version.cuda is None:
        raise SystemExit("this torch was built without CUDA")
    cudnn = torch.backends.cudnn.version()
    if "dnn" in names and names["dnn"] != cudnn // 10000:
        raise SystemExit(f"CTranslate2 needs cuDNN {names['dnn']}, but torch has {cudnn}")
    if "blas" not in names or names["blas"] != int(torch.version.cuda.split(".")[0]):
        raise SystemExit(
            f"CTranslate2 needs cuBLAS {names.get('blas')}, but torch is built for CUDA {torch.version.cuda}"
        )
    for library, major in names.items():
        ctypes.CDLL(f"libcu{library}.so.{major}")  # raises with the name of the missing library
    opened = {file.path for file in psutil.Process().memory_maps()}
    for library in ("cublas", "cudnn"):
        files = sorted(path for path in opened if Path(path).name.startswith(f"lib{library}.so"))
        if len(files) != 1:
            raise SystemExit(f"{len(files)} files of {library} are open: {', '.join(files) or 'none'}")
    found = ", ".join(f"libcu{library}.so.{major}" for library, major in sorted(names.items()))
    return f"CTranslate2 {ctranslate2.__version__} opens {found}; torch {torch.__version__} the same, and cuDNN {cudnn}"


def _gpu() -> str:
    import ctranslate2

    if not (count := ctranslate2.get_cuda_device_count()):
        raise SystemExit("no usable GPU was found")
    return f"{count} usable, {', '.join(sorted(ctranslate2.get_supported_compute_types('cuda')))}"


def _small_model(folder: str, width: int = 64, mels: int = 80) -> str:
    """Write a Whisper model with one random layer on each side."""
    import numpy as np
    from ctranslate2.specs.model_spec import visit_spec
    from ctranslate2.specs.whisper_spec import WhisperSpec

    random = np.random.default_rng(0)
    tokens = ["<|startoftranscript|>", "<|notimestamps|>", "<|nospeech|>", "<|endoftext|>", "a"]
    shapes = {  # by the ending of a weight's name; all others are square
        "conv1/weight": (width, mels, 3),
        "conv2/weight": (width, width, 3),
        "embeddings/weight": (len(tokens), width),
        "projection/weight": (len(tokens), width),
        "/self_attention/linear_0/weight": (3 * width, width),
        "/attention/linear_1/weight": (2 * width, width),
        "ffn/linear_0/weight": (4 * width, width),
        "ffn/linear_1/weight": (width, 4 * width),
        "gamma": (width,),
        "beta": (width,),
    }

    def weight(*shape: int) -> np.ndarray:
        return random.normal(0, 0.02, shape).astype(np.float32)

    def fill(layer: Any, name: str, value: object) -> None:
        if value is None:
            shape = next((shape for end, shape in shapes.items() if name.endswith(end)), (width, width))
            setattr(layer, name.rpartition("/")[2], weight(*shape))
            if hasattr(layer, "bias"):
                layer.bias = weight(shape[0])

    spec = WhisperSpec(1, 2, 1, 2)
    visit_spec(spec, fill)
    spec.encoder.position_encodings.encodings = weight(1500, width)
    spec.decoder.position_encodings.encodings = weight(448, width)
    spec.register_vocabulary(tokens)
    spec.validate()
    spec.save(folder)
    return f"written to {folder}"


def _ctranslate2(model: str, device: str, compute_type: str) -> str:
    import ctranslate2
    import numpy as np

    whisper = ctranslate2.models.Whisper(model, device=device, compute_type=compute_type)
    second = np.zeros((1, whisper.n_mels, 100), np.float32)
    whisper.encode(ctranslate2.StorageView.from_array(second), to_cpu=True)
    return f"{ctranslate2.__version__} encodes on {device} in {compute_type}"


def _torch(device: str) -> str:
    import torch

    signal, kernel = torch.zeros(1, 1, 64, device=device), torch.zeros(1, 1, 3, device=device)
    torch.nn.functional.conv1d(signal, kernel).cpu()
    return f"{torch.__version__} computes on {device}"


def _say(status: str, check: str, found: str, remedy: str = "") -> None:
    """Print to stderr, because stdout belongs to the command that follows."""
    print(f"{status:<5} {check:<15} {found}", file=sys.stderr, flush=True)
    if remedy:
        print(f"{'':<21} {remedy}", file=sys.stderr, flush=True)


_PROGRAMS: dict[str, Callable[..., str]] = {
    "libraries": _libraries,
    "gpu": _gpu,
    "model": _small_model,
    "ctranslate2": _ctranslate2,
    "torch": _torch,
}

if __name__ == "__main__":
    name, *arguments = sys.argv[1:] or ["cuda"]
    if name in _PROGRAMS:
        print(_PROGRAMS[name](*arguments))
    else:
        sys.exit(0 if run(name) else 70)
