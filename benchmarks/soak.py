"""Growth of memory, files and threads over hours of mixed load in bounded rounds.

    python -m benchmarks.soak --minutes 60 --report soak.json --plot soak.png

One process runs the flow `ingest` repeatedly, like a long-lived worker: on short, long, silent, damaged and hostile
recordings, alternately from a folder and from S3, with a new destination for each round, which is deleted afterwards.
Sampled every five seconds: memory of the process, of the decoders and of Prefect's server, open files, threads, bytes
in scratch; after each round, objects left in the work area. Growth is the median of the last third compared with that
of the time between it and the warm-up (ten minutes, or a sixth of a shorter run). Exit code 1 if anything grew by more
than a tenth, or was left behind.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

SPEECH = Path(os.environ.get("STENOPOOL_SPEECH") or Path(__file__).parents[2] / "shared" / "speech")
MB = 1 << 20
EVERY = 5.0
NOISE = 1.10
# Below this, a change of a tenth is negligible.
FLOOR = {"memory": 20 * MB, "decoders": 20 * MB, "prefect": 20 * MB, "files": 4, "threads": 3, "scratch": MB}


class Sampler(threading.Thread):
    """Samples the process from inside, until it is stopped."""

    def __init__(self, scratch: Path) -> None:
        super().__init__(daemon=True)
        self.samples: list[dict[str, float]] = []
        self.over = threading.Event()
        self._scratch = scratch
        self._began = time.monotonic()

    def run(self) -> None:
        while not self.over.wait(EVERY):
            children = _descendants(os.getpid())
            self.samples.append(
                {
                    "seconds": round(time.monotonic() - self._began, 1),
                    "memory": _memory(os.getpid()),
                    "decoders": sum(_memory(pid) for pid in children if _runs(pid, "speech.audio.launcher", "ffmpeg")),
                    "prefect": sum(_memory(pid) for pid in children if _runs(pid, "prefect")),
                    "files": len(list(Path("/proc/self/fd").iterdir())),
                    "threads": threading.active_count(),
                    "scratch": sum(_size(path) for path in _files(self._scratch)),
                }
            )


def _memory(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def _runs(pid: int, *names: str) -> bool:
    """Whether its command line contains one of these. The S3 server is also a child process, but is not counted."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return False
    return any(name in command for name in names) and "seaweed" not in command


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            for child in map(int, children.read_text().split()):
                found += [child, *_descendants(child)]
        except OSError:
            continue
    return found


def _files(folder: Path) -> list[Path]:
    found = []
    for here, _, names in os.walk(folder):
        found += [Path(here, name) for name in names]
    return found


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # it has ended, as expected
        return 0


def load(chance: random.Random) -> list[Path]:
    """The recordings of one round: mostly short, some odd or broken, occasionally a long one."""
    items = json.loads((SPEECH / "manifest.json").read_text(encoding="utf-8"))
    paths = [SPEECH / item["file"] for item in items if (SPEECH / item["file"]).exists()]
    hard = [path for path in paths if path.parent.name == "hard"]
    short = [path for path in paths if path.parent.name != "hard" and path.stat().st_size < 500_000]
    long = [path for path in paths if path.parent.name == "long"]
    rare = chance.sample(long, 1) if chance.random() < 0.1 else []
    return [*chance.sample(short, 4), *chance.sample(hard, 3), *rare]


