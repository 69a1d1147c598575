"""Quarantined recordings, grouped by what another attempt at them needs: their source and their options."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from functools import cache, partial
from itertools import chain, islice
from typing import NamedTuple

from pydantic import ValidationError

from stenopool.errors import ErrorCode, ObjectNotFound, RecordingError
from stenopool.options import TranscriptionOptions
from stenopool.pipeline.history import read_report, read_reports
from stenopool.pipeline.receipts import Receipt, list_receipts, read_or_skip
from stenopool.pipeline.recordings import Recording, fingerprint
from stenopool.pipeline.report import BatchReport
from stenopool.storage.base import ObjectInfo, ObjectStore

# Batches whose options are tried on receipts that do not say theirs.
_RECENT = 20


class Attempt(NamedTuple):
    """Recordings of one source that are to be tried again with the same options."""

    source: str
    options: TranscriptionOptions
    keys: tuple[str, ...]


def list_quarantined(destination: ObjectStore, codes: Collection[ErrorCode]) -> list[Receipt]:
    """The last quarantine of each recording, if it was for one of these error codes (for any if there are none)."""
    last: dict[str, Receipt] = {}
    for name in list_receipts(destination):
        receipt = read_or_skip(destination, name) if name.status == "quarantined" else None
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
    """Group recordings by their source and the options with which they were quarantined.

    ``source`` and ``options``, where given, hold for all. Else the source is that of the recording's batch, or of the
    last batch; receipts of older versions do not say their options, and get those of the latest batch that explains
    their fingerprint. Returns nothing for recordings whose source nobody knows.
    """
    recent = list(islice(read_reports(destination), _RECENT))
    batches: dict[str | None, BatchReport | None] = {report.batch: report for report in recent} | {None: None}
    open_once = cache(open_source)
    groups: defaultdict[tuple[str, TranscriptionOptions], list[str]] = defaultdict(list)
    for receipt in quarantined:
        if receipt.batch not in batches:
            batches[receipt.batch] = read_report(destination, receipt.batch or "")
        own = batches[receipt.batch]
        candidates = [*([own] if own else []), *recent]
        if place := source or next((report.source for report in candidates), None):
            chosen = options or _options_of(receipt, candidates, partial(open_once, place))
            groups[place, chosen].append(receipt.key)
    return [Attempt(place, chosen, tuple(keys)) for (place, chosen), keys in groups.items()]


def _options_of(
    receipt: Receipt, candidates: Iterable[BatchReport], source: Callable[[], ObjectStore]
) -> TranscriptionOptions:
    if receipt.options is not None:
        with suppress(ValidationError):  # an option that this version does not have
            return TranscriptionOptions.model_validate(receipt.options)
    usable = list(_usable(candidates))
    try:
        recording = _recording(source().head(receipt.key))
    except (ObjectNotFound, RecordingError):  # the run will say so
        matching: Iterable[TranscriptionOptions] = ()
    else:
        matching = (options for options in usable if fingerprint(recording, options) == receipt.fingerprint)
    return next(chain(matching, usable), TranscriptionOptions())


def _usable(reports: Iterable[BatchReport]) -> Iterator[TranscriptionOptions]:
    for report in reports:
        with suppress(ValidationError):
            yield TranscriptionOptions.model_validate(report.options)


def _recording(info: ObjectInfo) -> Recording:
    return Recording(uri="", key=info.key, size=info.size, etag=info.etag, modified=info.modified)
