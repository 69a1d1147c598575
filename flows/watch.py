"""`watch`: what a bucket's notifications name is transcribed a minute later, without listing the bucket.

SQS queue ─► notifications ─► keys of recordings below the source ─► one interactive ingest of those without a receipt
      └─► deleted, once each recording that they name is done, quarantined or gone
"""

import asyncio

from prefect import flow, get_run_logger, runtime
from prefect.client.orchestration import get_client

from stenopool.errors import OptionsInvalid
from stenopool.orchestration.arrivals import find_unfinished, read_options, start_ingests
from stenopool.orchestration.blocks.locations import open_stores
from stenopool.orchestration.sqs import (
    Message,
    delete_messages,
    keep_messages,
    keys_below,
    parse_notification,
    receive_messages,
    require_bucket,
)
from stenopool.runtime.startup import start_process

start_process()  # in a worker, this file is where the process becomes ours


def _name() -> str:
    return f"watch {runtime.flow_run.parameters['queue_url'].rpartition('/')[2]}"


@flow(name="watch", flow_run_name=_name, persist_result=False)
async def watch(
    queue_url: str,
    source: str,
    destination: str,
    profile: str | None = None,
    deployment: str = "ingest/interactive",
) -> int:
    """Start an ingest of the recordings that have arrived, and return how many they are.

    A message stays in the queue until its recordings have receipts or are gone. One that is not a bucket notification
    stays for the queue's dead-letter queue to catch. What is lost on the way is found by the next scheduled ingest of
    the prefix: notifications reduce latency, the schedule guarantees that nothing is missed.

    Args:
        queue_url: URL of the SQS queue that the bucket's notifications go to (directly, by SNS or EventBridge).
        source: Where recordings are read, e.g. s3://bucket/prefix; messages about other objects are dropped.
        destination: Where transcripts go; may be below the source.
        profile: Name of a saved Transcription Profile.
        deployment: The deployment of ingest that is started.
    """
    log = get_run_logger()
    stores = await open_stores(source, destination)
    require_bucket(stores[0])
    async with get_client() as client:
        options = await read_options(client, deployment, profile)
        named = list[tuple[Message, set[str]]]()
        for message in await receive_messages(queue_url):
            try:
                named.append((message, keys_below(stores[0], parse_notification(message.body))))
            except OptionsInvalid as error:
                log.warning("message %s: %s", message.id, error.message)
        # Notifications about what a run wrote must not start the next one: what a listing would leave out is not found.
        keys = set[str]().union(*(keys for _, keys in named))
        found = await asyncio.to_thread(find_unfinished, *stores, options, keys)
        for failed in (*found.unreadable, *found.lost):
            log.warning("%s: %s %s", failed.key, failed.failure.code, failed.failure.message)
        parameters = {"source": source, "destination": destination, **({"profile": profile} if profile else {})}
        count = await start_ingests(client, deployment, queue_url, found.new, parameters)
    waits_for = {*found.new, *(failed.key for failed in found.unreadable)}
    safe = [message for message, keys in named if not keys & waits_for]
    await delete_messages(queue_url, safe)
    await keep_messages(queue_url, [message for message, keys in named if keys & waits_for])
    log.info("%d messages, %d of them done; %d new recordings", len(named), len(safe), count)
    return count
