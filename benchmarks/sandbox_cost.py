"""The overhead of the sandbox: reading headers and decoding, alternately with and without it.

    uv run python -m benchmarks.sandbox_cost

Without: libav reads the headers in this process, and ffmpeg is a plain child whose limits a shell sets. Each round does
both on the same file, in alternating order. The figure is the ratio of the fastest rounds, because other load can only
add to them. Exit code 1 if it is above 1.03 for the longest file; in short files, the start of two processes is
visible, a fixed number of milliseconds per file.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from unittest.mock import patch

import imageio_ffmpeg

from stenopool.speech.audio import prober, sandbox
from stenopool.speech.audio.decode import decode
from stenopool.speech.audio.probe import INPUT_OPTIONS, Probe, probe

MOST = 1.03
LIMITED = """
ulimit -c 0 && ulimit -f 0 && ulimit -n 64 && ulimit -v 4194304 && ulimit -S -t 3600 && ulimit -H -t 3601 || exit 1
exec "$@"
"""


def plain_probe(path: Path) -> Probe:
    """In this process."""
    with path.open("rb") as file, patch.object(prober, "FILE", file.fileno()):
        return Probe.model_validate(prober.answer(INPUT_OPTIONS))


@contextmanager
def unconfined() -> Iterator[None]:
    """ffmpeg as a plain child."""

    def start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        del options["limits"]
        return subprocess.Popen(["/bin/sh", "-c", LIMITED, "limits", *command], start_new_session=True, **options)

    with patch.object(sandbox, "start", start):
        yield


def once(path: Path, spool: IO[bytes], *, confined: bool) -> float:
    """Seconds for the headers and the audio of a file."""
    spool.seek(0)
    spool.truncate()
    started = time.perf_counter()
    if confined:
        decode(path, probe(path), spool, channels="mix", max_duration=1e6)
    else:
        with unconfined():
            decode(path, plain_probe(path), spool, channels="mix", max_duration=1e6)
    return time.perf_counter() - started


def compare(path: Path, rounds: int) -> tuple[float, float, float]:
    """Seconds unconfined and confined, in the fastest rounds, and the median of the rounds' ratios."""
    pairs = []
    with tempfile.TemporaryFile() as spool:
        for number in range(rounds + 1):
            order = (False, True) if number % 2 else (True, False)
            seconds = {confined: once(path, spool, confined=confined) for confined in order}
            pairs.append((seconds[False], seconds[True]))
    pairs = pairs[1:]  # the first starts the launcher
    plain, confined = (min(pair[n] for pair in pairs) for n in (0, 1))
    return plain, confined, statistics.median(pair[1] / pair[0] for pair in pairs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    print(f"missing here: {', '.join(sandbox.missing()) or 'nothing'}")
    last = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for name, seconds, codec in (
            ("10 s, FLAC", 10, []),
            ("1 min, MP3", 60, ["-b:a", "64k"]),
            ("10 min, AAC", 600, ["-b:a", "64k"]),
        ):
            path = Path(folder) / f"sound.{name.rpartition(' ')[2].lower().replace('aac', 'm4a')}"
            source = f"anoisesrc=d={seconds}:r=44100:a=0.1:s=1"
            command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-nostdin", "-f", "lavfi", "-i", source]
            subprocess.run([*command, *codec, f"file:{path}"], check=True)
            plain, confined, median = compare(path, arguments.rounds * 60 // min(60, seconds))
            figures = f"{plain * 1000:.1f} ms plain, {confined * 1000:.1f} ms confined"
            print(f"{name}: {figures}, ratio {confined / plain:.3f} (median of the rounds {median:.3f})", flush=True)
            last = confined / plain  # of the last file, the longest: decoding dominates, not starting processes
    return int(last > MOST)


if __name__ == "__main__":
    sys.exit(main())
