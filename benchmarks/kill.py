"""Lost and repeated work of a program that is killed repeatedly.

    python -m benchmarks.kill [--kills 30] [--recordings 58] [--seed 1]

Real recordings on a real S3 server (SeaweedFS) are transcribed once undisturbed and once by a program that is killed
with SIGKILL, with all its children, at random moments of every phase, and restarted each time. Both results must be
equal, and each kill may repeat at most the work in progress: a stage of the recordings of two batches. Exit code 1 if
not.
"""

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stenopool.pipeline.receipts import RECEIPTS, WORK, ReceiptName, list_receipts
from stenopool.runtime import signals
from stenopool.storage.s3 import S3Store
from tests.support.journal import read_started
from tests.support.seaweedfs import SeaweedFS
from tests.support.speech import SPEECH

BATCH = 4
OPTIONS = ("--model", "tiny.en", "--diarization", "off")
# A long one, silence, and four that end in quarantine.
OTHERS = (
    "long/crimson-26.mp3",
    "hard/silence-10s.flac",
    "hard/out-of-phase.flac",
    "hard/empty.wav",
    "hard/random.ogg",
    "hard/truncated-no-moov.m4a",
    "hard/video-no-audio.mp4",
)
# A journal line that marks the start of a phase, and the longest pause in seconds between it and the kill.
PHASES = {
    "listing": ("planned\t", 0.2),
    "decoding": ("decode\t", 0.5),
    "storing audio": ("put\t.work/[^/]+/audio", 0.1),
    "speech": ("speech\t", 1.5),
    "keeping speech": ("put\t.work/[^/]+/transcribe", 0.1),
    "uploading": ("put\t.+/transcript", 0.1),
    "receipt": ("put\t.receipts/", 0.05),
    "clearing": ("delete\t.work/", 0.05),
}


@dataclass
class Life:
    """One process from its start to its end."""

    phase: str
    """The phase in which it was killed; empty if it ended normally."""
    decoded: list[str]
    """Fingerprints of recordings whose decoding started."""
    spoken: list[str]
    """Fingerprints of recordings that the engine started."""


@dataclass
class Repeated:
    """Work that was repeated after a kill, as fingerprints."""

    decoded: set[str]
    spoken: set[str]

    @property
    def within_work_in_progress(self) -> bool:
        """Two batches are in progress at a time, each recording in one stage."""
        return len(self.decoded | self.spoken) <= 2 * BATCH


@dataclass
class Outcome:
    """The results of all kills."""

    lives: list[Life]
    repeated: list[Repeated]
    """By kill."""
    seconds: dict[str, float]
    """Audio by fingerprint."""
    faults: list[str]
    """Errors, as text."""

    @property
    def kills(self) -> list[str]:
        return [life.phase for life in self.lives if life.phase]

    def audio(self, fingerprints: Sequence[str] | set[str]) -> float:
        return sum(self.seconds.get(fingerprint, 0.0) for fingerprint in fingerprints)

    def __str__(self) -> str:
        started = [fingerprint for life in self.lives for fingerprint in life.spoken]
        decoded = [fingerprint for life in self.lives for fingerprint in life.decoded]
        costly = [again for again in self.repeated if again.decoded or again.spoken]
        worst = max((self.audio(again.decoded | again.spoken) for again in costly), default=0.0)
        return "\n".join(
            [
                f"kills: {len(self.kills)} ({', '.join(f'{n} {p}' for p, n in Counter(self.kills).items())})",
                f"recordings: {len(self.seconds)} transcribed",
                f"speech: {self.audio(started):.0f} s started, {sum(self.seconds.values()):.0f} s once",
                f"decoding: {len(decoded)} started, {len(set(decoded))} once",
                f"repeated: by {len(costly)} kills, {sum(self.audio(r.spoken) for r in costly):.0f} s of speech work "
                f"and {sum(len(r.decoded) for r in costly)} decodings; {worst:.0f} s of audio at most by one kill",
                *(f"WRONG: {fault}" for fault in self.faults),
            ]
        )


