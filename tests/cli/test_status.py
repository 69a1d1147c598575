"""`plan`, `status` and `retry`, with receipts that the library wrote."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from stenopool.errors import ErrorCode, Failure
from stenopool.options import TranscriptionOptions
from stenopool.pipeline import receipts
from stenopool.pipeline.catalog import list_entries
from stenopool.pipeline.receipts import BATCHES, Receipt
from stenopool.pipeline.report import BatchReport
from stenopool.storage import ObjectInfo, open_store
from stenopool.storage.local import LocalStore
from tests.support.command_line import Call
from tests.support.permissions import permissions_hold

FAILURE = Failure(code=ErrorCode.INPUT_CORRUPT, message="Half of it is missing.", remedy="Send it again.")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Four recordings, for a listing; they contain no audio."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    for name in ("bad\x1b[31m.wav", "done.wav", "new 1.wav", "new 2.wav"):
        (folder / name).write_bytes(bytes(48_000 * 60))
    return folder


@pytest.fixture
def destination(tmp_path: Path, source: Path) -> Path:
    """One recording is done, one is quarantined."""
    folder = tmp_path / "transcripts"
    store = open_store(str(folder))
    for entry in list_entries(open_store(str(source)), store, TranscriptionOptions()):
        key, digest = entry.recording.key, entry.fingerprint
        if key == "done.wav":
            receipts.write(store, Receipt(key=key, fingerprint=digest, status="done", duration=60.0))
        elif key.startswith("bad"):
            receipts.write(store, Receipt(key=key, fingerprint=digest, status="quarantined", failure=FAILURE))
    return folder


def test_plan_does_not_create_the_destination(source: Path, tmp_path: Path, stenopool: Call) -> None:
    answer = stenopool("plan", source, tmp_path / "out", "--json", "--cost-per-hour", "3")
    found = json.loads(answer.out)
    assert (found["new"], found["done"], found["quarantined"]) == (4, 0, 0)
    assert found["estimated_hours"]["new"] == pytest.approx(4 / 60)
    assert found["estimated_cost"] == pytest.approx(4 / 60 * 3)
    assert not (tmp_path / "out").exists()


def test_plan_counts_by_options(source: Path, destination: Path, stenopool: Call) -> None:
    found = json.loads(stenopool("plan", source, destination, "--json").out)
    assert (found["new"], found["done"], found["quarantined"]) == (2, 1, 1)
    other = json.loads(stenopool("plan", source, destination, "--json", "--model", "small").out)
    assert (other["new"], other["done"], other["quarantined"]) == (4, 0, 0)
    some = json.loads(stenopool("plan", source, destination, "--json", "--exclude", "new*").out)
    assert (some["new"], some["done"], some["quarantined"]) == (0, 1, 1)


def test_plan_prints_a_line_per_state(source: Path, destination: Path, stenopool: Call) -> None:
    lines = stenopool("plan", source, destination).out.splitlines()
    assert [line.split()[:2] for line in lines] == [["new", "2"], ["done", "1"], ["quarantined", "1"]]


def test_plan_counts_unreadable_objects(source: Path, tmp_path: Path, stenopool: Call) -> None:
    (source / "lost+found").mkdir()
    (source / "lost+found").chmod(0)
    (source / "pipe.wav").symlink_to("nothing")
    with permissions_hold():
        found = json.loads(stenopool("plan", source, tmp_path / "out", "--json").out)
        lines = stenopool("plan", source, tmp_path / "out").out.splitlines()
    assert (found["new"], found["quarantined"], found["waiting"], found["to_restore"]) == (4, 1, 1, {})
    assert found["failures_by_code"] == {"OBJECT_DENIED": 1, "NOT_A_FILE": 1}
    assert [line.split()[:2] for line in lines[3:]] == [["waiting", "1"], ["NOT_A_FILE", "1"], ["OBJECT_DENIED", "1"]]


def test_plan_counts_objects_to_restore(tmp_path: Path, stenopool: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for name in ("a.wav", "b.wav", "c.wav", "d.wav"):
        (source / name).write_bytes(b"sound")
    classes = {"a.wav": "GLACIER", "b.wav": "GLACIER", "c.wav": "DEEP_ARCHIVE"}
    real = LocalStore.list

    def listed(self: LocalStore, *given: Any, **named: Any) -> Iterator[ObjectInfo]:
        return (info._replace(archived=classes.get(info.key, "")) for info in real(self, *given, **named))

    monkeypatch.setattr(LocalStore, "list", listed)
    monkeypatch.setattr(LocalStore, "is_restored", lambda _, key: key == "b.wav")
    found = json.loads(stenopool("plan", source, tmp_path / "out", "--json").out)
    assert (found["new"], found["waiting"], found["to_restore"]) == (2, 2, {"GLACIER": 1, "DEEP_ARCHIVE": 1})
    assert "to restore first: 1 in DEEP_ARCHIVE, 1 in GLACIER" in stenopool("plan", source, tmp_path / "out").out


def test_status_of_an_empty_destination(tmp_path: Path, stenopool: Call) -> None:
    found = json.loads(stenopool("status", tmp_path, "--json").out)
    assert found == {"done": 0, "quarantined": 0, "failures": [], "batches": []}


def test_status_shows_counts_and_reasons(destination: Path, stenopool: Call) -> None:
    found = json.loads(stenopool("status", destination, "--json").out)
    assert (found["done"], found["quarantined"]) == (1, 1)
    assert found["failures"][0]["key"] == "bad\x1b[31m.wav"
    assert found["failures"][0]["failure"] == FAILURE.model_dump(mode="json")
    answer = stenopool("status", destination)
    assert "1 done, 1 quarantined" in answer.out
    assert "INPUT_CORRUPT  bad\\x1b[31m.wav  Half of it is missing. Send it again." in answer.out
    assert "\x1b" not in answer.out


def test_status_limits_the_failures_it_shows(destination: Path, stenopool: Call) -> None:
    found = json.loads(stenopool("status", destination, "--json", "--limit", "0").out)
    assert (found["quarantined"], found["failures"]) == (1, [])


def test_status_shows_the_last_batches_newest_first(destination: Path, stenopool: Call) -> None:
    store = open_store(str(destination))
    for number in range(7):
        store.put_bytes(f"{BATCHES}2026-11-2{number}/report.json", _report(f"2026-11-2{number}").encode())
    found = json.loads(stenopool("status", destination, "--json").out)
    assert [batch["batch"] for batch in found["batches"]] == [f"2026-11-2{number}" for number in (6, 5, 4, 3, 2)]
    assert "batch 2026-11-26: 1 done, 0 failed, 2.0×" in stenopool("status", destination).out


@pytest.mark.parametrize("content", [b"", b"{}", b'{"status": "quarantined"', b"\xff", b"[1, 2]"])
def test_an_unreadable_receipt_or_report_hides_no_other(
    content: bytes, destination: Path, source: Path, stenopool: Call, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(str(destination))
    for batch in ("20261101T000000Z-aaaaaaaa", "20261103T000000Z-aaaaaaaa"):
        store.put_bytes(f"{BATCHES}{batch}/report.json", _report(batch).encode())
    store.put_bytes(f"{BATCHES}20261102T000000Z-aaaaaaaa/report.json", content)
    store.put_bytes(receipts.receipt_key("a.wav", "0" * 32, "quarantined"), content)
    answer = stenopool("status", destination, "--json")
    found = json.loads(answer.out)
    assert [failure["key"] for failure in found["failures"]] == ["bad\x1b[31m.wav"]
    assert [batch["batch"][:8] for batch in found["batches"]] == ["20261103", "20261101"]
    assert found["quarantined"] == 2
    corrupt, skipped = caplog.messages
    assert corrupt.startswith("RECEIPT_CORRUPT: ")
    assert "20261102T000000Z-aaaaaaaa/report.json: " in skipped
    retried = stenopool("retry", destination, "--source", source, "--code", "TOO_LONG")
    assert (retried.code, retried.err.splitlines()[-1]) == (0, "No recordings are quarantined with TOO_LONG.")


@pytest.mark.parametrize("command", [("status",), ("retry", "--code", "INPUT_CORRUPT", "--source", "SOURCE")])
def test_a_receipt_that_is_deleted_while_receipts_are_read(
    command: tuple[str, ...], destination: Path, source: Path, stenopool: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This happens when another run finishes the recording meanwhile."""
    whole = LocalStore.list

    def list_and_remove(self: LocalStore, *given: str, **named: str) -> Iterator[ObjectInfo]:
        for info in whole(self, *given, **named):
            if info.key.endswith(".quarantined.json"):
                self.delete(info.key)
            yield info

    monkeypatch.setattr(LocalStore, "list", list_and_remove)
    answer = stenopool(command[0], destination, *(str(source) if word == "SOURCE" else word for word in command[1:]))
    assert answer.code == 0, answer.err


