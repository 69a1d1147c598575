"""What a run of `ingest` has to do, grouped: shards (what one run carries) and batches in them (what one task does)."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from itertools import chain, islice
from math import ceil
from sys import maxsize

from pydantic import BaseModel, ValidationError

from stenopool.errors import ErrorCode, RunLost
from stenopool.options import Format, TranscriptionOptions
from stenopool.pipeline import receipts
from stenopool.pipeline.catalog import CatalogEntry, Recording, Selection, list_entries, relative_key
from stenopool.pipeline.checkpoints import WorkArea
from stenopool.pipeline.outcomes import FailedRecording, Outcome, ShardLog
from stenopool.runtime.logs import Event, emit, logger
from stenopool.settings import BatchSettings
from stenopool.storage.base import ObjectStore

# Bytes of a second of speech as it is usually stored, by extension; for plans and sizes of shards, not for results.
_BYTES_PER_SECOND = {
    **dict.fromkeys(("wav", "aiff", "aif", "caf", "w64"), 48_000),
    **dict.fromkeys(("flac", "alac"), 25_000),
    **dict.fromkeys(("opus", "ogg", "oga", "spx", "amr"), 4_000),
    **dict.fromkeys(("mp4", "mov", "mkv", "webm", "avi"), 150_000),
}
_BYTES_PER_SECOND_ELSE = 12_000
_MOST_NAMED = 10  # in one line of the log


def estimate_seconds(recording: Recording) -> float:
    """How long a recording may last, told from its size and extension; no file is touched."""
    extension = recording.key.rpartition("/")[2].rpartition(".")[2].lower()
    return recording.size / _BYTES_PER_SECOND.get(extension, _BYTES_PER_SECOND_ELSE)


class WorkItem(BaseModel, frozen=True):
    """One item of work: a recording, the fingerprint that names it, its estimated length, tries so far.

    ``formats``: its transcript is there, and only these are to be rendered from it; empty: all is to be done.
    ``superseded``: other fingerprints of the recording, whose receipts end when its files are overwritten.
    """

    recording: Recording
    fingerprint: str
    seconds: float
    attempts: int = 0
    formats: tuple[Format, ...] = ()
    superseded: tuple[str, ...] = ()

    @classmethod
    def of(cls, entry: CatalogEntry, attempts: int = 0) -> "WorkItem":
        return cls(
            recording=entry.recording,
            fingerprint=entry.fingerprint,
            # Rendering takes no time that counts: a shard of it may hold many.
            seconds=0.0 if entry.missing else estimate_seconds(entry.recording),
            attempts=attempts,
            formats=entry.missing,
            superseded=entry.superseded,
        )


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
    waited: frozenset[str] = frozenset()
    """Fingerprints that come last: they could not be done the last time, and must not take every run's
    ``selection.max_count`` for themselves."""
    begun: int = 0
    """Recordings that earlier attempts at the same run took: they count towards ``selection.max_count``."""
    counts: Counter[str] = field(default_factory=Counter)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    unusable: list[FailedRecording] = field(default_factory=list)
    archived: Counter[str] = field(default_factory=Counter)
    """Recordings that have to be restored first, by storage class."""

    def items(self) -> Iterator[WorkItem]:
        """What has to be done, in the source's order. Ends when ``selection.max_count`` are to be transcribed."""
        if self.begun >= (most := self.selection.max_count or maxsize):
            return
        # Fingerprints in the work area: few, those of runs that are in progress or were cut off.
        checkpoints = self.destination.list(receipts.WORK) if self.clears else ()
        leftovers = {info.key.removeprefix(receipts.WORK)[:32] for info in checkpoints}
        entries = list_entries(self.source, self.destination, self.options, self.selection, self.formats)
        named = {relative_key(self.source, name) for name in self.selection.only}
        for entry in self._in_turn(entries):
            item = self._item(entry)
            named.discard(entry.recording.key)
            if (
                entry.state not in ("new", "waiting")
                and entry.fingerprint in leftovers
                and not (item and item.attempts)
            ):
                WorkArea(self.destination, entry.fingerprint).remove()
            if entry.outlived and self.clears:
                self.destination.delete(receipts.receipt_key(entry.recording.key, entry.fingerprint, "quarantined"))
            state = "new" if item and not item.formats else entry.state
            self.counts[state] += 1
            self.archived.update([entry.archived] if entry.archived else ())
            self.seconds[state] += estimate_seconds(entry.recording)
            if item:
                if state == "new":
                    emit(Event("planned", item.recording.key, item.seconds))
                yield item
            if self.counts["new"] + self.begun == most:
                return
        if named:
            some = ", ".join(map(repr, sorted(named)[:_MOST_NAMED])) + (", ..." if len(named) > _MOST_NAMED else "")
            logger.warning("%d of the named recordings are left out, as a listing would: %s", len(named), some)

    def _in_turn(self, entries: Iterable[CatalogEntry]) -> Iterator[CatalogEntry]:
        last = list[CatalogEntry]()
        for entry in entries:
            if entry.fingerprint in self.waited:
                last.append(entry)
            else:
                yield entry
        yield from last

    def _item(self, entry: CatalogEntry) -> WorkItem | None:
        if entry.state in ("new", "render"):
            return WorkItem.of(entry)
        if entry.failure:
            self.unusable.append(
                FailedRecording(key=entry.recording.key, fingerprint=entry.fingerprint, failure=entry.failure)
            )
            emit(Event("failed", entry.recording.key, 0.0, entry.failure))
        elif entry.state == "quarantined" and self.retry is not None:
            name = receipts.ReceiptName(entry.recording.key, entry.fingerprint, "quarantined")
            receipt = receipts.read(self.destination, name)
            if receipt and not (self.retry and receipt.failure and receipt.failure.code not in self.retry):
                return WorkItem.of(entry, attempts=receipt.attempts)
        return None


