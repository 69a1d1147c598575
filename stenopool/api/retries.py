"""Recordings that failed, taken up again with the options that they had."""

import asyncio
from collections.abc import Iterator
from itertools import islice

from stenopool.api.ids import decode
from stenopool.api.problems import Problem
from stenopool.api.queue import entry_of
from stenopool.api.service import Service
from stenopool.options import TranscriptionOptions
from stenopool.pipeline import receipts

_AT_ONCE = 500  # most recordings that one request takes up again


async def retry(house: Service, key: str) -> None:
    """Take up one recording again; nothing happens to one that is done, waits or runs."""
    info = await house.head(key)
    await house.submit(info, await options_of(house, key), again=True)


async def retry_failed(house: Service) -> int:
    """Take up those that are quarantined and those whose run was lost; how many (some hundred at a time)."""
    found = await asyncio.to_thread(lambda: list(islice(_quarantined(house), _AT_ONCE)))
    lost = await house.runs.last(filter(None, map(_key, await house.runs.failed())))
    queue = await house.runs.queue()
    taken_up = 0
    for key in dict.fromkeys([*found, *(key for key, run in lost.items() if entry_of(run).state == "failed")]):
        if queue.of(key):
            continue
        try:
            await retry(house, key)
        except Problem as problem:
            if problem.status_code != 404:  # removed meanwhile
                raise
            continue
        taken_up += 1
    return taken_up


def _quarantined(house: Service) -> Iterator[str]:
    return (name.key for name in receipts.list_receipts(house.destination) if name.status == "quarantined")


def _key(recording: str) -> str | None:
    try:
        return decode(recording)
    except Problem:
        return None


async def options_of(house: Service, key: str) -> TranscriptionOptions:
    """What the recording's last run was asked for; the defaults where Prefect has forgotten."""
    last = (await house.runs.last([key])).get(key)
    return house.options(last.parameters.get("options") if last else None)
