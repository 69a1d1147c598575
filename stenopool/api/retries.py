"""Submits recordings that failed again, with their last options."""

import asyncio
from itertools import islice

from stenopool.api.ids import decode
from stenopool.api.problems import Problem
from stenopool.api.queue_snapshot import entry_of
from stenopool.api.service import Service
from stenopool.options import TranscriptionOptions
from stenopool.pipeline import receipts

_AT_ONCE = 500  # recordings that one request retries at most


async def retry(service: Service, key: str) -> None:
    """Submit one recording again, unless it is done or in the queue."""
    info = await service.head(key)
    await service.submit(info, await options_of(service, key), again=True)


async def retry_failed(service: Service) -> int:
    """Submit quarantined recordings and those whose run was lost; returns how many (some hundred at a time)."""
    named = (name.key for name in receipts.list_receipts(service.destination) if name.status == "quarantined")
    found = await asyncio.to_thread(lambda: list(islice(named, _AT_ONCE)))
    lost = await service.runs.last_runs(filter(None, map(_key, await service.runs.failed_recordings())))
    queue = await service.runs.queue()
    submitted = 0
    for key in dict.fromkeys([*found, *(key for key, run in lost.items() if entry_of(run).state == "failed")]):
        if queue.run_for(key):
            continue
        try:
            await retry(service, key)
        except Problem as problem:
            if problem.status_code != 404:  # removed meanwhile
                raise
            continue
        submitted += 1
    return submitted


def _key(recording: str) -> str | None:
    try:
        return decode(recording)
    except Problem:
        return None


async def options_of(service: Service, key: str) -> TranscriptionOptions:
    """The options of the recording's last run; the defaults if Prefect has none."""
    last = (await service.runs.last_runs([key])).get(key)
    return service.options(last.parameters.get("options") if last else None)
