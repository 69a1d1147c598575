"""Retrying quarantined recordings: groups them by source and options."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from functools import cache, partial
from itertools import chain, islice
from typing import Any, NamedTuple

from pydantic import ValidationError

from stenopool.errors import (
    ErrorCode,
    ObjectNotFound,
    RecordingError,
    StenopoolError,
)
from stenopool.options import STORED, TranscriptionOptions
from stenopool.pipeline.catalog import fingerprint
from stenopool.pipeline.receipts import (
    BATCHES,
    Receipt,
    list_receipts,
    read,
    read_model,
    receipt_key,
    receipt_stem,
)
from stenopool.pipeline.report import BatchReport, read_reports
from stenopool.storage.base import ObjectStore

# Number of recent batches whose options are tried for receipts that do not record theirs.
_RECENT = 20


class Attempt(NamedTuple):
    """Recordings of one source to retry with the same options."""

    source: str
    options: TranscriptionOptions
    keys: tuple[str, ...]


def list_quarantined(destination: ObjectStore, codes: Collection[ErrorCode]) -> list[Receipt]:
    """The latest quarantine receipt of each recording, filtered by error code (no codes: all)."""
    last: dict[str, Receipt] = {}
    for name in list_receipts(destination):
        receipt = read(destination, name) if name.status == "quarantined" else None
        if receipt and (name.key not in last or receipt.created_at > last[name.key].created_at):
            last[name.key] = receipt
    return [one for one in last.values() if not codes or (one.failure and one.failure.code in codes)]


def plan_attempts(
    destination: ObjectStore,
    quarantined: Iterable[Receipt],
    source: str | None,
    options: TranscriptionOptions | None,
    open_source: Callable[[str], ObjectStore],
) -> list[Attempt]:
    """Group recordings by source and by the options with which they were quarantined.

    ``source`` and ``options``, if given, apply to all. By default, the source is that of the recording's batch, else
    that of the last batch. Receipts of older versions do not record their options; they get those of the latest batch
    that match their fingerprint. Recordings whose source is unknown are omitted.
    """
    recent = list(islice(read_reports(destination), _RECENT))
    open_once = cache(open_source)
    read_report = cache(lambda batch: read_model(destination, f"{BATCHES}{batch}/report.json", BatchReport))
    groups: defaultdict[tuple[str, TranscriptionOptions], list[str]] = defaultdict(list)
    for receipt in quarantined:
        own = read_report(receipt.batch) if receipt.batch else None
        candidates = [*([own] if own else []), *recent]
        if place := source or next((report.source for report in candidates), None):
            chosen = options or _options_of(receipt, candidates, partial(open_once, place))
            groups[place, chosen].append(receipt.key)
    return [Attempt(place, chosen, tuple(keys)) for (place, chosen), keys in groups.items()]


def drop_deleted(
    destination: ObjectStore, attempts: Iterable[Attempt], open_source: Callable[[str], ObjectStore]
) -> tuple[list[Attempt], list[str]]:
    """End the quarantine of recordings that are no longer in their source.

    Returns the remaining attempts and the deleted recordings' keys. If a source or recording cannot be checked, it is
    kept, and the run reports the error.
    """
    left, gone = list[Attempt](), list[str]()
    for attempt in attempts:
        deleted = _find_deleted(attempt, open_source)
        for key in deleted:
            end_quarantine(destination, key)
        gone += deleted
        if keys := tuple(key for key in attempt.keys if key not in deleted):
            left.append(attempt._replace(keys=keys))
    return left, gone


def end_quarantine(destination: ObjectStore, key: str) -> None:
    """Delete all quarantine receipts of a recording, for any content and options."""
    for name in list(list_receipts(destination, prefix=receipt_stem(key))):
        if name.status == "quarantined":
            destination.delete(receipt_key(key, name.fingerprint, "quarantined"))


def _find_deleted(attempt: Attempt, open_source: Callable[[str], ObjectStore]) -> list[str]:
    found = list[str]()
    with suppress(StenopoolError):
        source = open_source(attempt.source)
        source.check_root()  # a source that is missing as a whole may be a wrong address
        for key in attempt.keys:
            with suppress(StenopoolError):
                if not source.exists(key):
                    found.append(key)
    return found


def _options_of(
    receipt: Receipt, candidates: Iterable[BatchReport], source: Callable[[], ObjectStore]
) -> TranscriptionOptions:
    if stored := next(_usable([receipt.options]), None):
        return stored
    usable = list(_usable(report.options for report in candidates))
    matching: Iterable[TranscriptionOptions] = ()
    with suppress(ObjectNotFound, RecordingError):  # the run reports it
        recording = source().head(receipt.key)
        matching = (options for options in usable if fingerprint(recording, options) == receipt.fingerprint)
    return next(chain(matching, usable), TranscriptionOptions())


def _usable(stored: Iterable[dict[str, Any] | None]) -> Iterator[TranscriptionOptions]:
    """The options that are valid in this version; options of earlier releases may not be."""
    for options in stored:
        with suppress(ValidationError):
            yield TranscriptionOptions.model_validate(options, context=STORED)
