"""Quarantined recordings are retried with their original options and source."""

from datetime import UTC, datetime, timedelta
from typing import Any

from stenopool.errors import AccessDenied, ErrorCode, Failure, ObjectNotFound
from stenopool.options import STORED, TranscriptionOptions
from stenopool.pipeline.catalog import list_entries
from stenopool.pipeline.quarantine import Attempt, drop_deleted, list_quarantined, plan_attempts
from stenopool.pipeline.receipts import BATCHES, Receipt, list_receipts, write
from stenopool.pipeline.report import BatchReport
from stenopool.storage import ObjectInfo, ObjectStore
from tests.support.memory import MemoryStore

TINY, SMALL, GREEDY = (
    TranscriptionOptions(**given) for given in ({"model": "tiny"}, {"model": "small"}, {"beam_size": 1})
)
NOW = datetime.now(UTC)


def report(store: MemoryStore, batch: str, options: TranscriptionOptions, source: str = "memory://source") -> None:
    written = BatchReport(
        batch=batch, source=source, destination="", options=options.model_dump(mode="json"), started_at=NOW,
        finished_at=NOW, seconds=1.0, new=1, already_done=0, in_quarantine=0, done=0, quarantined=1, deferred=0,
        audio_seconds=0.0, realtime_factor=0.0, stage_seconds={}, stage_speed={}, failures_by_code={}, failed=[],
    )  # fmt: skip
    store.put_bytes(f"{BATCHES}{batch}/report.json", written.model_dump_json().encode())


class Installation:
    """A source of some recordings, and a destination."""

    def __init__(self, *keys: str) -> None:
        self.source, self.destination = MemoryStore("memory://source"), MemoryStore("memory://destination")
        for key in keys:
            self.source.put_bytes(key, key.encode())

    def quarantine(
        self, key: str, tried: TranscriptionOptions, code: ErrorCode = ErrorCode.NOT_AUDIO, **given: Any
    ) -> None:
        (entry,) = (one for one in list_entries(self.source, self.destination, tried) if one.recording.key == key)
        failure = Failure(code=code, message="m", remedy="r")
        given = {"options": tried.model_dump(mode="json"), **given}
        receipt = Receipt(key=key, fingerprint=entry.fingerprint, status="quarantined", failure=failure, **given)
        write(self.destination, receipt)

    def attempts(self, *codes: ErrorCode, **given: Any) -> list[Attempt]:
        found = list_quarantined(self.destination, codes)
        given = {"source": None, "options": None, **given}
        return plan_attempts(self.destination, found, open_source=lambda _: self.source, **given)


def test_each_recording_is_retried_with_its_own_options() -> None:
    installation = Installation("a.wav", "b.wav", "c.wav", "d.wav")
    installation.quarantine("a.wav", TINY)
    installation.quarantine("b.wav", SMALL)
    installation.quarantine("c.wav", TINY, ErrorCode.TOO_LONG)
    installation.quarantine("d.wav", TINY)
    report(installation.destination, "20261101T000000Z-1", GREEDY)
    assert installation.attempts() == [
        Attempt("memory://source", TINY, ("a.wav", "c.wav", "d.wav")),
        Attempt("memory://source", SMALL, ("b.wav",)),
    ]
    assert installation.attempts(ErrorCode.TOO_LONG) == [Attempt("memory://source", TINY, ("c.wav",))]
    given = installation.attempts(source="s3://other", options=GREEDY)
    assert given == [Attempt("s3://other", GREEDY, ("a.wav", "b.wav", "c.wav", "d.wav"))]


def test_old_receipts_get_the_options_that_match_their_fingerprint() -> None:
    installation = Installation("a.wav", "b.wav", "gone.wav", "c.wav")
    for key, options in (("a.wav", TINY), ("b.wav", SMALL), ("gone.wav", GREEDY), ("c.wav", SMALL)):
        installation.quarantine(key, options, options=None, batch="20261104T000000Z-4" if key == "gone.wav" else None)
    installation.source.delete("gone.wav")
    installation.source.put_bytes("c.wav", b"replaced since then")
    for day, options in enumerate((GREEDY, SMALL, TINY, GREEDY, TINY), 1):
        report(installation.destination, f"2026110{day}T000000Z-{day}", options)
    # No options match a replaced recording: it is new, and gets those of the last batch.
    assert installation.attempts() == [
        Attempt("memory://source", TINY, ("a.wav", "c.wav")),
        Attempt("memory://source", SMALL, ("b.wav",)),
        Attempt("memory://source", GREEDY, ("gone.wav",)),
    ]


