"""Messages of an SQS queue, as tasks of a flow."""

import asyncio
from typing import Any, NamedTuple

from prefect import task

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
    def ask() -> list[Message]:
        answer = _client().receive_message(QueueUrl=queue_url, MaxNumberOfMessages=_AT_ONCE, VisibilityTimeout=300)
        return [Message(one["MessageId"], one["ReceiptHandle"], one["Body"]) for one in answer.get("Messages", [])]

    return await asyncio.to_thread(ask)


@task(name="delete", persist_result=False, retries=2, retry_delay_seconds=2)
async def delete_messages(queue_url: str, messages: list[Message]) -> None:
    """Delete messages; one that stays is delivered again."""
    for first in range(0, len(messages), _AT_ONCE):
        batch = messages[first : first + _AT_ONCE]
        entries = [{"Id": str(number), "ReceiptHandle": one.handle} for number, one in enumerate(batch)]
        await asyncio.to_thread(_client().delete_message_batch, QueueUrl=queue_url, Entries=entries)


def _client() -> Any:
    import boto3

    return boto3.client("sqs")
