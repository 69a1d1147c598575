"""One system in its own process: `python -m benchmarks.compare.child JOB RESULT`, both JSON files."""

import sys
import time
from pathlib import Path

from pydantic import BaseModel

from benchmarks.compare.recordings import WARM
from benchmarks.compare.systems import Hearing, Job, create


class Answer(BaseModel):
    """The results of a child. ``peak`` is the peak memory of this process, in bytes."""

    start_seconds: float
    load_seconds: float
    hearings: dict[str, Hearing]
    peak: int


def main() -> None:
    """Start, load, transcribe ten seconds untimed, then transcribe the measured recordings."""
    job = Job.model_validate_json(Path(sys.argv[1]).read_bytes())
    system = create(job)
    began = time.monotonic()
    system.start()
    started = time.monotonic()
    system.load()
    loaded = time.monotonic()
    # Initializes sessions, caches and lazy imports, for every system.
    system.hear(WARM)
    hearings = {kind: system.hear(kind) for kind in job.kinds}
    answer = Answer(start_seconds=started - began, load_seconds=loaded - started, hearings=hearings, peak=_peak())
    Path(sys.argv[2]).write_text(answer.model_dump_json(), encoding="utf-8")


def _peak() -> int:
    # Not getrusage: it includes the process from which this one was forked.
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
