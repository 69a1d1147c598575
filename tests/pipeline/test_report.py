"""The last batches, without listing the whole history."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import pytest

from stenopool.pipeline.receipts import BATCHES
from stenopool.pipeline.report import list_reports
from stenopool.storage import ObjectStore, open_store
from tests.support.memory import MemoryStore

HOUR = timedelta(hours=1)


def add_batch(store: ObjectStore, age: timedelta, *, report: bool = True, name: str = "") -> str:
    """A batch that started this long ago, with the objects that a run leaves."""
    batch = name or f"{datetime.now(UTC) - age:%Y%m%dT%H%M%SZ}-{abs(age).total_seconds():08.0f}"
    names = ("shards/00000.jsonl", "shards/00000.prepare.json", "shards/00000.transcribe.json", "failed.jsonl")
    for written in (*names, "report.json", "_SUCCESS")[: 6 if report else 3]:
        store.put_bytes(f"{BATCHES}{batch}/{written}", b"{}")
    return f"{BATCHES}{batch}/report.json"


def test_a_long_history_is_not_listed() -> None:
    store = MemoryStore()
    keys = [add_batch(store, timedelta(minutes=minutes)) for minutes in range(1, 60 * 24 * 10, 10)]
    assert list(islice(list_reports(store), 5)) == keys[:5]
    assert store.listed < 100  # of 8,640 objects


@pytest.mark.parametrize("oldest", [HOUR, 100 * HOUR, 24 * 400 * HOUR, 24 * 365 * 30 * HOUR])
def test_batches_of_any_age_are_found_once_and_in_order(oldest: timedelta) -> None:
    store = MemoryStore()
    ages = {-HOUR, HOUR / 100, HOUR / 6, HOUR / 2, oldest / 3, oldest / 2, oldest}  # -HOUR: by a clock that is fast
    keys = [add_batch(store, age) for age in sorted(ages)]
    odd = add_batch(store, HOUR, name="0-by-hand")
    assert list(list_reports(store)) == [*keys, odd]


def test_batches_without_a_report_are_left_out(tmp_path: Path, bucket: str) -> None:
    for store in (open_store(str(tmp_path)), open_store(f"s3://{bucket}/transcripts")):
        old, new = add_batch(store, 200 * HOUR), add_batch(store, 2 * HOUR)
        add_batch(store, HOUR, report=False)
        assert list(list_reports(store)) == [new, old]


def test_an_empty_destination_has_none() -> None:
    assert list(list_reports(MemoryStore())) == []