def test_retry_without_matching_recordings_does_nothing(destination: Path, source: Path, stenopool: Call) -> None:
    before = sorted(destination.rglob("*"))
    answer = stenopool("retry", destination, "--source", source, "--code", "TOO_LONG")
    assert (answer.code, answer.err) == (0, "No recordings are quarantined with TOO_LONG.\n")
    assert sorted(destination.rglob("*")) == before


def test_a_recording_that_was_quarantined_twice_is_counted_once(destination: Path, stenopool: Call) -> None:
    store, key = open_store(str(destination)), "bad\x1b[31m.wav"
    later = FAILURE.model_copy(update={"message": "A tenth of it is missing."})
    receipts.write(store, Receipt(key=key, fingerprint="0" * 32, status="quarantined", failure=later))
    found = json.loads(stenopool("status", destination, "--json").out)
    assert found["quarantined"] == 1
    assert [failure["failure"]["message"] for failure in found["failures"]] == [later.message]


def test_retry_removes_deleted_recordings_from_quarantine(destination: Path, source: Path, stenopool: Call) -> None:
    (source / "bad\x1b[31m.wav").unlink()
    answer = stenopool("retry", destination, "--source", source, "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out) == {"new": 0, "done": 0, "failed": []}
    assert answer.err == "bad\\x1b[31m.wav no longer exists in its source: removed from quarantine.\n"
    assert json.loads(stenopool("status", destination, "--json").out)["quarantined"] == 0


def test_plan_lists_missing_recordings(source: Path, destination: Path, stenopool: Call) -> None:
    only = ("--only", "gone.wav", "--only", "new 1.wav", "--only", "notes.txt")
    answer = stenopool("plan", source, destination, *only)
    assert "OBJECT_NOT_FOUND  gone.wav  The source has no object gone.wav." in answer.out
    found = json.loads(stenopool("plan", source, destination, "--json", *only).out)
    assert (found["new"], [failed["key"] for failed in found["failed"]]) == (1, ["gone.wav"])


def test_retry_without_a_batch_requires_a_source(destination: Path, stenopool: Call) -> None:
    answer = stenopool("retry", destination)
    assert answer.code == 2
    assert "--source" in answer.err


@pytest.mark.parametrize("command", [("plan", "MISSING", "OUT"), ("status", "MISSING"), ("retry", "MISSING")])
def test_a_misspelt_location_is_an_error(command: tuple[str, ...], tmp_path: Path, stenopool: Call) -> None:
    answer = stenopool(command[0], *(tmp_path / name for name in command[1:]))
    assert (answer.code, answer.out) == (2, "")
    line, remedy = answer.err.splitlines()
    assert line == f"OBJECT_NOT_FOUND: The folder {tmp_path / 'MISSING'} does not exist."
    assert remedy


def test_source_and_destination_have_to_differ(source: Path, stenopool: Call) -> None:
    answer = stenopool("plan", source, source)
    assert answer.code == 2
    assert answer.err.startswith("LOCATION_INVALID: ")


def _report(batch: str) -> str:
    now = datetime.now(UTC)
    return BatchReport(
        batch=batch, source="file:///a", destination="file:///b", options={}, started_at=now, finished_at=now,
        seconds=30.0, new=1, already_done=0, in_quarantine=0, done=1, quarantined=0, deferred=0, audio_seconds=60.0,
        realtime_factor=2.0, stage_seconds={}, stage_speed={}, failures_by_code={}, failed=[],
    ).model_dump_json()  # fmt: skip