async def rounds(minutes: float, folder: Path, s3: str, seed: int) -> tuple[int, Counter[str], list[str]]:
    """Run the load until the time is over; return rounds, outcomes, and remaining objects."""
    from stenopool.orchestration import entrypoints

    ingest = entrypoints.load("ingest")
    from stenopool.options import ExecutionOptions, TranscriptionOptions
    from stenopool.pipeline.receipts import WORK
    from stenopool.storage import open_store
    from tests.hostile.files import GALLERY

    chance, ends, left = random.Random(seed), Counter[str](), []
    options = TranscriptionOptions(model="tiny.en", diarization="off")
    until, number = time.monotonic() + minutes * 60, 0
    while time.monotonic() < until:
        number += 1
        place = str(folder / f"round-{number}") if number % 2 else f"{s3}/round-{number}"
        source, destination = open_store(f"{place}/calls"), f"{place}/transcripts"
        for index, path in enumerate(load(chance)):
            source.put_file(f"{index}-{path.name}", path)
        for attack in chance.sample(GALLERY[:40], 2):
            made = folder / f"attack-{attack.name}"
            attack.write(made, {"secret": "/nowhere", "address": "127.0.0.1:9", "port": "9"})
            source.put_file(attack.name, made)
            made.unlink()
        report = await ingest(source.uri, destination, options=options, execution=ExecutionOptions(device="cpu"))
        ends.update(done=report.done, quarantined=report.quarantined, deferred=report.deferred)
        store = open_store(destination)
        left += [f"round {number}: {info.key}" for info in store.list(WORK)]
        for one in (source, store):
            for info in list(one.list()):
                one.delete(info.key)
        print(f"round {number}: {report.done} done, {report.quarantined} quarantined", file=sys.stderr, flush=True)
    return number, ends, left


def growth(samples: list[dict[str, float]], warm: float) -> dict[str, float]:
    """By measure, the ratio of the median of the last third to that between the warm-up and the last third."""
    kept = [one for one in samples if one["seconds"] >= warm]
    early, late = kept[: len(kept) * 2 // 3], kept[len(kept) * 2 // 3 :]
    found = {}
    for name, floor in FLOOR.items():
        before, after = (statistics.median(one[name] for one in part) for part in (early, late))
        found[name] = 1.0 if abs(after - before) <= floor else after / max(before, 1)
    return found


def draw(samples: list[dict[str, float]], warm: float, path: Path) -> None:
    """Each measure over time; the warm-up shaded."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure

    units = dict.fromkeys(("memory", "decoders", "prefect", "scratch"), ("MB", MB))
    canvas = Figure(figsize=(9, 10), layout="constrained")
    panels = canvas.subplots(len(FLOOR), sharex=True)
    minutes = [one["seconds"] / 60 for one in samples]
    for panel, name in zip(panels, FLOOR, strict=True):
        unit, scale = units.get(name, ("", 1))
        panel.plot(minutes, [one[name] / scale for one in samples], linewidth=1)
        panel.axvspan(0, warm / 60, alpha=0.15, color="grey")
        panel.set_ylabel(f"{name} {unit}".strip())
        panel.set_ylim(0, 1.1 * max(one[name] for one in samples) / scale or 1)
    panels[-1].set_xlabel("minutes")
    canvas.savefig(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    warm = min(600.0, arguments.minutes * 10)

    from tests.support.seaweedfs import SeaweedFS

    with tempfile.TemporaryDirectory(prefix="stenopool-soak-") as name:
        folder = Path(name)
        server = SeaweedFS(folder / "s3")
        server.start()
        try:
            os.environ.update(server.environment)
            os.environ["STENOPOOL_SCRATCH__DIR"] = str(folder / "scratch")
            os.environ["PREFECT_HOME"] = str(folder / "prefect")  # its database grows with the runs, on disk
            from stenopool.orchestration import embedded

            embedded.begin()
            embedded.ready()
            sampler = Sampler(folder / "scratch")
            sampler.start()
            bucket = server.make_bucket()
            number, ends, left = asyncio.run(rounds(arguments.minutes, folder, f"s3://{bucket}", arguments.seed))
            assert sampler.is_alive(), "the sampler has failed; later growth is unknown"
            sampler.over.set()
            sampler.join()
        finally:
            server.stop()
    grown = growth(sampler.samples, warm)
    report: dict[str, Any] = {
        "minutes": arguments.minutes,
        "warm_up_seconds": warm,
        "rounds": number,
        "recordings": dict(ends),
        "left_lying": left,
        "growth": {name: round(value, 3) for name, value in grown.items()},
        "samples": sampler.samples,
    }
    if arguments.report:
        arguments.report.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if arguments.plot:
        draw(sampler.samples, warm, arguments.plot)
    print(json.dumps({key: value for key, value in report.items() if key != "samples"}, indent=1))
    return 1 if left or ends["deferred"] or any(value > NOISE for value in grown.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