class Bench:
    """Recordings in a new bucket, and the program to run over them."""

    def __init__(self, server: SeaweedFS, folder: Path, recordings: int, seed: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.scratch = folder / "scratch"
        self.bucket = server.make_bucket()
        self._client = server.client()
        self._token = f"{self.bucket}-{seed}"
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "STENOPOOL_"))},
            **server.environment,
            "HOME": str(folder),
            "STENOPOOL_SCRATCH__DIR": str(self.scratch),
            "STENOPOOL_MODELS__CACHE": str(Path.home() / ".cache" / "stenopool" / "models"),
            "STENOPOOL_BATCH__BATCH_RECORDINGS": str(BATCH),
            "STENOPOOL_BATCH__SHARD_RECORDINGS": str(3 * BATCH),
            "KILL_TEST": self._token,  # by which its children are found
        }
        short = [item["file"] for item in json.loads((SPEECH / "manifest.json").read_text()) if _is_short(item)]
        self.keys = [*short[:recordings], *OTHERS]
        source = self.store("calls")
        for key in self.keys:
            source.put_file(key, SPEECH / key)

    def store(self, prefix: str) -> S3Store:
        return S3Store(self.bucket, prefix, client=self._client)

    def live(self, destination: str, phase: str = "", share: int = 0) -> Life:
        """Run the program; kill it in the phase given, or when it has done its share of recordings."""
        journal = self.folder / f"journal-{time.monotonic_ns()}"
        journal.touch()
        program = [sys.executable, "-P", "-m", "tests.support.journal", str(journal)]
        places = [f"s3://{self.bucket}/calls", f"s3://{self.bucket}/{destination}"]
        with (self.folder / "output.txt").open("ab") as output:
            process = subprocess.Popen(
                [*program, "run", *places, *OPTIONS],
                env=self._environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd=Path(__file__).parents[1],
            )
        try:
            killed = bool(phase) and self._kill(process, journal, phase, share)
            if not killed and process.wait() not in (0, 1):
                raise RuntimeError(f"the program failed:\n{(self.folder / 'output.txt').read_text()[-3000:]}")
        finally:
            if process.poll() is None:  # Ctrl-C or a timeout: it is in a separate session
                process.kill()
        return Life(phase if killed else "", *read_started(journal))

    def _kill(self, process: subprocess.Popen[bytes], journal: Path, phase: str, share: int) -> bool:
        """Wait for the moment, and kill the process group. False if the process ended before."""
        beginning, longest = PHASES[phase]
        pattern, nth, pause = re.compile(beginning), self.random.randint(1, 3), self.random.uniform(0, longest)
        with journal.open() as lines:
            while nth and share > 0:
                if process.poll() is not None:
                    return False
                for line in lines:
                    nth -= bool(nth and pattern.match(line))
                    share -= line.startswith("done\t")
                time.sleep(0.005)
        time.sleep(pause)
        # Half of the kills are like the OOM killer's: only the process ends, and its children have to notice.
        (os.killpg if self.random.random() < 0.5 else os.kill)(process.pid, signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + 10  # children in separate sessions end when their pipes close
        while left := self._processes():
            if time.monotonic() > deadline:
                raise RuntimeError(f"processes outlived the kill: {left}")
            time.sleep(0.05)
        return True

    def _processes(self) -> list[str]:
        """Command lines of this bench's processes."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if f"KILL_TEST={self._token}\0".encode() in (process / "environ").read_bytes():
                    found.append((process / "cmdline").read_text().replace("\0", " "))
            except OSError:  # another user's, or ended meanwhile
                continue
        return found


def _is_short(item: dict[str, Any]) -> bool:
    return bool(item["kind"] == "en_short")


def kill_repeatedly(server: SeaweedFS, folder: Path, *, kills: int, recordings: int = 58, seed: int = 1) -> Outcome:
    """Run undisturbed, run with kills, compare."""
    bench = Bench(server, folder, recordings, seed)
    bench.live("peaceful")
    phases: list[str] = []
    while len(phases) < kills:
        phases += bench.random.sample(list(PHASES), len(PHASES))
    lives = []
    for number, phase in enumerate(phases[:kills]):
        left = len(bench.keys) - sum(name.status == "done" for name in list_receipts(bench.store("killed")))
        lives.append(bench.live("killed", phase, share=max(1, left // (kills - number + 1))))
        print(f"kill {number + 1}: {lives[-1].phase or 'ended before'}, {left} recordings left", flush=True)
    lives.append(bench.live("killed"))
    transcripts = _transcripts(bench.store("killed"))
    seconds = {t["provenance"]["fingerprint"]: t["duration"] for t in transcripts.values()}
    return Outcome(lives, _repeated(lives), seconds, _faults(bench))


def _repeated(lives: Sequence[Life]) -> list[Repeated]:
    """The work of each killed process that a later one repeated."""
    found = []
    for number, life in enumerate(lives):
        if life.phase:
            later = lives[number + 1 :]
            decoded = {fingerprint for one in later for fingerprint in one.decoded}
            spoken = {fingerprint for one in later for fingerprint in one.spoken}
            found.append(Repeated(decoded & set(life.decoded), spoken & set(life.spoken)))
    return found


def _faults(bench: Bench) -> list[str]:
    """Differences between the results of the killed program and the expected results."""
    peaceful, killed = bench.store("peaceful"), bench.store("killed")
    expected, found = _transcripts(peaceful), _transcripts(killed)
    faults = [f"{key}: another transcript" for key in expected if key in found and found[key] != expected[key]]
    faults += [f"{key}: a transcript too many or too few" for key in expected.keys() ^ found.keys()]
    receipts = Counter(list_receipts(killed))
    if receipts != Counter(list_receipts(peaceful)):
        faults.append(f"other receipts: {receipts - Counter(list_receipts(peaceful))}")
    faults += [f"{key}: {n} receipts" for key, n in _by_key(receipts).items() if n > 1]
    faults += [f"{key}: no receipt" for key in set(bench.keys) - _by_key(receipts).keys()]
    faults += [f"left over: {info.key}" for info in killed.list(WORK)]
    faults += [f"remaining in scratch: {path.name}" for path in bench.scratch.iterdir()]
    return faults


def _by_key(receipts: Counter[ReceiptName]) -> Counter[str]:
    return Counter(name.key for name in receipts)


def _transcripts(store: S3Store) -> dict[str, dict[str, Any]]:
    """All transcripts, without fields that differ between runs."""
    found = {}
    for info in store.list():
        if info.key.endswith("/transcript.json") and not info.key.startswith((RECEIPTS, WORK)):
            transcript = json.loads(store.get_bytes(info.key))
            del transcript["timings"], transcript["provenance"]["created_at"]
            found[info.key] = transcript
    return found


def main() -> int:
    """Print the results of the kills."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--recordings", type=int, default=58, help="short ones; a few long and bad ones are added")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    signals.exit_on_sigterm()  # so that servers and children end with it
    with tempfile.TemporaryDirectory() as folder:
        server = SeaweedFS(Path(folder) / "s3")
        server.start()
        try:
            outcome = kill_repeatedly(
                server, Path(folder), kills=arguments.kills, recordings=arguments.recordings, seed=arguments.seed
            )
        finally:
            server.stop()
    print(outcome)
    kept = all(again.within_work_in_progress for again in outcome.repeated)
    return 0 if kept and not outcome.faults and len(outcome.kills) == arguments.kills else 1


if __name__ == "__main__":
    sys.exit(main())
