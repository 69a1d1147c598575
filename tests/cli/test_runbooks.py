"""The `status` and `plan` commands in the runbooks print what the pages say."""

import re
import shlex
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stenopool.errors import ErrorCode, Failure
from stenopool.options import TranscriptionOptions
from stenopool.pipeline import receipts
from stenopool.pipeline.catalog import list_entries
from stenopool.pipeline.outcomes import FailedRecording
from stenopool.pipeline.receipts import BATCHES, Receipt
from stenopool.pipeline.report import BatchReport
from stenopool.storage import open_store
from tests.support.command_line import Call
from tests.support.markdown import REPOSITORY, blocks

FAILURE = Failure(code=ErrorCode.INPUT_CORRUPT, message="Half of it is missing.", remedy="Send it again.")
OUTPUT = {
    ("cost-above-budget", "status"): [r'"audio_seconds": 60', r'"cost": 1.5', r'"cost_per_audio_hour": 90'],
    ("cost-above-budget", "plan"): [
        r"new +1 +about \d+\.\d\d hours",
        r"estimated cost of the new recordings: \d+\.\d\d",
    ],
    ("failure-ratio", "status"): [
        r"INPUT_CORRUPT  bad\.wav  Half of it is missing\. Send it again\.",
        r"INPUT_CORRUPT 1\)",
    ],
    ("gpu-idle", "status"): [r'"busy": 20', r'"load": 5', r'"idle": 5'],
    ("queue-too-old", "status"): [r"batch 20261130T\w+: .*, 2\.0× real time"],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A source with two recordings, and a destination where one is quarantined, with the report of a batch."""
    (tmp_path / "calls").mkdir()
    for name in ("bad.wav", "new.wav"):
        (tmp_path / "calls" / name).write_bytes(bytes(48_000 * 60))
    store = open_store(str(tmp_path / "transcripts"))
    for entry in list_entries(open_store(str(tmp_path / "calls")), store, TranscriptionOptions()):
        key, digest = entry.recording.key, entry.fingerprint
        if key == "bad.wav":
            receipts.write(store, Receipt(key=key, fingerprint=digest, status="quarantined", failure=FAILURE))
    now, batch = datetime.now(UTC), "20261130T120000Z"
    report = BatchReport(
        batch=batch, source="file:///a", destination="file:///b", options={}, started_at=now, finished_at=now,
        seconds=30.0, new=2, already_done=0, in_quarantine=0, done=1, quarantined=1, deferred=0, audio_seconds=60.0,
        realtime_factor=2.0, stage_seconds={}, stage_speed={}, failures_by_code={"INPUT_CORRUPT": 1},
        device_seconds={"busy": 20.0, "load": 5.0, "idle": 5.0}, cost=1.5, cost_per_audio_hour=90.0,
        failed=[FailedRecording(key="bad.wav", fingerprint="0" * 32, failure=FAILURE)],
    )  # fmt: skip
    store.put_bytes(f"{BATCHES}{batch}/report.json", report.model_dump_json().encode())
    return tmp_path


def find_commands(page: str) -> dict[str, str]:
    """The commands in the shell blocks of a runbook, by subcommand."""
    text = "\n".join(blocks(REPOSITORY / "docs" / "runbooks" / f"{page}.md", "sh"))
    return {line.split()[1]: line for line in text.splitlines() if line.startswith("stenopool ")}


def test_all_status_and_plan_commands_are_covered() -> None:
    pages = [path.stem for path in (REPOSITORY / "docs" / "runbooks").glob("*.md")]
    found = {(page, name) for page in pages for name in find_commands(page) if name in ("status", "plan")}
    assert found == OUTPUT.keys()


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
@pytest.mark.parametrize("command", OUTPUT, ids=" ".join)
def test_it_prints_what_the_page_says(command: tuple[str, str], folder: Path, stenopool: Call) -> None:
    page, name = command
    call, _, query = find_commands(page)[name].partition(" | jq ")
    _, *words = shlex.split(call, comments=True)
    answer = stenopool(*(word.replace("s3://", f"{folder}/") for word in words))
    assert answer.code == 0, answer.err
    output = answer.out
    if query:
        output = subprocess.run(
            ["jq", *shlex.split(query)], input=output, capture_output=True, text=True, check=True
        ).stdout
        assert "null" not in output
    for pattern in OUTPUT[command]:
        assert re.search(pattern, output), output
