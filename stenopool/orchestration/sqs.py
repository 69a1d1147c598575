"""Messages of an SQS queue, as tasks of a flow, and what a bucket says in them when objects arrive.

That is S3's event records, bare, in SNS's or EventBridge's envelope. Sources: AWS "Event message structure" and
"EventBridge object events"; MinIO and others send the first shape.
"""

import asyncio
import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from prefect import task

from stenopool.errors import LocationInvalid, OptionsInvalid
from stenopool.storage.base import ObjectStore

# A receive takes ten at most; a thousand keys fit a run's parameters (512 KiB) at 500 bytes each.
_AT_ONCE, _MOST = 10, 1000


class Message(NamedTuple):
    """A message that was received. ``handle`` deletes it."""

    id: str
    handle: str
    body: str


async def receive_messages(queue_url: str) -> list[Message]:
    """What is in the queue, a thousand messages at most; they stay invisible to others for five minutes."""
    messages: list[Message] = []
    while len(messages) < _MOST and (batch := await _receive(queue_url)):
        messages += batch
    return messages


@task(name="receive", persist_result=False, retries=2, retry_delay_seconds=2)
async def _receive(queue_url: str) -> list[Message]:
    answer = await asyncio.to_thread(
        _client().receive_message, QueueUrl=queue_url, MaxNumberOfMessages=_AT_ONCE, VisibilityTimeout=300
    )
    return [Message(one["MessageId"], one["ReceiptHandle"], one["Body"]) for one in answer.get("Messages", [])]


@task(name="delete", persist_result=False, retries=2, retry_delay_seconds=2)
async def delete_messages(queue_url: str, messages: list[Message]) -> None:
    """Delete messages; one that stays is delivered again."""
    for first in range(0, len(messages), _AT_ONCE):
        batch = messages[first : first + _AT_ONCE]
        entries = [{"Id": str(number), "ReceiptHandle": one.handle} for number, one in enumerate(batch)]
        await asyncio.to_thread(_client().delete_message_batch, QueueUrl=queue_url, Entries=entries)


def parse_notification(message: str) -> list[str]:
    """Addresses of the objects that a message says were written; empty for tests, deletions and other events.

    Raises `OptionsInvalid` if it is not a bucket notification.
    """
    try:
        return list(_arrivals(json.loads(message)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OptionsInvalid(
            f"A message is not a bucket notification: {type(error).__name__}.",
            remedy="Send only the bucket's notifications to the queue.",
        ) from error


def keys_below(source: ObjectStore, arrived: Iterable[str]) -> set[str]:
    """The keys, relative to the source, of what arrived there; what arrived elsewhere is dropped.

    Raises `LocationInvalid` if the source is not in a bucket.
    """
    if not source.uri.startswith("s3://"):
        raise LocationInvalid(f"{source.uri} is not in a bucket, and sends no notifications.")
    root = f"{source.uri}/"
    return {uri.removeprefix(root) for uri in arrived if uri.startswith(root) and uri != root}


def _client() -> Any:
    import boto3

    return boto3.client("sqs")


def _arrivals(message: dict[str, Any]) -> Iterator[str]:
    if "TopicArn" in message:  # SNS, unless raw delivery is on
        yield from _arrivals(json.loads(message["Message"]))
    elif message.get("source") == "aws.s3":
        if message["detail-type"] == "Object Created":
            found = message["detail"]
            yield f"s3://{found['bucket']['name']}/{found['object']['key']}"  # not encoded here
    elif message.get("Event") != "s3:TestEvent":  # sent when notifications are switched on
        for record in message["Records"]:
            if record["eventName"].removeprefix("s3:").startswith("ObjectCreated"):
                found = record["s3"]
                yield f"s3://{found['bucket']['name']}/{unquote_plus(found['object']['key'])}"
