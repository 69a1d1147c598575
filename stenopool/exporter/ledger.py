"""Sums of all batches of one destination, from the counts that batches write.

Each refresh lists the batches' objects and reads the changed ones; a batch's new counts replace its previous ones. So
the sums depend only on the store and survive restarts. Batches that ended at least a week ago (an hour ago, if there
are more than a thousand) are combined into one object and their own objects deleted, so neither memory nor listings
grow over the years.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, ValidationError

from stenopool.errors import AccessDenied, ObjectNotFound
from stenopool.pipeline.receipts import METRICS
from stenopool.pipeline.report import BatchCounts, Sums
from stenopool.runtime.logs import logger
from stenopool.storage.base import ObjectStore

EARLIER = f"{METRICS}earlier.json"
# Combined counts cannot change any more; a week leaves time to restart a run manually.
_FOLDED_AFTER = timedelta(days=7)
# Each upload through the API is a batch.
_KEPT, _FOLDED_AFTER_IF_MANY = 1000, timedelta(hours=1)
# A shard takes hours at most, and counts are updated after every shard. Used only if the batch's run is unknown.
_LOST_AFTER = timedelta(days=1)


class Earlier(BaseModel):
    """The combined batches up to and including ``through``. ``over_at``: when the last of them ended."""

    through: str = ""
    over_at: datetime | None = None
    sums: Sums = Sums()


class Ledger:
    """The batches of one destination.

    ``is_over``: whether a batch's run has ended, by flow run id; None: unknown. Only one ledger per destination may
    combine batches; any number may read.
    """

    def __init__(self, destination: ObjectStore, is_over: Callable[[str], bool | None] = lambda _: None) -> None:
        self._destination = destination
        self._is_over = is_over
        self._earlier = Earlier()
        self._batches: dict[str, BatchCounts] = {}
        self._etags: dict[str, str] = {}
        self._reads_only = False

    def refresh(self) -> None:
        """Read the store. If this raises, the ledger keeps its previous values."""
        for info in self._destination.list(METRICS):
            if self._etags.get(info.key) == info.etag:
                continue
            try:
                self._read(info.key)
            except (ValidationError, ObjectNotFound) as error:
                # Combined by another exporter in the meantime, or unreadable.
                logger.warning("Skipped %s: %s", info.key, type(error).__name__)
            self._etags[info.key] = info.etag
        self._close_lost()
        self._fold()

    @property
    def sums(self) -> Sums:
        """The sum of all batches, in order of their start."""
        return Sums.total([self._earlier.sums, *(self._batches[name].sums for name in sorted(self._batches))])

    @property
    def running(self) -> int:
        """Number of batches in progress."""
        return sum(batch.status == "running" for batch in self._batches.values())

    @property
    def last_over(self) -> datetime | None:
        """When a batch last ended."""
        over = [batch.updated_at for batch in self._batches.values() if batch.status != "running"]
        return max(over, default=self._earlier.over_at)

    @property
    def last_progress(self) -> datetime | None:
        """When a shard last ended."""
        return max((batch.updated_at for batch in self._batches.values()), default=self._earlier.over_at)

    @property
    def speed(self) -> dict[str, float]:
        """Speed of the last batch that transcribed audio."""
        latest = (self._batches[name].speed for name in sorted(self._batches, reverse=True))
        return next(filter(None, latest), {})

    def _read(self, key: str) -> None:
        data = self._destination.get_bytes(key)
        if key == EARLIER:
            self._earlier = Earlier.model_validate_json(data)
            self._batches = {name: one for name, one in self._batches.items() if name > self._earlier.through}
            return
        counts = BatchCounts.model_validate_json(data)
        if counts.batch > self._earlier.through:
            self._batches[counts.batch] = counts

    def _close_lost(self) -> None:
        now = datetime.now(UTC)
        for name, batch in self._batches.items():
            if batch.status != "running":
                continue
            over = self._is_over(batch.flow_run)
            if not over and (over is not None or now - batch.updated_at < _LOST_AFTER):
                continue
            # It may have ended between the listing and the check.
            self._read(_key(name))
            if self._batches[name].status == "running":
                self._batches[name] = batch.from_receipts(self._destination)
                logger.warning("Batch %s ended without a report; its counts are derived from receipts.", name)
                if not self._reads_only:
                    self._batches[name].write(self._destination)

    def _fold(self) -> None:
        """Combine the oldest batches, up to the first that is recent or in progress."""
        if self._reads_only:
            return
        earlier = self._earlier.model_copy(deep=True)
        surplus = len(self._batches) - _KEPT
        for place, name in enumerate(sorted(self._batches)):
            batch, patience = self._batches[name], _FOLDED_AFTER if place >= surplus else _FOLDED_AFTER_IF_MANY
            if batch.status == "running" or datetime.now(UTC) - batch.updated_at < patience:
                break
            earlier.sums.add(batch.sums)
            earlier.through, earlier.over_at = name, batch.updated_at
        if earlier.through == self._earlier.through:
            return
        try:
            # Written before the others are deleted: if killed in between, the remaining objects are ignored.
            data = earlier.model_dump_json().encode()
            self._destination.put_bytes(EARLIER, data, content_type="application/json")
        except AccessDenied:
            logger.warning("Writing to %s is denied: old batches are not combined.", self._destination.uri)
            self._reads_only = True
            return
        self._earlier = earlier
        for name in [name for name in self._batches if name <= earlier.through]:
            self._destination.delete(_key(name))
            self._etags.pop(_key(name), None)
            del self._batches[name]


def _key(batch: str) -> str:
    return f"{METRICS}{batch}.json"