class Shard(BaseModel, frozen=True):
    """The recordings that one run carries, as a manifest in the destination: a line per item."""

    batch: str
    number: int
    items: tuple[WorkItem, ...]

    @property
    def name(self) -> str:
        return f"{self.number:05d}"

    @property
    def new(self) -> list[WorkItem]:
        """The items that are to be transcribed."""
        return [item for item in self.items if not item.formats]

    @property
    def finished(self) -> list[WorkItem]:
        """The items whose transcripts are there, and lack formats."""
        return [item for item in self.items if item.formats]

    @property
    def manifest(self) -> str:
        """Key of the manifest."""
        return f"{receipts.BATCHES}{self.batch}/shards/{self.name}.jsonl"

    def write(self, destination: ObjectStore) -> None:
        lines = "".join(item.model_dump_json() + "\n" for item in self.items)
        destination.put_bytes(self.manifest, lines.encode(), content_type="application/jsonl")

    @classmethod
    def read(cls, destination: ObjectStore, batch: str, number: int) -> "Shard":
        shard = cls(batch=batch, number=number, items=())
        lines = destination.get_bytes(shard.manifest).splitlines()
        return shard.model_copy(update={"items": tuple(WorkItem.model_validate_json(line) for line in lines)})


def read_shards(destination: ObjectStore, batch: str) -> Iterator[Shard]:
    """Shards of a batch whose manifests are there: those that an earlier attempt at the same run has begun.

    A manifest that cannot be read is skipped with a warning: what it named is pending still, or has its receipts.
    """
    folder = f"{receipts.BATCHES}{batch}/shards/"
    for info in destination.list(folder):
        number, _, kind = info.key.removeprefix(folder).partition(".")
        if kind == "jsonl":
            try:
                yield Shard.read(destination, batch, int(number))
            except ValidationError as error:
                receipts.warn_skipped(destination, info.key, error)


def split_into_shards(
    items: Iterable[WorkItem], batch: str, settings: BatchSettings, first: int = 0
) -> Iterator[Shard]:
    """Shards of about equal length, a few at a time as the items come, so that work starts while listing goes on.

    They are numbered from ``first``.
    As many items as fill ``balanced_shards`` are gathered, then dealt out longest first, each to the shortest shard
    (Graham's LPT rule). A shard is longer than ``shard_seconds`` by one recording at most.
    """
    dealt = chain.from_iterable(_deal(gathered, settings) for gathered in _gather(items, settings))
    for number, hand in enumerate(dealt, first):
        yield Shard(batch=batch, number=number, items=hand)


def _gather(items: Iterable[WorkItem], settings: BatchSettings) -> Iterator[list[WorkItem]]:
    gathered, seconds = list[WorkItem](), 0.0
    for item in items:
        gathered.append(item)
        seconds += item.seconds
        if (
            seconds >= settings.shard_seconds * settings.balanced_shards
            or len(gathered) >= settings.shard_recordings * settings.balanced_shards
        ):
            yield gathered
            gathered, seconds = [], 0.0
    yield gathered


