"""Two runs of one prefix at the same time: one transcript per recording, nothing torn, little repeated work."""

import json
import re
import signal
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from stenopool.pipeline.receipts import WORK, list_receipts
from stenopool.storage import open_store
from tests.e2e.conftest import Program
from tests.support.journal import read_started
from tests.support.speech import needs_speech, recording_path, recordings
from tests.support.waiting import wait_until

pytestmark = [needs_speech, pytest.mark.slow, pytest.mark.timeout(1200)]

FAST = ("--model", "tiny.en", "--diarization", "off")


def start(program: Program, journal: Path, source: str, destination: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.support.journal", str(journal), "run", source, destination, *FAST]
    batches = {"STENOPOOL_BATCH__BATCH_RECORDINGS": "4", "STENOPOOL_BATCH__SHARD_RECORDINGS": "8"}
    return subprocess.Popen(
        command,
        env={**program.environment, **batches},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=Path(__file__).parents[2],
    )


# The journal line at which the first run is paused while the second run does everything.
MOMENTS = {
    "both at once": "",
    "listed": "planned\t",
    "decoding": "decode\t",
    "speech": "speech\t",
    "keeping speech": "put\t.work/[^/]+/transcribe",
    "uploading": "put\t.+/transcript",
    "receipt": "put\t.receipts/",
    "clearing": "delete\t.work/",
}


@pytest.mark.fault(
    "worker frozen (SIGSTOP) at eight moments while another run does its work, then resumed",
    "One transcript and one receipt each; nothing corrupt.",
)
@pytest.mark.usefixtures("shared_server")
@pytest.mark.parametrize("moment", MOMENTS)
def test_two_runs_of_one_prefix(moment: str, stenopool: Program, bucket: str, tmp_path: Path) -> None:
    files = [item["file"] for item in recordings("en_short")[:15]] + ["hard/empty.wav"]
    source, destination = f"s3://{bucket}/calls", f"s3://{bucket}/transcripts"
    for file in files:
        open_store(source).put_file(file, recording_path(file))
    store = open_store(destination)

    journals = [tmp_path / "first", tmp_path / "second"]
    with ExitStack() as processes:
        first = processes.enter_context(start(stenopool, journals[0], source, destination))
        processes.callback(first.kill)  # a paused process would never end on its own
        if MOMENTS[moment]:
            hold(first, journals[0], MOMENTS[moment])
        second = processes.enter_context(start(stenopool, journals[1], source, destination))
        processes.callback(second.kill)
        if MOMENTS[moment]:
            second.wait(timeout=500)
            first.send_signal(signal.SIGCONT)
        said = [process.communicate(timeout=500)[0] for process in (first, second)]
    print_repeated_work(moment, journals)
    # 1 for the run that finds the empty file, which may be both.
    assert {first.returncode, second.returncode} <= {0, 1}, "\n".join(said)[-6000:]

    keys = [info.key for info in store.list()]
    for key in keys:
        if key.endswith(".json"):
            json.loads(store.get_bytes(key))
    assert Counter(key for key in keys if key.endswith("/transcript.json")) == Counter(
        f"{file}/transcript.json" for file in files[:-1]
    )
    assert sorted((name.key, name.status) for name in list_receipts(store)) == sorted(
        (file, "quarantined" if file == files[-1] else "done") for file in files
    )
    assert not [key for key in keys if key.startswith(WORK)]


def hold(process: subprocess.Popen[str], journal: Path, line: str) -> None:
    """Pause a process when its journal has a line that starts like this."""
    journal.touch()
    pattern = re.compile(f"^{line}", re.MULTILINE)
    wait_until(
        lambda: pattern.search(journal.read_text(encoding="utf-8")), line, seconds=240, every=0.005, process=process
    )
    process.send_signal(signal.SIGSTOP)


def print_repeated_work(moment: str, journals: list[Path]) -> None:
    decoded, spoken = zip(*map(read_started, journals), strict=True)
    twice = set(spoken[0]) & set(spoken[1])
    print(f"{moment}: decoded twice {len(set(decoded[0]) & set(decoded[1]))}, transcribed twice {len(twice)} of 15")
