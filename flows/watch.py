"""`watch`: what a bucket's notifications name is transcribed a minute later, without listing the bucket.

SQS queue ─► notifications ─► keys of recordings below the source ─► one interactive ingest ─► messages deleted
"""

import asyncio
import hashlib

from prefect import flow, get_run_logger, runtime
from prefect.deployments import arun_deployment

from stenopool.errors import SetupError
from stenopool.orchestration.blocks.locations import open_stores
from stenopool.orchestration.sqs import Message, delete_messages, keys_below, parse_notification, receive_messages
from stenopool.pipeline.catalog import select_keys
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

    A message that is not a bucket notification stays in the queue, for its dead-letter queue to catch. What is lost on
    the way is found by the next scheduled ingest of the prefix: notifications reduce latency, the schedule guarantees
    that nothing is missed.

    Args:
        queue_url: URL of the SQS queue that the bucket's notifications go to (directly, by SNS or EventBridge).
        source: Where recordings are read, e.g. s3://bucket/prefix; messages about other objects are dropped.
        destination: Where transcripts go; may be below the source.
        profile: Name of a saved Transcription Profile.
        deployment: The deployment of ingest that is started.
    """
    log = get_run_logger()
    stores = await open_stores(source, destination)
    read, arrived = list[Message](), list[str]()
    for message in await receive_messages(queue_url):
        try:
            arrived += parse_notification(message.body)
            read.append(message)
        except SetupError as error:
            log.warning("message %s: %s", message.id, error.message)
    # Notifications about what a run wrote must not start the next one.
    keys = await asyncio.to_thread(lambda: list(select_keys(*stores, keys_below(stores[0], arrived))))
    if keys:
        parameters = {"source": source, "destination": destination, "profile": profile, "selection": {"only": keys}}
        # Messages may be delivered twice: the same ones start the same run.
        digest = hashlib.sha256(" ".join(sorted(message.id for message in read)).encode()).hexdigest()[:32]
        await arun_deployment(
            deployment, parameters=parameters, idempotency_key=f"watch-{digest}", timeout=0, as_subflow=False
        )
    await delete_messages(queue_url, read)
    log.info("%d messages, %d recordings", len(read), len(keys))
    return len(keys)
