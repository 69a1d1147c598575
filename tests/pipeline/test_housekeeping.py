"""`clean` removes only Stenopool's old objects, in a folder and on a real S3 server."""

import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from stenopool.errors import ErrorCode, Failure
from stenopool.pipeline import receipts
from stenopool.pipeline.checkpoints import AUDIO, DIARIZED, Diarized, WorkArea
from stenopool.pipeline.housekeeping import remove_leftovers
from stenopool.pipeline.receipts import BATCHES, WORK, Receipt, output_key, work_key
from stenopool.storage import ObjectInfo, ObjectStore, open_store
from stenopool.storage.local import LocalStore
from stenopool.storage.s3 import S3Store
from tests.support.memory import MemoryStore

DAY = 86400.0
NOBODY = Diarized(turns=[], diarizer_version="1", seconds=0.0)
DONE, QUARANTINED, LEFT = "0" * 32, "1" * 32, "2" * 32


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty destination of each kind; the server lists in small pages."""
    if request.param == "local":
        return open_store(str(tmp_path / "transcripts"))
    return S3Store(request.getfixturevalue("bucket"), "transcripts", page_size=3)


def keys(store: ObjectStore, prefix: str = "") -> set[str]:
    return {info.key for info in store.list(prefix)}


def later(days: float) -> float:
    return time.time() + days * DAY


def leave_checkpoints(store: ObjectStore, fingerprint: str) -> None:
    """The objects of a run that was killed after recognition."""
    for name in ("prepare.v1.json", "transcribe.v1.json"):
        store.put_bytes(work_key(fingerprint, name), b"{}")
    store.put_bytes(work_key(fingerprint, AUDIO), b"fLaC" * 100)


def fill(store: ObjectStore) -> set[str]:
    """A destination with objects of every kind; returns the keys that cleaning must keep."""
    for key, fingerprint in (("a/done.wav", DONE), (f"{LEFT}/work/.batches.wav", DONE)):
        for format in ("json", "srt"):
            store.put_bytes(output_key(key, format), b"said")
        receipts.write(store, Receipt(key=key, fingerprint=fingerprint, status="done"))
    failure = Failure(code=ErrorCode.INPUT_CORRUPT, message="Half.", remedy="Again.")
    receipts.write(store, Receipt(key="bad.wav", fingerprint=QUARANTINED, status="quarantined", failure=failure))
    kept = keys(store)
    leave_checkpoints(store, LEFT)
    return kept


def test_idempotency_keys_are_removed_only_after_they_expire(store: ObjectStore) -> None:
    for name in ("requests/a.json", "requests/b.json", "clients/a.json"):
        store.put_bytes(f".api/{name}", b"{}")
    assert remove_leftovers(store, work_older_than=60, now=later(6.9)).requests == 0
    assert remove_leftovers(store, work_older_than=60, now=later(7.1), dry_run=True).requests == 2
    assert len(keys(store)) == 3
    assert remove_leftovers(store, work_older_than=60, now=later(7.1)).requests == 2
    assert keys(store) == {".api/clients/a.json"}


def leave_batch(store: ObjectStore, batch: str, *, reported: bool = True) -> None:
    names = ("manifest.jsonl", "shards/00000.jsonl", "shards/00000.prepare.json")
    for name in (*names, *(("report.json", "failed.jsonl", "_SUCCESS") if reported else ())):
        store.put_bytes(f"{BATCHES}{batch}/{name}", b"{}")


def test_old_checkpoints_are_removed_and_receipts_and_transcripts_stay(store: ObjectStore) -> None:
    kept = fill(store)
    leave_batch(store, "20261101T000000Z-aaaaaa")
    batches = keys(store, BATCHES)
    cleaned = remove_leftovers(store, work_older_than=7 * DAY, now=later(8))
    assert keys(store) == kept | batches
    assert (cleaned.work.folders, cleaned.work.objects, cleaned.work.bytes) == (1, 3, 404)
    assert cleaned.batches.objects == 0


def test_nothing_is_removed_if_nothing_is_old_enough(store: ObjectStore) -> None:
    fill(store)
    leave_batch(store, "20261101T000000Z-aaaaaa")
    leave_batch(store, "20261102T000000Z-aaaaaa")
    before = keys(store)
    cleaned = remove_leftovers(store, work_older_than=7 * DAY, batches_older_than=7 * DAY, now=later(6))
    assert keys(store) == before
    assert (cleaned.work.objects, cleaned.batches.objects) == (0, 0)


def test_a_dry_run_reports_the_same_and_removes_nothing(store: ObjectStore) -> None:
    fill(store)
    for day in (1, 2):
        leave_batch(store, f"2026110{day}T000000Z-aaaaaa")
    before = keys(store)
    now = later(8)
    would = remove_leftovers(store, work_older_than=DAY, batches_older_than=DAY, dry_run=True, now=now)
    assert keys(store) == before
    assert would.work.folders == would.batches.folders == 1
    did = remove_leftovers(store, work_older_than=DAY, batches_older_than=DAY, now=now)
    assert (did.work, did.batches) == (would.work, would.batches)


def test_one_young_object_protects_its_fingerprint(store: ObjectStore) -> None:
    leave_checkpoints(store, LEFT)
    leave_checkpoints(store, DONE)
    time.sleep(2.1)  # S3 returns whole seconds
    store.put_bytes(work_key(DONE, "diarize.v1.json"), b"{}")
    young = store.head(work_key(DONE, "diarize.v1.json")).modified
    cleaned = remove_leftovers(store, work_older_than=2, now=young + 1)
    assert cleaned.work.folders == 1
    assert {key.split("/")[1] for key in keys(store, WORK)} == {DONE}
    assert len(keys(store, WORK)) == 4


def test_many_folders_are_removed_while_they_are_listed(store: ObjectStore) -> None:
    for number in range(20):
        leave_checkpoints(store, f"{number:032x}")
    assert remove_leftovers(store, work_older_than=DAY, now=later(2)).work.folders == 20
    assert keys(store) == set()


def test_foreign_objects_in_the_work_area_stay(store: ObjectStore) -> None:
    strange = {f"{WORK}notes.txt", f"{WORK}not a fingerprint/{AUDIO}", f"{WORK}{LEFT}/deep/er.json", f"{WORK}{LEFT}x/a"}
    for key in strange:
        store.put_bytes(key, b"somebody's")
    remove_leftovers(store, work_older_than=DAY, batches_older_than=DAY, now=later(9999))
    assert keys(store) == strange


def test_old_batches_are_removed_only_on_request_and_the_last_report_stays(store: ObjectStore) -> None:
    kept = fill(store)
    remove_leftovers(store, work_older_than=0, now=later(1))
    for day in (1, 2):
        leave_batch(store, f"2026110{day}T000000Z-aaaaaa")
    leave_batch(store, "20261103T000000Z-aaaaaa", reported=False)
    cleaned = remove_leftovers(store, work_older_than=DAY, batches_older_than=30 * DAY, now=later(31))
    left = keys(store) - kept
    assert {key.split("/")[1] for key in left} == {"20261102T000000Z-aaaaaa"}
    assert len(left) == 6
    assert (cleaned.batches.folders, cleaned.batches.objects) == (2, 9)


def test_unfinished_writes_are_removed_when_they_are_old(store: ObjectStore) -> None:
    kept = fill(store)
    leave_unfinished(store)
    assert remove_leftovers(store, work_older_than=DAY).partial == 0
    time.sleep(2.1)
    assert remove_leftovers(store, work_older_than=0.5, dry_run=True).partial is None
    assert remove_leftovers(store, work_older_than=0.5).partial == 1
    assert remove_leftovers(store, work_older_than=0.5).partial == 0
    assert keys(store) == kept


def leave_unfinished(store: ObjectStore) -> None:
    """The files of a writer that was killed while it wrote."""
    if isinstance(store, S3Store):
        key = f"{store.prefix}{work_key(LEFT, AUDIO)}"
        store.client.create_multipart_upload(Bucket=store.bucket, Key=key)
    else:
        assert isinstance(store, LocalStore)
        (store.root / WORK / LEFT / ".stenopool-write-killed").write_bytes(b"fLaC")


class _Watched(LocalStore):
    """A folder that records deletions, and in which a run resumes the work ``resumed`` while it is listed."""

    resumed = ""
    deleted: tuple[str, ...] = ()

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        if self.resumed and prefix == f"{WORK}{self.resumed}/":
            WorkArea(LocalStore(self.root), self.resumed).save(DIARIZED, NOBODY)
        yield from super().list(prefix, start_after=start_after)

    def delete(self, key: str) -> None:
        self.deleted += (key,)
        super().delete(key)


def test_audio_is_removed_last(tmp_path: Path) -> None:
    store = _Watched(tmp_path)
    leave_checkpoints(store, LEFT)
    remove_leftovers(store, work_older_than=DAY, now=later(2))
    assert len(store.deleted) == 3
    assert store.deleted[-1] == work_key(LEFT, AUDIO)


def test_work_that_a_run_resumes_during_cleaning_stays(tmp_path: Path) -> None:
    store = _Watched(tmp_path)
    leave_checkpoints(store, LEFT)
    leave_checkpoints(store, DONE)
    time.sleep(0.2)
    store.resumed = LEFT
    cleaned = remove_leftovers(store, work_older_than=0.1)
    assert cleaned.work.folders == 1
    assert {key.split("/")[1] for key in keys(store, WORK)} == {LEFT}
    assert len(keys(store, WORK)) == 4


class _Endless(MemoryStore):
    """Listings generated while they are read."""

    def list(self, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        for number in range(50_000):
            yield ObjectInfo(f"{WORK}{number // 5:032x}/{number}.json", 1, "e", 0.0)


def _peak_of_clean() -> int:
    tracemalloc.start()
    remove_leftovers(_Endless(), work_older_than=DAY, dry_run=True, now=1.0)  # too young, all of it
    return tracemalloc.get_traced_memory()[1]


def test_memory_does_not_grow_with_the_number_of_objects() -> None:
    # In a separate process: tracemalloc counts memory of every thread, and other tests leave servers' threads.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        assert alone.submit(_peak_of_clean).result() < 200_000
