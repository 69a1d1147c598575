"""`watch`: what a bucket's notifications name is transcribed a minute later, without listing the bucket.

SQS queue ─► keys below the source ─► one interactive ingest ─► messages deleted
"""

import asyncio
import hashlib
from collections.abc import Iterator
from typing import Any

from prefect import flow, get_run_logger, runtime, task
from prefect.deployments import arun_deployment

from stenopool.errors import ErrorCode, SetupError
from stenopool.pipeline.notifications import parse_notification
from stenopool.runtime.startup import start_process

start_process()  # in a worker, this file is where the process becomes ours

# A receive takes ten at most; a thousand keys fit a run's parameters (512 KiB) at 500 bytes each.
_MOST_MESSAGES = 1000


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

    A message that is no bucket notification stays in the queue, for its dead-letter queue to catch. What is lost on the
    way is found by the next scheduled ingest of the prefix: notifications make it sooner, not surer.

    Args:
        queue_url: URL of the SQS queue that the bucket's notifications go to (directly, by SNS or EventBridge).
        source: Where recordings are read, e.g. s3://bucket/prefix; messages about other objects are dropped.
        destination: Where transcripts go.
        profile: Name of a saved Transcription Profile.
        deployment: The deployment of ingest that is started.
    """
    log = get_run_logger()
    bucket, prefix = _place(source)
    read: dict[str, str] = {}
    keys: set[str] = set()
    async for message in _messages(queue_url):
        try:
            found = parse_notification(message["Body"])
        except SetupError as error:
            log.warning("message %s: %s", message["MessageId"], error.message)
            continue
        read[message["MessageId"]] = message["ReceiptHandle"]
        keys |= {one.key[len(prefix) :] for one in found if one.bucket == bucket and one.key.startswith(prefix)}
    if keys:
        await arun_deployment(
            deployment,
            parameters={
                "source": source,
                "destination": destination,
                "profile": profile,
                "selection": {"only": sorted(keys)},
            },
            # Messages may be delivered twice: the same ones start the same run.
            idempotency_key=f"watch-{hashlib.sha256(' '.join(sorted(read)).encode()).hexdigest()[:32]}",
            timeout=0,
            as_subflow=False,
        )
    await delete(queue_url, read)
    log.info("%d messages, %d recordings", len(read), len(keys))
    return len(keys)


async def _messages(queue_url: str) -> Any:
    for _ in range(_MOST_MESSAGES // 10):
        batch = await receive(queue_url)
        for message in batch:
            yield message
        if not batch:
            return


@task(persist_result=False, retries=2, retry_delay_seconds=2)
async def receive(queue_url: str) -> list[dict[str, Any]]:
    """Up to ten messages; they stay invisible to others for five minutes."""

    def ask() -> list[dict[str, Any]]:
        answer = _client().receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10, VisibilityTimeout=300)
        return list(answer.get("Messages", []))

    return await asyncio.to_thread(ask)


@task(persist_result=False, retries=2, retry_delay_seconds=2)
async def delete(queue_url: str, handles: dict[str, str]) -> None:
    """Take messages off the queue; one that stays is delivered again and starts nothing twice."""
    for some in _tens(list(handles.values())):
        entries = [{"Id": str(number), "ReceiptHandle": handle} for number, handle in enumerate(some)]
        await asyncio.to_thread(_client().delete_message_batch, QueueUrl=queue_url, Entries=entries)


def _tens(handles: list[str]) -> Iterator[list[str]]:
    for first in range(0, len(handles), 10):
        yield handles[first : first + 10]


def _place(source: str) -> tuple[str, str]:
    scheme, _, rest = source.partition("://")
    if scheme != "s3":
        raise SetupError(ErrorCode.LOCATION_INVALID, "Notifications come from a bucket: source must be s3://….")
    bucket, _, prefix = rest.partition("/")
    prefix = prefix.strip("/")
    return bucket, f"{prefix}/" if prefix else ""


def _client() -> Any:
    import boto3

    return boto3.client("sqs")
