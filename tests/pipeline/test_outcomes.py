"""All counts are summed from the shards' logs; a run without a log is counted from its receipts."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stenopool.errors import ErrorCode, Failure, RunLost
from stenopool.options import FORMATS
from stenopool.pipeline.outcomes import Interval, Outcome, ShardLog, StageAttempt, Totals, Use, fold, length, union
from stenopool.pipeline.receipts import BATCHES, Receipt, write
from stenopool.pipeline.shards import Shard, log_or_receipts, read_log, read_logs, read_prepared, read_shards, write_log
from stenopool.storage.local import LocalStore
from tests.support.runs import work_item

BATCH = "20260101T000000Z-aaaaaaaa"
BAD = Failure(code=ErrorCode.EMPTY_FILE, message="m", remedy="r", stage="normalize")
AWAY = RunLost("gone").failure("fetch audio")
OURS, THEIRS, BROKEN, LEFT = map(work_item, "abcd")


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "out")


def outcome(name: str, status: str, **fields: object) -> Outcome:
    return Outcome.model_validate({"key": f"{name}.wav", "fingerprint": name * 32, "status": status, **fields})


def attempt(stage: str, *working: Interval, uses: Use | None = None, **fields: object) -> StageAttempt:
    return StageAttempt.model_validate({"stage": stage, "working": working, "uses": uses, **fields})


def test_outcomes_are_counted_by_status() -> None:
    log = ShardLog(
        outcomes=[
            outcome("a", "done", duration=4.0, flags=("no_speech",), reused=("transcribe",)),
            outcome("b", "skipped"),
            outcome("c", "quarantined", failure=BAD),
            outcome("d", "deferred", failure=AWAY),
            outcome("e", "rendered", duration=9.0),
        ]
    )
    totals = fold([log])
    assert totals.ends == {"done": 1, "skipped": 1, "quarantined": 1, "deferred": 1, "rendered": 1}
    assert totals.audio_seconds == 4.0
    assert [one.key for one in totals.failed] == ["c.wav", "d.wav"]
    assert totals.tally.flags == {"no_speech": 1}
    assert totals.tally.checkpoints == {"transcribe": 1}


def test_a_resumed_shard_does_not_report_transient_failures() -> None:
    log = ShardLog(outcomes=[outcome("c", "quarantined", failure=BAD), outcome("d", "deferred", failure=AWAY)])
    assert [one.key for one in fold([log], resumed=True).failed] == ["c.wav"]


def test_a_stages_time_is_correct_when_batches_overlap() -> None:
    log = ShardLog(
        seconds=10.0,
        attempts=[
            attempt("transcribe", (1.0, 4.0), uses="device", audio=30.0),
            attempt("transcribe", (2.0, 5.0), uses="device", audio=30.0),
            attempt("load models", (0.0, 2.0), uses="loading"),
            attempt("upload", (4.0, 6.0), audio=60.0),
        ],
    )
    totals = fold([log])
    assert totals.stage_seconds == {"transcribe": 4.0, "load models": 2.0, "upload": 2.0}
    assert totals.stage_audio == {"transcribe": 60.0}, "a speed is that of computing"
    assert totals.device_seconds == {"busy": 4.0, "load": 1.0, "idle": 5.0}
    assert totals.tally.stages["transcribe"].sum == 6.0, "each attempt for itself"
    assert totals.tally.stages["transcribe"].count == 2


def test_only_a_machine_with_a_gpu_has_idle_time() -> None:
    assert fold([ShardLog(machine="cpu", seconds=10.0)]).device_seconds == {}
    assert fold([ShardLog(machine="gpu", seconds=10.0)]).device_seconds["idle"] == 10.0


def test_attempts_are_counted_with_their_errors() -> None:
    log = ShardLog(
        attempts=[
            attempt("fetch", (0.0, 1.0), audio=2.5),
            attempt("fetch", (1.0, 2.0), audio=2.5, again=True, error="SOURCE_UNAVAILABLE"),
        ]
    )
    totals = Totals()
    totals.add(fold([log]))
    totals.add(fold([log]))
    assert totals.shards == 2
    assert totals.tally.stages["fetch"].count == 4
    assert totals.tally.audio == {"fetch": 10.0}
    assert totals.tally.retries == {"fetch": 2}
    assert totals.tally.errors == {"fetch SOURCE_UNAVAILABLE": 2}


def receipt(store: LocalStore, name: str, batch: str, failure: Failure | None = None) -> None:
    write(
        store,
        Receipt(
            key=f"{name}.wav",
            fingerprint=name * 32,
            status="quarantined" if failure else "done",
            failure=failure,
            duration=None if failure else 4.0,
            batch=batch,
            flags=() if failure else ("no_speech",),
            formats=() if failure else FORMATS,
        ),
    )


def test_a_run_without_a_log_is_counted_from_the_receipts_of_its_batch(store: LocalStore) -> None:
    receipt(store, "a", BATCH)
    receipt(store, "b", "another")
    receipt(store, "c", BATCH, BAD)
    one_more_format = THEIRS.model_copy(update={"formats": ("srt",)})
    shard = Shard(batch=BATCH, number=0, items=(OURS, THEIRS, BROKEN, LEFT, one_more_format))
    totals = fold([log_or_receipts(store, shard, "shard", shard.items)])
    assert totals.ends == {"done": 1, "skipped": 1, "rendered": 1, "quarantined": 1, "deferred": 1}
    assert totals.audio_seconds == 4.0
    assert [one.failure.code for one in totals.failed] == ["EMPTY_FILE", "RUN_LOST"]
    assert totals.tally.flags == {"no_speech": 1}


def test_logs_of_a_shard_are_found_however_its_work_was_split(store: LocalStore) -> None:
    shard = Shard(batch=BATCH, number=0, items=(OURS, BROKEN))
    assert [one.status for log in read_logs(store, shard) for one in log.outcomes] == ["deferred", "deferred"]

    prepared = ShardLog(
        machine="cpu", outcomes=[outcome("a", "prepared", duration=3.5), outcome("c", "quarantined", failure=BAD)]
    )
    write_log(store, shard, "prepare", prepared)
    found, (ready,) = read_prepared(store, shard)
    assert found == prepared
    assert (ready.recording.key, ready.seconds) == ("a.wav", 3.5), "batches use exact lengths"
    transcribed = ShardLog(outcomes=[outcome("a", "done", duration=3.5)])
    write_log(store, shard, "transcribe", transcribed)
    assert read_logs(store, shard) == [prepared, transcribed]

    whole = ShardLog(outcomes=[outcome("a", "done"), outcome("c", "quarantined", failure=BAD)])
    write_log(store, shard, "shard", whole)
    assert read_logs(store, shard) == [whole]
    assert read_log(store, shard, "shard") == whole


times = st.floats(0, 100, allow_nan=False)
intervals = st.lists(st.tuples(times, times).map(lambda pair: (min(pair), max(pair))), max_size=20)


@given(intervals)
def test_a_union_is_disjoint_sorted_and_covers_the_same(given_ones: list[Interval]) -> None:
    found = list(union(given_ones))
    assert all(one[1] < other[0] for one, other in pairwise(found))
    for start, stop in given_ones:
        assert any(begin <= start and stop <= end for begin, end in found)
    assert length(given_ones) <= sum(stop - start for start, stop in given_ones) + 1e-6


@pytest.mark.parametrize("content", [b"[]", b'{"outcomes": 1}', b"\xff", b"{"])
def test_an_unreadable_log_or_manifest_does_not_hide_the_others(content: bytes, store: LocalStore) -> None:
    for number, item in enumerate((OURS, THEIRS, LEFT)):
        shard = Shard(batch=BATCH, number=number, items=(item,))
        shard.write(store)
        write_log(store, shard, "shard", ShardLog(outcomes=[outcome(item.fingerprint[0], "done", duration=4.0)]))
    logs = sorted(info.key for info in store.list(BATCHES) if info.key.endswith(".outcomes.json"))
    store.put_bytes(logs[0], content)
    ours = {"key": OURS.recording.key, "fingerprint": OURS.fingerprint, "batch": BATCH, "duration": 1.0}
    write(store, Receipt.model_validate({**ours, "status": "done"}))
    store.put_bytes(Shard(batch=BATCH, number=1, items=()).manifest, content)
    totals = Totals.total(fold(read_logs(store, shard)) for shard in read_shards(store, BATCH))
    assert totals.ends == {"done": 2}
    assert totals.audio_seconds == 1.0 + 4.0  # the first from its receipt
