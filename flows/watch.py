"""`watch`: transcribes recordings a minute after a bucket notification, without listing the bucket.

SQS queue ─► notifications ─► keys of recordings below the source ─► one interactive ingest of those without a receipt
      └─► deleted when all their recordings are done, quarantined or gone
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

start_process()  # in a worker, this file is Stenopool's entry point


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
    """Start an ingest of the recordings that have arrived; returns their number.

    A message stays in the queue until its recordings have receipts or no longer exist. A message that is not a bucket
    notification stays until it moves to the dead-letter queue. Lost notifications are covered by the next scheduled
    ingest of the prefix: notifications reduce latency, and the schedule guarantees that nothing is missed.

    Args:
        queue_url: URL of the SQS queue for the bucket's notifications (direct, or through SNS or EventBridge).
        source: Location of the recordings, e.g. s3://bucket/prefix; messages about other objects are deleted.
        destination: Location for transcripts; may be below the source.
        profile: Name of a saved Transcription Profile.
        deployment: The deployment of ingest to run.
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
        # Notifications about a run's output must not start another run: keys that a listing would omit are ignored.
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
    log.info("%d messages, %d of them done; %d recordings started", len(named), len(safe), count)
    return count
