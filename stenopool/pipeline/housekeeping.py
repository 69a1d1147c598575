"""Housekeeping at a destination: what interrupted runs left behind goes, by age. Receipts and transcripts stay.

Nothing outside ``.work/``, ``.batches/`` and ``.api/requests/`` is listed, and listings stream: memory does not grow
with what there is.
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
    """What was removed, or in a dry run would be: folders (of one fingerprint or batch), and what was in them."""

    folders: int = 0
    objects: int = 0
    bytes: int = 0


class CleanResult(BaseModel):
    """What `remove_leftovers` did. ``partial``: unfinished writes and uploads; None in a dry run, which cannot tell.

    ``requests``: idempotency keys that the API no longer remembers.
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
    """Remove checkpoints, unfinished writes and, where an age is given, batches that are older than these seconds.

    A folder is as old as its newest object: one with any younger object is left wholly alone, since a run may be on
    it. A run that takes up checkpoints of that age at this very moment misses them and stops; the next one begins
    those recordings anew. The last batch with a report is kept whatever its age: `status` and `retry` read it.
    """
    now = time.time() if now is None else now
    work, batches = RemovedObjects(), RemovedObjects()
    for folder in _list_old(destination, WORK, _WORK_FOLDER, now - work_older_than):
        # Listed again: listings run a page ahead, and a run may have come to it meanwhile. Audio last: a checkpoint
        # without the audio that it speaks of would mislead the next run, if we are interrupted.
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
    """The folders below ``root`` that were last written to before this Unix time."""
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
