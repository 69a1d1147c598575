"""Checks before any work: whether the source exists, and whether the destination supports what a run does.

Otherwise a run might transcribe for hours before its first failed write, or report success for a misspelled source.
"""

from itertools import islice
from uuid import uuid4

from stenopool.errors import LocationInvalid, SetupError, StenopoolError
from stenopool.pipeline.catalog import Selection, selects_nothing
from stenopool.pipeline.receipts import BATCHES, work_key
from stenopool.pipeline.report import read_reports
from stenopool.storage.base import ObjectInfo, ObjectStore, Walk

_RECENT = 20  # number of batches to search for the source
_SOME_OUTPUT = ("audio.", "transcript.")


def check_stores(source: ObjectStore, destination: ObjectStore, selection: Selection) -> None:
    """Checks at the start of `ingest`. Raises the same errors as `check_source` and `check_destination`.

    Requests for individual recordings are urgent: for these the source is not listed, and the destination is checked
    only before its first batch. A run that selects nothing writes nothing here either: see `selects_nothing`.
    """
    if selects_nothing(source, destination, selection):
        return
    if not selection.only:
        check_source(source, destination, selection)
    existing = list[ObjectInfo]()
    if selection.only:
        destination.attempt(lambda store: existing.extend(islice(store.list(BATCHES, page_size=1), 1)))
    if not existing:
        check_destination(destination)


def check_source(source: ObjectStore, destination: ObjectStore, selection: Selection) -> None:
    """Raise `ObjectNotFound`, with suggestions, if the source or the selected prefix does not exist.

    S3 has no empty folders, so a source that was read before is accepted even if it is empty now.
    """
    walk = Walk(selection.enters)
    first = next(source.list(selection.prefix, page_size=1, walk=walk), None)
    if walk.unreadable or (first and not first.key.startswith(_SOME_OUTPUT)):
        return
    absence = source.find_absence(selection.prefix)
    if absence and not (selection.prefix == "" and _was_read(source, destination)):
        raise absence


def check_destination(destination: ObjectStore) -> None:
    """Write, read, list, overwrite and delete an object, as a run does.

    Raises the store's errors, or `LocationInvalid` if an operation is not supported; the remedy names a setting if one
    helps.
    """
    key = work_key(uuid4().hex, "probe")  # `clean` deletes it if the process is killed before the end
    folder = key.rpartition("/")[0]
    try:
        _write_first(destination, key)
        if destination.put_bytes(key, b"2", if_absent=True):
            raise LocationInvalid(
                f"{destination.uri} ignores conditional writes (If-None-Match) and overwrites objects.",
                remedy="Use a store that supports them, or set STENOPOOL_STORAGE__CONDITIONAL_WRITES=false; then"
                " concurrent runs may transcribe a recording twice.",
            )
        try:
            destination.attempt(lambda store: store.put_bytes(key, b"3"))
        except SetupError as error:
            raise LocationInvalid(
                f"{destination.uri} accepts new objects but does not allow overwriting them. {error.message}",
                remedy="Allow overwriting. Write-once storage cannot be used; Object Lock in a versioned bucket can.",
            ) from error
        if destination.get_bytes(key) != b"3" or [info.key for info in destination.list(f"{folder}/")] != [key]:
            raise LocationInvalid(
                f"{destination.uri} does not return or list an object that was just written.",
                remedy="Use a store with read-after-write consistency; proxies and caches must not cache responses.",
            )
    except BaseException:
        _delete(destination, key)
        raise
    if (refusal := _delete(destination, key)) or destination.exists(key):
        raise LocationInvalid(
            f"{destination.uri} does not delete objects. {refusal.message if refusal else ''}".rstrip(),
            remedy="Allow s3:DeleteObject: checkpoints must be deleted.",
        )


def _write_first(destination: ObjectStore, key: str) -> None:
    def put(store: ObjectStore) -> None:
        store.put_bytes(key, b"1", if_absent=True)
        if store is not destination:  # a trial with other settings, which deletion may require
            store.delete(key)

    try:
        destination.attempt(put)
    except SetupError as error:
        if destination.uri.startswith("file:") and _takes(destination, key):
            raise LocationInvalid(
                f"{destination.uri} is on a file system without hard links, which receipts need.",
                remedy="Use another file system (not FAT, exFAT or some network shares), or S3.",
            ) from error
        raise


def _takes(destination: ObjectStore, key: str) -> bool:
    try:
        return destination.put_bytes(key, b"1")
    except StenopoolError:
        return False


def _delete(destination: ObjectStore, key: str) -> StenopoolError | None:
    try:
        destination.delete(key)
    except StenopoolError as error:
        return error
    return None


def _was_read(source: ObjectStore, destination: ObjectStore) -> bool:
    return any(
        report.source == source.address and report.new + report.already_done + report.in_quarantine > 0
        for report in islice(read_reports(destination), _RECENT)
    )
