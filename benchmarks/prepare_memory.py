"""Memory of `prepare_audio` for a 10-hour recording.

    python benchmarks/prepare_memory.py [--hours 10] [--channels 1] [--limit-mb 600]

Creates the recording by repeating a spoken one with silence in between (Opus, in a temporary folder), prepares it in a
child process, and prints time and peak memory of the child and, separately, of its child processes. Exit code 1 above
the limit.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import imageio_ffmpeg

SPEECH = Path(os.environ.get("STENOPOOL_SPEECH") or Path(__file__).parents[2] / "shared" / "speech")


def make(out: Path, hours: float, channels: int) -> None:
    """Speech and a pause, encoded once and repeated."""
    ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin"]
    speech, part = SPEECH / "en" / "jfk.flac", out.with_name("part.opus")
    padded = ["-af", "apad=pad_dur=4", "-ac", str(channels), "-c:a", "libopus", "-b:a", "24k"]
    subprocess.run([*ffmpeg, "-i", speech, *padded, part], check=True)
    subprocess.run(
        [*ffmpeg, "-stream_loop", "-1", "-i", part, "-t", str(hours * 3600), "-c", "copy", "-y", out], check=True
    )


def child(source: Path, mode: str) -> None:
    """Prepare, and print time and memory."""
    from stenopool.options import ExecutionOptions, TranscriptionOptions
    from stenopool.speech.audio import sandbox
    from stenopool.speech.audio.preparation import prepare_audio

    most, done = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.5):
            most = max(most, sum(file.stat().st_blocks * 512 for file in open_files()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.monotonic()
    flac = source.with_suffix(".flac")
    prepared = prepare_audio(source, flac, TranscriptionOptions(channels=mode), ExecutionOptions())
    seconds = time.monotonic() - started
    done.set()
    watcher.join()
    sandbox.stop_launchers()  # only children that have ended are counted
    own, others = (
        resource.getrusage(who).ru_maxrss // 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    audio = prepared.audio
    print(f"audio {audio.duration / 3600:.2f} h, {prepared.channels} channel(s), gain {audio.gain_db} dB")
    print(f"time {seconds:.1f} s ({audio.duration / seconds:.0f} x real time)")
    print(f"peak memory {own} MB, largest child {others} MB")
    print(f"disk {most / 1e6:.0f} MB at most, FLAC {flac.stat().st_size / 1e6:.0f} MB")


def open_files() -> list[Path]:
    """This process's open regular files, unnamed ones included."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            if link.is_file():
                found.append(link)
        except OSError:
            continue
    return found


def main() -> int:
    """Create the recording and run the child."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=10.0)
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--mode", choices=("mix", "split"), default="mix")
    parser.add_argument("--limit-mb", type=int, default=600)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child, arguments.mode)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "long.opus"
        make(source, arguments.hours, arguments.channels)
        command = [sys.executable, "-P", __file__, "--child", str(source), "--mode", arguments.mode]
        subprocess.run(command, check=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    print(f"limit {arguments.limit_mb} MB: {'kept' if peak < arguments.limit_mb else 'EXCEEDED'} ({peak} MB)")
    return 0 if peak < arguments.limit_mb else 1


if __name__ == "__main__":
    sys.exit(main())
