"""Housekeeping at a destination: deletes old leftovers of interrupted runs; keeps receipts and transcripts.

Only ``.work/``, ``.batches/`` and ``.api/requests/`` are listed. Listings stream, so memory use does not grow with the
number of objects.
"""

import re
import time
from collections.abc import Iterable, Iterator
from itertools import groupby

from pydantic import BaseModel

from stenopool.pipeline.checkpoints import AUDIO
from stenopool.pipeline.receipts import BATCHES, REQUESTS, REQUESTS_KEPT, WORK
from stenopool.pipeline.report import list_reports
from stenopool.storage.base import ObjectInfo, ObjectStore

_WORK_FOLDER = re.compile(rf"^{re.escape(WORK)}[0-9a-f]{{32}}/(?=[^/]+$)")
_BATCH_FOLDER = re.compile(rf"^{re.escape(BATCHES)}[^/]+/")


class RemovedObjects(BaseModel):
    """Numbers of deleted folders (one per fingerprint or batch), objects and bytes; in a dry run, those to delete."""

    folders: int = 0
    objects: int = 0
    bytes: int = 0


class CleanResult(BaseModel):
    """Result of `remove_leftovers`.

    ``requests``: idempotency keys that the API no longer remembers. ``partial``: unfinished writes and uploads; None in
    a dry run, which cannot count them.
    """

    work: RemovedObjects
    batches: RemovedObjects
    requests: int = 0
    partial: int | None = None


def remove_leftovers(
    destination: ObjectStore,
    *,
    work_older_than: float,
    batches_older_than: float | None = None,
    dry_run: bool = False,
    now: float | None = None,
) -> CleanResult:
    """Delete checkpoints, unfinished writes and, if an age is given, batches older than the given number of seconds.

    A folder is as old as its newest object: a folder with any newer object is kept completely, because a run may be
    using it. If a run resumes from checkpoints that are being deleted, it stops, and the next run starts those
    recordings from the beginning. The last batch with a report is always kept, because `status` and `retry` read it.
    """
    now = time.time() if now is None else now
    work, batches = RemovedObjects(), RemovedObjects()
    for folder in _list_old(destination, WORK, _WORK_FOLDER, now - work_older_than):
        # List again: listings run a page ahead, and a run may have started using the folder. Delete the audio last:
        # after an interruption, a checkpoint without its audio would mislead the next run.
        checkpoints = sorted(destination.list(folder), key=lambda info: info.key.endswith(f"/{AUDIO}"))
        if _newest(checkpoints) < now - work_older_than:
            _remove(destination, checkpoints, work, dry_run=dry_run)
    if batches_older_than is not None:
        kept = next(list_reports(destination), "")
        for folder in _list_old(destination, BATCHES, _BATCH_FOLDER, now - batches_older_than):
            if not kept.startswith(folder):
                _remove(destination, destination.list(folder), batches, dry_run=dry_run)
    requests = 0
    for info in destination.list(REQUESTS):
        if info.modified < now - max(work_older_than, REQUESTS_KEPT.total_seconds()):
            requests += 1
            if not dry_run:
                destination.delete(info.key)
    partial = None if dry_run else destination.sweep_partial(work_older_than)
    return CleanResult(work=work, batches=batches, requests=requests, partial=partial)


def _list_old(destination: ObjectStore, root: str, pattern: re.Pattern[str], before: float) -> Iterator[str]:
    """Folders below ``root`` whose newest object is older than this Unix time."""
    for found, listed in groupby(destination.list(root), lambda info: pattern.findall(info.key)):
        if found and _newest(listed) < before:
            yield from found


def _newest(listed: Iterable[ObjectInfo]) -> float:
    return max((info.modified for info in listed), default=float("inf"))


def _remove(destination: ObjectStore, listed: Iterable[ObjectInfo], removed: RemovedObjects, *, dry_run: bool) -> None:
    removed.folders += 1
    for info in listed:
        if not dry_run:
            destination.delete(info.key)
        removed.objects += 1
        removed.bytes += info.size
