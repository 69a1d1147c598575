"""All batches of one destination summed up, from the objects that they wrote about themselves.

Every look lists those objects and reads the ones that changed; what a batch counts replaces what was known of it. So
the sums are the store's, not this process's: they are the same after any restart. Batches that have been over for a
week (of more than a thousand: for an hour) are folded into one object, and theirs go: neither memory nor listings grow
with the years.
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
# What is folded cannot change any more: a week is for runs that somebody starts again by hand.
_FOLDED_AFTER = timedelta(days=7)
# An API's uploads are a batch each.
_KEPT, _FOLDED_AFTER_IF_MANY = 1000, timedelta(hours=1)
# A shard takes hours at most, and every shard is told of. Asked only where nobody knows the batch's run.
_LOST_AFTER = timedelta(days=1)


class Earlier(BaseModel):
    """The batches up to and with ``through``, as one. ``over_at``: when the last of them was over."""

    through: str = ""
    over_at: datetime | None = None
    sums: Sums = Sums()


class Ledger:
    """One destination's batches. ``is_over``: whether a batch's run has ended, by its flow run's id; None: unknown.

    One ledger per destination may fold; any number may read.
    """

    def __init__(self, destination: ObjectStore, is_over: Callable[[str], bool | None] = lambda _: None) -> None:
        self._destination = destination
        self._is_over = is_over
        self._earlier = Earlier()
        self._batches: dict[str, BatchCounts] = {}
        self._etags: dict[str, str] = {}
        self._reads_only = False

    def refresh(self) -> None:
        """Look at the store. What goes wrong is raised, and the ledger says what it said before."""
        for info in self._destination.list(METRICS):
            if self._etags.get(info.key) == info.etag:
                continue
            try:
                self._read(info.key)
            except (ValidationError, ObjectNotFound) as error:
                # Folded by another exporter as we looked, or not ours to read.
                logger.warning("%s is left out: %s", info.key, type(error).__name__)
            self._etags[info.key] = info.etag
        self._close_lost()
        self._fold()

    @property
    def sums(self) -> Sums:
        """All batches, in the order in which they began."""
        return Sums.total([self._earlier.sums, *(self._batches[name].sums for name in sorted(self._batches))])

    @property
    def running(self) -> int:
        """Batches under way."""
        return sum(batch.status == "running" for batch in self._batches.values())

    @property
    def last_over(self) -> datetime | None:
        """When a batch was last over."""
        over = [batch.updated_at for batch in self._batches.values() if batch.status != "running"]
        return max(over, default=self._earlier.over_at)

    @property
    def last_progress(self) -> datetime | None:
        """When a shard was last over."""
        return max((batch.updated_at for batch in self._batches.values()), default=self._earlier.over_at)

    @property
    def speed(self) -> dict[str, float]:
        """That of the last batch which transcribed anything."""
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
            # It may have come to its end between the listing and the question.
            self._read(_key(name))
            if self._batches[name].status == "running":
                self._batches[name] = batch.from_receipts(self._destination)
                logger.warning("Batch %s ended without a report; its receipts say what it did.", name)
                if not self._reads_only:
                    self._batches[name].write(self._destination)

    def _fold(self) -> None:
        """Sum up the oldest batches, up to the first that is recent or under way."""
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
            # Written before the others go: a kill in between leaves objects that nobody counts.
            data = earlier.model_dump_json().encode()
            self._destination.put_bytes(EARLIER, data, content_type="application/json")
        except AccessDenied:
            logger.warning("Nothing may be written at %s: old batches are kept one by one.", self._destination.uri)
            self._reads_only = True
            return
        self._earlier = earlier
        for name in [name for name in self._batches if name <= earlier.through]:
            self._destination.delete(_key(name))
            self._etags.pop(_key(name), None)
            del self._batches[name]


def _key(batch: str) -> str:
    return f"{METRICS}{batch}.json"
