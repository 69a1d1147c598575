"""Whole runs with real weights over unreadable objects: all others are transcribed, on folders and on S3."""

import asyncio
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.pipeline.receipts import list_receipts
from stenopool.pipeline.report import BatchReport
from stenopool.storage import open_store
from stenopool.storage.s3 import process_client
from tests.support.faults import Fault, FaultyProxy
from tests.support.permissions import permissions_hold
from tests.support.seaweedfs import SeaweedFS
from tests.support.speech import needs_speech, recording_path

pytestmark = needs_speech

OPTIONS = TranscriptionOptions(model="tiny.en", diarization="off")
GOOD = "en/jfk.flac"


def ingest(source: object, destination: object, **parameters: Any) -> BatchReport:
    from stenopool.orchestration import entrypoints

    given = {"options": OPTIONS, "execution": ExecutionOptions(device="cpu"), **parameters}
    return asyncio.run(entrypoints.load("ingest")(str(source), str(destination), **given))


@pytest.mark.fault(
    "unreadable files and folders, pipes and dangling links in a folder of recordings",
    "Each is reported with its code; all others are transcribed. Once readable, the next run transcribes them.",
)
def test_unreadable_files_do_not_stop_a_folder(tmp_path: Path) -> None:
    source, destination = tmp_path / "source", tmp_path / "destination"
    (source / "lost+found").mkdir(parents=True)
    shutil.copy(recording_path(GOOD), source / "good.flac")
    # Longer than the good file, so they are processed first; more than are fetched at a time.
    forbidden = [source / f"forbidden-{number}.wav" for number in range(9)]
    for path in forbidden:
        path.write_bytes(bytes(2_000_000))
        path.chmod(0)
    (source / "lost+found").chmod(0)
    os.mkfifo(source / "pipe.wav")
    (source / "gone.wav").symlink_to("nowhere.wav")
    shutil.copy(recording_path(GOOD), source / "taken.flac")
    (destination / "taken.flac").mkdir(parents=True)  # owned by another user
    (destination / "taken.flac").chmod(0o500)
    with permissions_hold():
        report = ingest(source, destination)
    assert report.done == 1
    assert report.failures_by_code == {"OBJECT_DENIED": 10, "OUTPUT_DENIED": 1, "NOT_A_FILE": 2}
    assert (report.quarantined, report.deferred, report.complete) == (2, 11, False)
    assert [name.key for name in list_receipts(open_store(str(destination)))] == ["good.flac"]
    for path in forbidden:
        path.unlink()
    (source / "lost+found").chmod(0o700)
    (destination / "taken.flac").chmod(0o700)
    shutil.copy(recording_path(GOOD), source / "lost+found" / "found.flac")
    again = ingest(source, destination)
    assert (again.done, again.deferred, again.failures_by_code) == (2, 0, {"NOT_A_FILE": 2})


@pytest.mark.fault(
    "objects that are archived, denied, missing or encrypted with a disabled key, in a bucket of recordings",
    "Each is reported with its code; all others are transcribed. Archived objects are not read.",
)
def test_unreadable_objects_do_not_stop_a_bucket(
    s3: SeaweedFS, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, asked = f"s3://{bucket}/in", list[tuple[str, str]]()
    store = open_store(source)
    store.put_file("good.flac", recording_path(GOOD))
    faults: dict[str, Fault] = {"archived": "archived", "denied": "denied", "key": "kms-off", "gone": "gone"}
    for kind in faults:
        for number in range(3):
            store.put_bytes(f"{kind}-{number}.wav", bytes(2_000_000))

    def choose(method: str, path: str) -> Fault | None:
        found = re.search(r"/in/(\w+)-\d\.wav$", path.partition("?")[0])
        if found:
            asked.append((method, found[1]))
        return faults[found[1]] if found and method == "GET" else None

    def archive(path: str, answer: bytes) -> bytes:
        """Fields that AWS adds to a listing."""
        kinds = re.compile(rb"(<Key>in/archived-.*?<StorageClass>)\w+")
        return kinds.sub(rb"\1DEEP_ARCHIVE", answer) if "list-type" in path else answer

    with FaultyProxy(s3.s3, choose=choose, rewrite=archive) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        process_client.cache_clear()
        report = ingest(source, tmp_path / "out")
    assert report.done == 1
    assert report.failures_by_code == {
        "OBJECT_ARCHIVED": 3,
        "OBJECT_DENIED": 3,
        "OBJECT_ENCRYPTED": 3,
        "OBJECT_GONE": 3,
    }
    assert (report.quarantined, report.deferred) == (0, 12)
    assert ("GET", "archived") not in asked
