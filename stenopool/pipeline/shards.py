"""The work of a run of `ingest`, divided into shards (one per run) and batches of items (one per task)."""

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

# Typical bytes per second of stored speech, by extension; used only for plans and shard sizes.
_BYTES_PER_SECOND = {
    **dict.fromkeys(("wav", "aiff", "aif", "caf", "w64"), 48_000),
    **dict.fromkeys(("flac", "alac"), 25_000),
    **dict.fromkeys(("opus", "ogg", "oga", "spx", "amr"), 4_000),
    **dict.fromkeys(("mp4", "mov", "mkv", "webm", "avi"), 150_000),
}
_BYTES_PER_SECOND_ELSE = 12_000
_MOST_NAMED = 10  # in a line of the log


def estimate_seconds(recording: Recording) -> float:
    """Estimate a recording's duration from its size and extension, without reading it."""
    extension = recording.key.rpartition("/")[2].rpartition(".")[2].lower()
    return recording.size / _BYTES_PER_SECOND.get(extension, _BYTES_PER_SECOND_ELSE)


class WorkItem(BaseModel, frozen=True):
    """A work item: a recording, its fingerprint, its estimated duration and the number of previous attempts.

    ``formats``: formats to render from the existing transcript; empty: transcribe the recording.
    ``superseded``: other fingerprints of the recording, whose receipts are deleted when its files are overwritten.
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
            # Rendering takes negligible time, so a shard may contain many of these.
            seconds=0.0 if entry.missing else estimate_seconds(entry.recording),
            attempts=attempts,
            formats=entry.missing,
            superseded=entry.superseded,
        )


@dataclass
class Plan:
    """Pending items as they are listed, and counts of all recordings seen. Complete when `items` is exhausted."""

    source: ObjectStore
    destination: ObjectStore
    options: TranscriptionOptions
    selection: Selection
    formats: tuple[Format, ...] = ()
    """Formats that finished recordings must have; missing ones are rendered from the transcript."""
    retry: frozenset[ErrorCode] | None = None
    """Error codes whose quarantined recordings are retried; None: none; empty: all."""
    clears: bool = False
    """Whether to delete leftover checkpoints and quarantine receipts of finished recordings (of runs killed after
    writing a receipt).
    """
    waited: frozenset[str] = frozenset()
    """Fingerprints to process last: they failed in the last run, and must not use up ``selection.max_count`` in every
    run.
    """
    already_started: int = 0
    """Recordings started by earlier attempts at the same run; they count towards ``selection.max_count``."""
    counts: Counter[str] = field(default_factory=Counter)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    unusable: list[FailedRecording] = field(default_factory=list)
    archived: Counter[str] = field(default_factory=Counter)
    """Recordings that must be restored first, by storage class."""

    def items(self) -> Iterator[WorkItem]:
        """The work items, in the source's order. Ends after ``selection.max_count`` recordings to transcribe."""
        if self.already_started >= (most := self.selection.max_count or maxsize):
            return
        # Fingerprints in the work area: few, of runs that are in progress or were interrupted.
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
            if self.counts["new"] + self.already_started == most:
                return
        if named:
            some = ", ".join(map(repr, sorted(named)[:_MOST_NAMED])) + (", ..." if len(named) > _MOST_NAMED else "")
            logger.warning(
                "Skipped %d of the given recordings, because a listing would not select them: %s", len(named), some
            )

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
    """The work items of one run, stored as a manifest at the destination: a line per item."""

    batch: str
    number: int
    items: tuple[WorkItem, ...]

    @property
    def name(self) -> str:
        return f"{self.number:05d}"

    @property
    def new(self) -> list[WorkItem]:
        """The items to transcribe."""
        return [item for item in self.items if not item.formats]

    @property
    def finished(self) -> list[WorkItem]:
        """The items whose transcripts exist but lack formats."""
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
    """The shards of a batch that have a manifest: those started by an earlier attempt at the same run.

    An unreadable manifest is skipped with a warning: its recordings are still pending, or have receipts.
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
    """Split items into shards of about equal duration, a few at a time, so that work starts while listing continues.

    ``first``: number of the first shard.

    Items are collected until they fill ``balanced_shards``, then assigned longest first, each to the shortest shard
    (Graham's LPT rule). A shard exceeds ``shard_seconds`` by one recording at most.
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
    # Shortest shard first, then the one with the fewest items, so that empty files are distributed too.
    shortest = [(0.0, 0, n) for n in range(len(hands))]
    for item in sorted(items, key=lambda item: -item.seconds):
        length, size, n = heappop(shortest)
        hands[n].append(item)
        if size + 1 < settings.shard_recordings:
            heappush(shortest, (length + item.seconds, size + 1, n))
    return [tuple(hand) for hand in hands]


def batches(items: Sequence[WorkItem], settings: BatchSettings) -> Iterator[tuple[WorkItem, ...]]:
    """Split items into batches, one per task: one long recording or many short ones, longest first."""
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


# -- logs of a shard's runs -------------------------------------------------------------------------------------------


def write_log(destination: ObjectStore, shard: Shard, flow: str, log: ShardLog) -> None:
    """Store the log of this flow's run over the shard."""
    destination.put_bytes(_log_key(shard, flow), log.model_dump_json().encode(), content_type="application/json")


def read_log(destination: ObjectStore, shard: Shard, flow: str) -> ShardLog | None:
    """The log of this flow's run over the shard; None if the run has not ended or the log cannot be read."""
    return receipts.read_model(destination, _log_key(shard, flow), ShardLog)


def log_or_receipts(destination: ObjectStore, shard: Shard, flow: str, items: Sequence[WorkItem]) -> ShardLog:
    """The log of this flow's run over these items, or one derived from receipts if the run was killed."""
    if log := read_log(destination, shard, flow):
        return log
    return ShardLog(outcomes=[_outcome_by_receipt(destination, shard.batch, item) for item in items])


def read_logs(destination: ObjectStore, shard: Shard) -> list[ShardLog]:
    """A shard's logs: of one run of `shard`, or of one run each of `prepare` and `transcribe`."""
    if whole := read_log(destination, shard, "shard"):
        return [whole]
    prepared, ready = read_prepared(destination, shard)
    return [prepared, log_or_receipts(destination, shard, "transcribe", ready)] if ready else [prepared]


def read_prepared(destination: ObjectStore, shard: Shard) -> tuple[ShardLog, list[WorkItem]]:
    """The log of `prepare` for a shard, and the items whose audio it stored, with their exact durations."""
    prepared = log_or_receipts(destination, shard, "prepare", shard.items)
    seconds = {outcome.fingerprint: outcome.duration for outcome in prepared.outcomes if outcome.status == "prepared"}
    ready = [item for item in shard.items if item.fingerprint in seconds]
    return prepared, [item.model_copy(update={"seconds": seconds[item.fingerprint] or 0.0}) for item in ready]


def _outcome_by_receipt(destination: ObjectStore, batch: str, item: WorkItem) -> Outcome:
    outcome = partial(Outcome, key=item.recording.key, fingerprint=item.fingerprint)
    ends = {name.status: name for name in receipts.find_receipts(destination, item.recording.key, item.fingerprint)}
    failure = RunLost("Its run ended without a result.").failure()
    if item.formats:
        if "done" in ends and set(item.formats) <= ends["done"].formats:
            return outcome(status="rendered")
    elif "done" in ends:
        receipt = receipts.read(destination, ends["done"])
        if receipt is None or receipt.batch != batch:
            return outcome(status="skipped")
        return outcome(status="done", duration=receipt.duration, flags=receipt.flags)
    elif "quarantined" in ends and not item.attempts:
        receipt = receipts.read(destination, ends["quarantined"])
        failure = (receipt and receipt.failure) or failure
    return outcome(status="deferred" if failure.code.retryable else "quarantined", failure=failure)


def _log_key(shard: Shard, flow: str) -> str:
    return f"{receipts.BATCHES}{shard.batch}/shards/{shard.name}.{flow}.outcomes.json"
