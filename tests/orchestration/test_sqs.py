"""Bucket notifications in every envelope that they come in."""

import json

import pytest

from stenopool.errors import ErrorCode, SetupError
from stenopool.orchestration.sqs import _find_pause, parse_notification

RECORD = {
    "eventSource": "aws:s3",
    "eventName": "ObjectCreated:Put",
    "s3": {"bucket": {"name": "calls"}, "object": {"key": "2026/a+b%C3%A9%2B.wav", "size": 1}},
}
ARRIVAL = "s3://calls/2026/a bé+.wav"
S3 = json.dumps({"Records": [RECORD]})
SNS = json.dumps({"Type": "Notification", "TopicArn": "arn:aws:sns:eu:1:calls", "Message": S3})
EVENTBRIDGE = json.dumps(
    {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "detail": {"bucket": {"name": "calls"}, "object": {"key": "2026/a bé+.wav"}},
    }
)
RESTORED = json.dumps({"Records": [{**RECORD, "eventName": "ObjectRestore:Completed"}]})
RESTORED_BY_EVENTBRIDGE = EVENTBRIDGE.replace("Object Created", "Object Restore Completed")
MINIO = json.dumps({"EventName": "s3:ObjectCreated:Put", "Records": [{**RECORD, "eventName": "s3:ObjectCreated:Put"}]})


@pytest.mark.parametrize("message", [S3, SNS, EVENTBRIDGE, MINIO, RESTORED, RESTORED_BY_EVENTBRIDGE])
def test_a_recording_is_found_in_every_envelope(message: str) -> None:
    assert parse_notification(message) == [ARRIVAL]


@pytest.mark.parametrize(
    "message",
    [
        json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "calls"}),
        json.dumps({"Records": [{**RECORD, "eventName": "ObjectRemoved:Delete"}]}),
        json.dumps({"Records": [{**RECORD, "eventName": "ObjectRestore:Post"}]}),
        json.dumps({"source": "aws.s3", "detail-type": "Object Deleted", "detail": {}}),
    ],
)
def test_other_events_are_skipped(message: str) -> None:
    assert parse_notification(message) == []


@pytest.mark.parametrize("message", ["", "hello", "[]", "null", "{}", '{"Records": [1]}', '{"TopicArn": 1}'])
def test_other_messages_are_refused(message: str) -> None:
    with pytest.raises(SetupError) as caught:
        parse_notification(message)
    assert caught.value.code is ErrorCode.OPTIONS_INVALID


def test_a_kept_message_returns_after_twice_as_long_each_time() -> None:
    assert [_find_pause(times) for times in (1, 2, 3, 4, 50, 5000)] == [60, 120, 240, 480, 21600, 21600]
