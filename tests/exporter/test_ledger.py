"""The ledger: a sum of a destination's batches, the same after every restart, in bounded memory."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stenopool.errors import AccessDenied, ErrorCode, Failure, SetupError
from stenopool.exporter.ledger import Ledger
from stenopool.metrics.amounts import Histogram
from stenopool.pipeline.catalog import Recording
from stenopool.pipeline.outcomes import Outcome, ShardLog, Tally
from stenopool.pipeline.receipts import METRICS, Receipt, write
from stenopool.pipeline.report import BatchCounts, Status, Sums
from stenopool.pipeline.shards import Shard, WorkItem, write_log
from stenopool.storage.base import ObjectStore
from stenopool.storage.local import LocalStore

NOW = datetime.now(UTC)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "destination")


def batch(name: str, done: int, *, age: timedelta = timedelta(0), status: Status = "complete") -> BatchCounts:
    return BatchCounts(
        batch=name,
        flow_run="run of " + name,
        engine="faster-whisper",
        model="base",
        started_at=NOW - age,
        updated_at=NOW - age,
        status=status,
        sums=Sums(
            recordings=Counter(done=done),
            audio_seconds={"faster-whisper base": done * 1.5},
            batches=Counter({status: 1} if status != "running" else {}),
            tally=Tally(retries=Counter(fetch=1)),
        ),
    )


def prepared(name: str, duration: float) -> Outcome:
    return Outcome(key=f"{name}.wav", fingerprint=name * 32, status="prepared", duration=duration)


def names(store: ObjectStore) -> list[str]:
    return sorted(info.key.removeprefix(METRICS) for info in store.list(METRICS))


def test_a_batch_replaces_its_earlier_values(store: LocalStore) -> None:
    ledger = Ledger(store)
    for done in (1, 2, 5):
        batch("20260101T000000Z-a", done, status="running").write(store)
        ledger.refresh()
        assert ledger.sums.recordings == {"done": done}
    assert ledger.running == 1
    batch("20260101T000000Z-a", 6).write(store)
    batch("20260102T000000Z-b", 4).write(store)
    ledger.refresh()
    ledger.refresh()
    assert ledger.sums.recordings == {"done": 10}
    assert ledger.sums.batches == {"complete": 2}
    assert ledger.running == 0


def test_only_changed_batches_are_read(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        batch(f"2026010{number}T000000Z-a", 1).write(store)
    ledger = Ledger(store)
    ledger.refresh()
    read: list[str] = []
    real = LocalStore.get_bytes
    monkeypatch.setattr(LocalStore, "get_bytes", lambda self, key: read.append(key) or real(self, key))
    ledger.refresh()
    assert read == []
    batch("20260101T000000Z-a", 2).write(store)
    ledger.refresh()
    assert read == [f"{METRICS}20260101T000000Z-a.json"]


def test_old_batches_are_folded_into_one_object_and_nothing_is_lost(store: LocalStore) -> None:
    for number in range(9):
        batch(f"2026010{number}T000000Z-a", number, age=timedelta(days=20 - number)).write(store)
    batch("20260110T000000Z-a", 100, status="running").write(store)
    batch("20260111T000000Z-a", 1000, age=timedelta(days=8)).write(store)
    before = Ledger(store)
    before.refresh()
    # One in progress precedes the last, which is kept with it.
    assert names(store) == ["20260110T000000Z-a.json", "20260111T000000Z-a.json", "earlier.json"]
    after = Ledger(store)
    after.refresh()
    for ledger in (before, after):
        assert ledger.sums.recordings == {"done": 36 + 1100}
        assert ledger.sums.audio_seconds == {"faster-whisper base": 1.5 * 1136}
        assert ledger.sums.tally.retries == {"fetch": 11}
        assert ledger.sums.batches == {"complete": 10}


def test_only_the_latest_of_many_batches_are_kept_individually(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stenopool.exporter.ledger._KEPT", 4)
    for number in range(9):
        # The oldest ended 7 hours ago, 6 hours ago, ...; the last three less than one hour ago.
        batch(f"2026010{number}T000000Z-a", 1, age=timedelta(hours=max(0, 7 - number))).write(store)
    ledger = Ledger(store)
    ledger.refresh()
    assert len(names(store)) == 4 + 1
    assert ledger.sums.recordings == {"done": 9}
    for number in range(9):
        batch(f"2026020{number}T000000Z-a", 1).write(store)
    ledger.refresh()
    assert len(names(store)) == 9 + 2 + 1
    assert ledger.sums.recordings == {"done": 18}


def test_a_kill_between_folding_and_removing_counts_nothing_twice(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        batch(f"2026010{number}T000000Z-a", 1, age=timedelta(days=9)).write(store)

    def killed(_: LocalStore, key: str) -> None:
        raise KeyboardInterrupt(key)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "delete", killed)
        with pytest.raises(KeyboardInterrupt):
            Ledger(store).refresh()
    assert len(names(store)) == 4
    after = Ledger(store)
    after.refresh()
    assert after.sums.recordings == {"done": 3}


def test_without_write_permission_it_only_reads(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    batch("20260101T000000Z-a", 3, age=timedelta(days=9)).write(store)

    def refused(*_: object, **__: object) -> bool:
        raise AccessDenied("no")

    monkeypatch.setattr(LocalStore, "put_bytes", refused)
    ledger = Ledger(store)
    for _ in range(2):
        ledger.refresh()
        assert ledger.sums.recordings == {"done": 3}
    assert names(store) == ["20260101T000000Z-a.json"]


def test_foreign_objects_are_ignored(store: LocalStore) -> None:
    store.put_bytes(f"{METRICS}notes.json", b"[]")
    store.put_bytes(f"{METRICS}picture.png", b"\x89PNG")
    batch("20260101T000000Z-a", 3).write(store)
    ledger = Ledger(store)
    ledger.refresh()
    assert ledger.sums.recordings == {"done": 3}


def item(name: str) -> WorkItem:
    recording = Recording(uri=f"file:///{name}", key=name, size=1, etag="e", modified=0.0)
    return WorkItem(recording=recording, fingerprint=name[0] * 32, seconds=1.0)


def with_lost_batch(store: LocalStore) -> str:
    """A batch whose parent is gone: a shard with its results, and one with only receipts."""
    name = "20260101T000000Z-a"
    batch(name, 0, status="running").write(store)
    whole = Shard(batch=name, number=0, items=(item("a.wav"), item("b.wav")))
    whole.write(store)
    bad = Failure(code=ErrorCode.EMPTY_FILE, message="m", remedy="r", stage="normalize")
    failed = Outcome(key="b.wav", fingerprint="b" * 32, status="quarantined", failure=bad)
    write_log(store, whole, "prepare", ShardLog(machine="cpu", outcomes=[prepared("a", 2.5), failed]))
    done = Outcome(key="a.wav", fingerprint="a" * 32, status="done", duration=2.5)
    write_log(store, whole, "transcribe", ShardLog(outcomes=[done]))
    cut = Shard(batch=name, number=1, items=(item("c.wav"), item("d.wav"), item("e.wav")))
    cut.write(store)
    write_log(store, cut, "prepare", ShardLog(machine="cpu", outcomes=[prepared(c, 3.0) for c in "cde"]))
    write(
        store, Receipt(key="c.wav", fingerprint="c" * 32, status="done", duration=3.0, batch=name, flags=("no_speech",))
    )
    write(store, Receipt(key="d.wav", fingerprint="d" * 32, status="done", duration=3.0, batch="another"))
    return name


def test_a_batch_whose_run_is_gone_is_counted_from_its_receipts(store: LocalStore) -> None:
    name = with_lost_batch(store)
    asked: list[str] = []
    ledger = Ledger(store, lambda run: asked.append(run) or len(asked) > 1)
    ledger.refresh()
    assert (ledger.running, ledger.sums.recordings) == (1, {"done": 0})
    ledger.refresh()
    again = Ledger(store)
    again.refresh()
    for one in (ledger, again):
        assert one.running == 0
        assert one.sums.recordings == {"done": 2, "rendered": 0, "quarantined EMPTY_FILE": 1, "deferred RUN_LOST": 1}
        assert one.sums.audio_seconds == {"faster-whisper base": 5.5}
        assert one.sums.failures == {"normalize EMPTY_FILE": 1, " RUN_LOST": 1}
        assert one.sums.batches == {"lost": 1}
        assert one.sums.tally.flags == {"no_speech": 1}
    assert set(asked) == {f"run of {name}"}


def test_a_batch_of_an_unknown_run_counts_as_over_after_a_day(store: LocalStore) -> None:
    batch("20260101T000000Z-a", 3, age=timedelta(hours=23), status="running").write(store)
    batch("20260101T000000Z-b", 0, age=timedelta(hours=25), status="running").write(store)
    ledger = Ledger(store, lambda _: None)
    ledger.refresh()
    assert ledger.running == 1
    assert ledger.sums.batches == {"lost": 1}


def test_a_batch_that_ends_during_the_query_is_not_lost(store: LocalStore) -> None:
    batch("20260101T000000Z-a", 3, status="running").write(store)

    def over(_: str) -> bool:
        batch("20260101T000000Z-a", 7).write(store)
        return True

    ledger = Ledger(store, over)
    ledger.refresh()
    assert ledger.sums.recordings == {"done": 7}
    assert ledger.sums.batches == {"complete": 1}


@given(st.lists(st.lists(st.floats(0, 1e4), max_size=20), max_size=5))
def test_histograms_add_up(parts: list[list[float]]) -> None:
    bounds = (0.1, 1.0, 10.0, 1000.0)
    merged, whole = Histogram(), Histogram()
    for part in parts:
        one = Histogram()
        for value in part:
            one.observe(value, bounds)
            whole.observe(value, bounds)
        merged.add(Histogram.model_validate_json(one.model_dump_json()))
    assert merged.buckets == whole.buckets
    assert merged.count == sum(map(len, parts))
    assert merged.sum == pytest.approx(whole.sum)


@pytest.mark.parametrize("error", [ErrorCode.ACCESS_DENIED, ErrorCode.STORAGE_UNAVAILABLE])
def test_unwritable_figures_do_not_stop_the_work(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: ErrorCode
) -> None:
    def refused(*_: object, **__: object) -> bool:
        raise SetupError(error, "not now")

    monkeypatch.setattr(LocalStore, "put_bytes", refused)
    batch("20260101T000000Z-a", 3).write(store)
    assert "batch 20260101T000000Z-a were not written: not now" in caplog.text
