"""Programs that `stenopool doctor` runs in a child: a wrong cuDNN or a broken driver kills the process silently.

``python -m stenopool.runtime.trial ctranslate2 MODEL DEVICE COMPUTE_TYPE``: load weights, encode a second of silence.
``python -m stenopool.runtime.trial torch DEVICE``: one convolution.
"""

import subprocess
import sys
from collections.abc import Callable, Sequence

from stenopool.runtime.processes import python_command

_TIMEOUT = 300.0  # seconds: the largest model from a cold disk


class TrialFailed(Exception):
    """The child did not end well; the message says how."""


def attempt(*arguments: str) -> str:
    """Run one of the programs of this module in a child, and give what it says. Raises `TrialFailed`."""
    return run(python_command(__name__, *arguments))


def run(command: Sequence[str]) -> str:
    """A command's output; raises `TrialFailed` with its last words, or with the signal that killed it."""
    try:
        child = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise TrialFailed(f"It did not answer within {_TIMEOUT:g} s.") from None
    if child.returncode:
        words = child.stderr.strip().splitlines()[-1:] or ["without a word"]
        ended = f"killed by signal {-child.returncode}" if child.returncode < 0 else f"exit code {child.returncode}"
        raise TrialFailed(f"The process ended ({ended}): {words[0]}")
    return child.stdout.strip()


def _ctranslate2(model: str, device: str, compute_type: str) -> None:
    import ctranslate2
    import numpy as np

    whisper = ctranslate2.models.Whisper(model, device=device, compute_type=compute_type)
    second = np.zeros((1, whisper.n_mels, 100), np.float32)
    whisper.encode(ctranslate2.StorageView.from_array(second), to_cpu=True)
    print(f"{ctranslate2.__version__} encodes on {device} in {compute_type}")


def _torch(device: str) -> None:
    import torch

    signal, kernel = torch.zeros(1, 1, 64, device=device), torch.zeros(1, 1, 3, device=device)
    torch.nn.functional.conv1d(signal, kernel).cpu()
    print(f"{torch.__version__} computes on {device}")


_PROGRAMS: dict[str, Callable[..., None]] = {"ctranslate2": _ctranslate2, "torch": _torch}

if __name__ == "__main__":
    _PROGRAMS[sys.argv[1]](*sys.argv[2:])
