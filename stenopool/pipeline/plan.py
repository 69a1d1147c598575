"""What a run has to do, and what it leaves alone: the catalog's entries counted on their way to the shards."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from sys import maxsize

from stenopool.errors import ErrorCode
from stenopool.options import Format, TranscriptionOptions
from stenopool.pipeline import receipts
from stenopool.pipeline.catalog import CatalogEntry, Selection, list_entries
from stenopool.pipeline.outcomes import FailedRecording
from stenopool.pipeline.receipts import ReceiptName
from stenopool.pipeline.shards import WorkItem, estimate_seconds
from stenopool.pipeline.work_area import WorkArea
from stenopool.runtime.progress import Event, emit
from stenopool.storage.base import ObjectStore


@dataclass
class Plan:
    """Pending items as they are listed, and counts of all that was seen. Complete once `items` is used up."""

    source: ObjectStore
    destination: ObjectStore
    options: TranscriptionOptions
    selection: Selection
    formats: tuple[Format, ...] = ()
    """Formats that finished recordings must have too; what is missing is rendered from the transcript."""
    retry: frozenset[ErrorCode] | None = None
    """Codes whose quarantined recordings are taken up again; None: none; empty: all."""

    clears: bool = False
    """Whether checkpoints and quarantine of finished recordings go: a run killed right after a receipt left them."""

    begun: int = 0
    """Recordings that earlier attempts at the same run took: they count towards ``selection.max_count``."""

    counts: Counter[str] = field(default_factory=Counter)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    unusable: list[FailedRecording] = field(default_factory=list)

    def items(self) -> Iterator[WorkItem]:
        """What has to be done, in the source's order. Ends when ``selection.max_count`` are to be transcribed."""
        if self.begun >= (most := self.selection.max_count or maxsize):
            return
        # Fingerprints in the work area: few, those of runs that are in progress or were cut off.
        checkpoints = self.destination.list(receipts.WORK) if self.clears else ()
        leftovers = {info.key.removeprefix(receipts.WORK)[:32] for info in checkpoints}
        for entry in list_entries(self.source, self.destination, self.options, self.selection, self.formats):
            item = self._item(entry)
            if entry.state != "new" and entry.fingerprint in leftovers and not (item and item.attempts):
                WorkArea(self.destination, entry.fingerprint).remove()
            if entry.outlived and self.clears:
                self.destination.delete(receipts.receipt_key(entry.recording.key, entry.fingerprint, "quarantined"))
            state = "new" if item and not item.formats else entry.state
            self.counts[state] += 1
            self.seconds[state] += estimate_seconds(entry.recording)
            if item:
                if state == "new":
                    emit(Event("planned", item.recording.key, item.seconds))
                yield item
            if self.counts["new"] + self.begun == most:
                return

    def _item(self, entry: CatalogEntry) -> WorkItem | None:
        if entry.state in ("new", "render"):
            return WorkItem.of(entry)
        if entry.failure:
            self.unusable.append(
                FailedRecording(key=entry.recording.key, fingerprint=entry.fingerprint, failure=entry.failure)
            )
            emit(Event("failed", entry.recording.key, 0.0, entry.failure))
        elif entry.state == "quarantined" and self.retry is not None:
            return self._retry(entry)
        return None

    def _retry(self, entry: CatalogEntry) -> WorkItem | None:
        name = ReceiptName(entry.recording.key, entry.fingerprint, "quarantined")
        receipt = receipts.read_or_skip(self.destination, name)
        if receipt is None or (self.retry and receipt.failure and receipt.failure.code not in self.retry):
            return None
        return WorkItem.of(entry, attempts=receipt.attempts)