def test_each_recording_is_retried_from_the_source_of_its_batch() -> None:
    installation = Installation("a.wav", "b.wav", "c.wav")
    for key, batch in (("a.wav", "20261101T000000Z-1"), ("b.wav", "20261102T000000Z-2"), ("c.wav", "removed")):
        installation.quarantine(key, TINY, batch=batch)
    report(installation.destination, "20261101T000000Z-1", TINY, "block://s3-bucket/calls/in")
    report(installation.destination, "20261102T000000Z-2", TINY, "s3://calls")
    assert {attempt.source: attempt.keys for attempt in installation.attempts()} == {
        "block://s3-bucket/calls/in": ("a.wav",),
        "s3://calls": ("b.wav", "c.wav"),
    }


def test_a_recording_quarantined_twice_is_retried_once_with_the_later_options() -> None:
    installation = Installation("a.wav")
    installation.quarantine("a.wav", TINY, created_at=NOW)
    installation.quarantine("a.wav", SMALL, created_at=NOW - timedelta(days=1))
    assert installation.attempts(source="x") == [Attempt("x", TINY, ("a.wav",))]


def test_options_unknown_to_this_version_are_taken_from_the_report() -> None:
    installation = Installation("a.wav")
    installation.quarantine("a.wav", TINY, options=TINY.model_dump(mode="json") | {"patience": 1})
    report(installation.destination, "20261101T000000Z-1", TINY)
    assert installation.attempts() == [Attempt("memory://source", TINY, ("a.wav",))]


def test_old_options_without_bounds_are_read() -> None:
    installation = Installation("a.wav")
    long = TranscriptionOptions.model_validate({"vocabulary": ["x" * 200] * 600}, context=STORED)
    installation.quarantine("a.wav", long)
    assert installation.attempts(source="x") == [Attempt("x", long, ("a.wav",))]


def test_without_a_batch_the_source_is_unknown() -> None:
    installation = Installation("a.wav")
    installation.quarantine("a.wav", TINY, options=None)
    assert installation.attempts() == []
    assert installation.attempts(source="memory://source") == [
        Attempt("memory://source", TranscriptionOptions(), ("a.wav",))
    ]


def test_deleted_recordings_leave_the_quarantine_and_nothing_else_changes() -> None:
    installation = Installation("a.wav", "deleted.wav", "denied.wav", "x/deleted.wav", "done.wav")
    for key in ("a.wav", "deleted.wav", "denied.wav", "x/deleted.wav"):
        installation.quarantine(key, TINY)
    installation.quarantine("deleted.wav", SMALL)  # and twice before, with other contents and options
    installation.quarantine("deleted.wav", GREEDY)
    write(installation.destination, Receipt(key="deleted.wav", fingerprint="0" * 32, status="done"))
    attempts = installation.attempts(source="memory://source")
    for key in ("deleted.wav", "x/deleted.wav", "done.wav"):
        installation.source.delete(key)

    class Refusing(MemoryStore):
        def head(self, key: str) -> ObjectInfo:
            if key == "denied.wav":
                raise AccessDenied("denied")
            return super().head(key)

    refusing = Refusing()
    refusing.objects = installation.source.objects
    left, gone = drop_deleted(installation.destination, attempts, lambda _: refusing)
    assert sorted(gone) == ["deleted.wav", "x/deleted.wav"]
    assert [attempt.keys for attempt in left] == [("a.wav", "denied.wav")]
    found = [(name.key, name.status) for name in list_receipts(installation.destination)]
    assert found == [("a.wav", "quarantined"), ("deleted.wav", "done"), ("denied.wav", "quarantined")]


def test_an_unreadable_source_deletes_nothing() -> None:
    installation = Installation("a.wav")
    installation.quarantine("a.wav", TINY)
    attempts = installation.attempts(source="memory://source")

    class Unreadable(MemoryStore):
        def list(self, *given: Any, **named: Any) -> Any:
            raise AccessDenied("denied")

    def missing(_: str) -> ObjectStore:
        raise ObjectNotFound("no such bucket")

    for opener in (missing, lambda _: Unreadable()):
        assert drop_deleted(installation.destination, attempts, opener) == (attempts, [])
    assert [name.status for name in list_receipts(installation.destination)] == ["quarantined"]
