"""Reads and deletes messages of an SQS queue in a flow's tasks, and parses a bucket's notifications in them.

Notifications are S3 event records, bare or in an envelope of SNS or EventBridge. Sources: AWS "Event message structure"
and "EventBridge object events"; MinIO and others send the first form.
"""

import asyncio
import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from prefect import task

from stenopool.errors import LocationInvalid, OptionsInvalid
from stenopool.runtime.logs import logger
from stenopool.storage.base import ObjectStore

_AT_ONCE, _MOST = 10, 1000  # maximum per receive: ten
_HIDDEN = 300  # seconds that a message is invisible to other readers
_FIRST, _LONGEST = 60, 6 * 3600  # then, until it is visible again; SQS hides a message for 12 hours at most


class Message(NamedTuple):
    """A received message. ``times``: how often it has been received. ``handle``: for deleting it."""

    id: str
    handle: str
    body: str
    times: int


async def receive_messages(queue_url: str) -> list[Message]:
    """Receive up to a thousand messages; they stay invisible to other readers for five minutes."""
    messages: dict[str, Message] = {}
    new = True
    while new and len(messages) < _MOST:
        batch = {message.id: message for message in await _receive(queue_url)}
        new = not batch.keys() <= messages.keys()
        messages |= batch
    return list(messages.values())


@task(name="receive", persist_result=False, retries=2, retry_delay_seconds=2)
async def _receive(queue_url: str) -> list[Message]:
    answer = await asyncio.to_thread(
        _client().receive_message,
        QueueUrl=queue_url,
        MaxNumberOfMessages=_AT_ONCE,
        VisibilityTimeout=_HIDDEN,
        AttributeNames=["ApproximateReceiveCount"],
    )
    return [
        Message(one["MessageId"], one["ReceiptHandle"], one["Body"], int(one["Attributes"]["ApproximateReceiveCount"]))
        for one in answer.get("Messages", [])
    ]


@task(name="delete", persist_result=False, retries=2, retry_delay_seconds=2)
async def delete_messages(queue_url: str, messages: list[Message]) -> None:
    """Delete messages; a message that is not deleted is delivered again."""
    for batch in _batches(messages):
        entries = [{"Id": str(number), "ReceiptHandle": one.handle} for number, one in enumerate(batch)]
        await asyncio.to_thread(_client().delete_message_batch, QueueUrl=queue_url, Entries=entries)


@task(name="keep", persist_result=False, retries=2, retry_delay_seconds=2)
async def keep_messages(queue_url: str, messages: list[Message]) -> None:
    """Keep messages in the queue, hidden for twice as long each time, as a queue drops messages after some deliveries.

    Without permission to change this, they are visible again after five minutes each time.
    """
    from botocore.exceptions import ClientError

    for batch in _batches(messages):
        entries = [
            {"Id": str(number), "ReceiptHandle": one.handle, "VisibilityTimeout": _find_pause(one.times)}
            for number, one in enumerate(batch)
        ]
        try:
            await asyncio.to_thread(_client().change_message_visibility_batch, QueueUrl=queue_url, Entries=entries)
        except ClientError as error:
            logger.warning("Messages are delivered again after %d s: %s", _HIDDEN, error)
            return


def _find_pause(times: int) -> int:
    return int(min(_FIRST * 2 ** min(times - 1, 10), _LONGEST))


def _batches(messages: list[Message]) -> Iterator[list[Message]]:
    return (messages[first : first + _AT_ONCE] for first in range(0, len(messages), _AT_ONCE))


def parse_notification(message: str) -> list[str]:
    """Addresses of the written or restored objects in a message; empty for other events.

    Raises `OptionsInvalid` if the message is not a bucket notification.
    """
    try:
        return list(_arrivals(json.loads(message)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OptionsInvalid(
            f"A message is not a bucket notification: {type(error).__name__}.",
            remedy="Send only the bucket's notifications to the queue.",
        ) from error


def require_bucket(source: ObjectStore) -> None:
    """Raise `LocationInvalid` if the source is not in a bucket."""
    if not source.uri.startswith("s3://"):
        raise LocationInvalid(f"{source.uri} is not in a bucket, so it sends no notifications.")


def keys_below(source: ObjectStore, arrived: Iterable[str]) -> set[str]:
    """The keys of arrived objects, relative to the source; objects elsewhere are ignored."""
    root = f"{source.uri}/"
    return {uri.removeprefix(root) for uri in arrived if uri.startswith(root) and uri != root}


def _client() -> Any:
    import boto3

    return boto3.client("sqs")


def _arrivals(message: dict[str, Any]) -> Iterator[str]:
    if "TopicArn" in message:  # SNS without raw delivery
        yield from _arrivals(json.loads(message["Message"]))
    elif message.get("source") == "aws.s3":
        if message["detail-type"] in ("Object Created", "Object Restore Completed"):
            found = message["detail"]
            yield f"s3://{found['bucket']['name']}/{found['object']['key']}"  # not encoded here
    elif message.get("Event") != "s3:TestEvent":  # sent when notifications are enabled
        for record in message["Records"]:
            if record["eventName"].removeprefix("s3:").startswith(("ObjectCreated", "ObjectRestore:Completed")):
                found = record["s3"]
                yield f"s3://{found['bucket']['name']}/{unquote_plus(found['object']['key'])}"
