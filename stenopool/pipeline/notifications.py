"""What a bucket says when objects arrive: S3's event records, bare, in SNS's or EventBridge's envelope.

Sources: AWS "Event message structure" and "EventBridge object events"; MinIO and others send the first shape.
"""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from stenopool.errors import ErrorCode, SetupError


class Arrival(NamedTuple):
    """One object that was written."""

    bucket: str
    key: str


def parse_notification(message: str) -> list[Arrival]:
    """The objects that a message says were written; empty for tests, deletions and whatever else comes by.

    Raises `SetupError` OPTIONS_INVALID if it is not a bucket's message at all.
    """
    try:
        return list(_arrivals(json.loads(message)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SetupError(
            ErrorCode.OPTIONS_INVALID,
            f"A message is no bucket notification: {type(error).__name__}.",
            remedy="Let nothing but the bucket's notifications into the queue.",
        ) from error


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