def _deal(items: Sequence[WorkItem], settings: BatchSettings) -> list[tuple[WorkItem, ...]]:
    seconds = sum(item.seconds for item in items)
    count = max(ceil(seconds / settings.shard_seconds), ceil(len(items) / settings.shard_recordings))
    hands: list[list[WorkItem]] = [[] for _ in range(min(count, len(items)))]
    # Shortest first; of equally short ones the one with fewest items, so that empty files are spread too.
    shortest = [(0.0, 0, n) for n in range(len(hands))]
    for item in sorted(items, key=lambda item: -item.seconds):
        length, size, n = heappop(shortest)
        hands[n].append(item)
        if size + 1 < settings.shard_recordings:
            heappush(shortest, (length + item.seconds, size + 1, n))
    return [tuple(hand) for hand in hands]


def batches(items: Sequence[WorkItem], settings: BatchSettings) -> Iterator[tuple[WorkItem, ...]]:
    """What one task carries: one long recording or many short ones, longest first."""
    waiting = sorted(items, key=lambda item: -item.seconds)
    while waiting:
        size, seconds = 0, 0.0
        for item in islice(waiting, settings.batch_recordings):
            if size and seconds + item.seconds > settings.batch_seconds:
                break
            size += 1
            seconds += item.seconds
        yield tuple(waiting[:size])
        waiting = waiting[size:]


# -- what was done for a shard ----------------------------------------------------------------------------------------


def write_log(destination: ObjectStore, shard: Shard, flow: str, log: ShardLog) -> None:
    """Store what a run of this flow over the shard did."""
    destination.put_bytes(_log_key(shard, flow), log.model_dump_json().encode(), content_type="application/json")


def read_log(destination: ObjectStore, shard: Shard, flow: str) -> ShardLog | None:
    """What a run of this flow over the shard did; None if it has not ended, or left nothing that can be read."""
    return receipts.read_model(destination, _log_key(shard, flow), ShardLog)


def log_or_receipts(destination: ObjectStore, shard: Shard, flow: str, items: Sequence[WorkItem]) -> ShardLog:
    """What a run of this flow over these items did; what receipts say, if it was killed or its machine went away."""
    if log := read_log(destination, shard, flow):
        return log
    return ShardLog(outcomes=[_outcome_by_receipt(destination, shard.batch, item) for item in items])


def read_logs(destination: ObjectStore, shard: Shard) -> list[ShardLog]:
    """What was done for a shard, by one run of `shard` or one each of `prepare` and `transcribe`."""
    if whole := read_log(destination, shard, "shard"):
        return [whole]
    prepared, ready = read_prepared(destination, shard)
    return [prepared, log_or_receipts(destination, shard, "transcribe", ready)] if ready else [prepared]


def read_prepared(destination: ObjectStore, shard: Shard) -> tuple[ShardLog, list[WorkItem]]:
    """What `prepare` did for a shard, and the items whose audio it has stored, with their exact length."""
    prepared = log_or_receipts(destination, shard, "prepare", shard.items)
    seconds = {outcome.fingerprint: outcome.duration for outcome in prepared.outcomes if outcome.status == "prepared"}
    ready = [item for item in shard.items if item.fingerprint in seconds]
    return prepared, [item.model_copy(update={"seconds": seconds[item.fingerprint] or 0.0}) for item in ready]


def _outcome_by_receipt(destination: ObjectStore, batch: str, item: WorkItem) -> Outcome:
    told = partial(Outcome, key=item.recording.key, fingerprint=item.fingerprint)
    ends = {name.status: name for name in receipts.find_receipts(destination, item.recording.key, item.fingerprint)}
    failure = RunLost("The run that carried it ended without a result.").failure()
    if item.formats:
        if "done" in ends and set(item.formats) <= ends["done"].formats:
            return told(status="rendered")
    elif "done" in ends:
        receipt = receipts.read(destination, ends["done"])
        if receipt is None or receipt.batch != batch:
            return told(status="skipped")
        return told(status="done", duration=receipt.duration, flags=receipt.flags)
    elif "quarantined" in ends and not item.attempts:
        receipt = receipts.read(destination, ends["quarantined"])
        failure = (receipt and receipt.failure) or failure
    return told(status="deferred" if failure.code.retryable else "quarantined", failure=failure)


def _log_key(shard: Shard, flow: str) -> str:
    return f"{receipts.BATCHES}{shard.batch}/shards/{shard.name}.{flow}.outcomes.json"
