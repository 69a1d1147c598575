"""Removes a recording with everything that was made from it."""

import asyncio

from stenopool.api.problems import Problem
from stenopool.api.retries import options_of
from stenopool.api.service import Service
from stenopool.pipeline import receipts
from stenopool.pipeline.receipts import WORK
from stenopool.pipeline.speaker_names import names_key


async def remove(service: Service, key: str) -> None:
    """Remove the recording, its transcripts, receipts and checkpoints. If interrupted, it can be repeated.

    The problem 404 if it does not exist, 409 while it is transcribed: the worker would write again what was removed.
    """
    info = await service.head(key)
    service.runs.forget_queue()
    queue = await service.runs.queue()
    active, others = queue.run_for(key), queue.run_covering(key)
    if busy := next((entry for entry in (active, others) if entry and entry.state == "running"), None):
        raise Problem(
            409, "RECORDING_BUSY", "The recording is being transcribed.", f"DELETE /v1/queue/{busy.id}, then again."
        )
    if active:
        await service.runs.cancel(active.id)
    # A run that failed or was cancelled left checkpoints, and no receipt that names them.
    works = {service.fingerprint(info, await options_of(service, key))}
    await asyncio.to_thread(_remove, service, key, works)


def _remove(service: Service, key: str, works: set[str]) -> None:
    named = [info.key for info in service.destination.list(receipts.receipt_stem(key))]
    works |= {name.fingerprint for name in map(receipts.parse_receipt_key, named) if name}
    for prefix in (f"{key}/transcript.", f"{key}/audio.", names_key(key)):
        for info in list(service.destination.list(prefix)):
            # Below "a/" there may be files made from "a/b".
            if "/" not in info.key[len(prefix) :]:
                service.destination.delete(info.key)
    for work in works:
        for info in list(service.destination.list(f"{WORK}{work}/")):
            service.destination.delete(info.key)
    for receipt in named:
        service.destination.delete(receipt)
    # Last, because a repeated request looks for it.
    service.source.delete(key)
