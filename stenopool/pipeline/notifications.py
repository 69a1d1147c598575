"""What a bucket sends when objects arrive: S3's event records, bare, in SNS's or EventBridge's envelope.

Sources: AWS "Event message structure" and "EventBridge object events"; MinIO and others send the first shape.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from stenopool.errors import ErrorCode, SetupError
from stenopool.storage.base import ObjectStore


class Arrival(NamedTuple):
    """One object that was written."""

    bucket: str
    key: str


def parse_notification(message: str) -> list[Arrival]:
    """The objects that a message says were written; empty for tests, deletions and other events.

    Raises `SetupError` OPTIONS_INVALID if it is not a bucket notification.
    """
    try:
        return list(_arrivals(json.loads(message)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SetupError(
            ErrorCode.OPTIONS_INVALID,
            f"A message is not a bucket notification: {type(error).__name__}.",
            remedy="Send only the bucket's notifications to the queue.",
        ) from error


def keys_below(source: ObjectStore, arrived: Iterable[Arrival]) -> set[str]:
    """The keys, relative to the source, of what arrived there; what arrived elsewhere is dropped.

    Raises `SetupError` LOCATION_INVALID if the source is not in a bucket.
    """
    if not source.uri.startswith("s3://"):
        raise SetupError(ErrorCode.LOCATION_INVALID, f"{source.uri} is not in a bucket, and sends no notifications.")
    root = f"{source.uri}/"
    uris = (f"s3://{one.bucket}/{one.key}" for one in arrived)
    return {uri.removeprefix(root) for uri in uris if uri.startswith(root) and uri != root}


def _arrivals(message: dict[str, Any]) -> Iterator[Arrival]:
    if "TopicArn" in message:  # SNS, unless raw delivery is on
        yield from _arrivals(json.loads(message["Message"]))
    elif message.get("source") == "aws.s3":
        if message["detail-type"] == "Object Created":
            detail = message["detail"]
            yield Arrival(detail["bucket"]["name"], detail["object"]["key"])  # not encoded here
    elif message.get("Event") != "s3:TestEvent":  # sent when notifications are switched on
        for record in message["Records"]:
            if record["eventName"].removeprefix("s3:").startswith("ObjectCreated"):
                found = record["s3"]
                yield Arrival(found["bucket"]["name"], unquote_plus(found["object"]["key"]))
