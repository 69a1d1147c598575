"""A recording removed with all that was made of it."""

import asyncio

from stenopool.api.problems import Problem
from stenopool.api.retries import options_of
from stenopool.api.service import Service
from stenopool.pipeline import receipts
from stenopool.pipeline.receipts import WORK
from stenopool.pipeline.speaker_names import names_key


async def remove(house: Service, key: str) -> None:
    """Remove the recording, its transcripts, receipts and checkpoints. Interrupted, it can be done again.

    The problem 404 if it is not there, 409 while a worker is on it: that would write what was just removed.
    """
    info = await house.head(key)
    house.runs.look_again()
    queue = await house.runs.queue()
    active, others = queue.of(key), queue.covering(key)
    if busy := next((entry for entry in (active, others) if entry and entry.state == "running"), None):
        raise Problem(
            409, "RECORDING_BUSY", "The recording is being transcribed.", f"DELETE /v1/queue/{busy.id}, then again."
        )
    if active:
        await house.runs.cancel(active.id)
    # A run that failed or was cancelled left checkpoints, and no receipt that names them.
    works = {house.fingerprint(info, await options_of(house, key))}
    await asyncio.to_thread(_remove, house, key, works)


def _remove(house: Service, key: str, works: set[str]) -> None:
    named = [info.key for info in house.destination.list(receipts.receipt_stem(key))]
    works |= {name.fingerprint for name in map(receipts.parse_receipt_key, named) if name}
    for prefix in (f"{key}/transcript.", f"{key}/audio.", names_key(key)):
        for info in list(house.destination.list(prefix)):
            # Below "a/" there may lie what was made of "a/b".
            if "/" not in info.key[len(prefix) :]:
                house.destination.delete(info.key)
    for work in works:
        for info in list(house.destination.list(f"{WORK}{work}/")):
            house.destination.delete(info.key)
    for receipt in named:
        house.destination.delete(receipt)
    # Last, because it is what the recording is found by.
    house.source.delete(key)
