"""The last batches of a destination, newest first, without listing all that there ever were.

A batch's id begins with the time at which it started, so a listing can begin at any moment of the past. Each look goes
ten times further back than the one before, so little is listed twice, and nothing much older than what is needed.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from stenopool.pipeline.reading import read_model
from stenopool.pipeline.receipts import BATCHES
from stenopool.pipeline.report import BatchReport
from stenopool.storage.base import ObjectStore

_FIRST_LOOK, _LAST_LOOK = timedelta(minutes=10), timedelta(days=6940)


def list_reports(destination: ObjectStore) -> Iterator[str]:
    """The keys of all batches' ``report.json``, newest batch first; batches without one are left out."""
    now, look, end = datetime.now(UTC), _FIRST_LOOK, "\U0010ffff"
    while end:
        # Ids that are no times, of other programs, come with the last look.
        begin = f"{BATCHES}{now - look:%Y%m%dT%H%M%SZ}" if look < _LAST_LOOK else ""
        listed = destination.list(BATCHES, start_after=begin)
        yield from sorted((i.key for i in listed if i.key.endswith("/report.json") and i.key <= end), reverse=True)
        end, look = begin, look * 10


def read_reports(destination: ObjectStore) -> Iterator[BatchReport]:
    """The reports of all batches, newest first, one in memory. One that cannot be read is skipped with a warning."""
    reports = (read_model(destination, key, BatchReport) for key in list_reports(destination))
    return filter(None, reports)


def read_report(destination: ObjectStore, batch: str) -> BatchReport | None:
    """A batch's report; None if there is none, or (with a warning) none that can be read."""
    return read_model(destination, f"{BATCHES}{batch}/report.json", BatchReport)
