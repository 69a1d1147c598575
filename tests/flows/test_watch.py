"""Notifications in a queue become one ingest of just these recordings. Queue and shapes are moto's, not AWS's."""

import asyncio
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from prefect.client.orchestration import get_client

from stenopool.orchestration import entrypoints
from stenopool.orchestration.deploy.apply import apply

watch = entrypoints.load("watch")


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    yield
    server.stop()


@pytest.fixture
def queue(aws: None) -> str:
    """A bucket `calls` whose notifications go to this queue."""
    sqs, s3 = boto3.client("sqs"), boto3.client("s3")
    url = sqs.create_queue(QueueName="calls")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    s3.create_bucket(Bucket="calls")
    s3.put_bucket_notification_configuration(
        Bucket="calls",
        NotificationConfiguration={"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]},
    )
    return str(url)


def watched(queue: str) -> tuple[int, list[Any]]:
    """How many arrivals were found, and the runs of `ingest` that there are."""

    async def both() -> tuple[int, list[Any]]:
        await apply("local")
        count = await watch(queue, "s3://calls/inbox", "s3://transcripts")
        async with get_client() as client:
            deployment = await client.read_deployment_by_name("ingest/interactive")
            runs = await client.read_flow_runs()
        return count, [run for run in runs if run.deployment_id == deployment.id and "watch-" in run.idempotency_key]

    return asyncio.run(both())


@pytest.mark.fault("notification delivered twice", "One ingest, one transcript.")
def test_what_arrives_below_the_source_is_ingested_once(queue: str) -> None:
    s3, sqs = boto3.client("s3"), boto3.client("sqs")
    for key in ("inbox/a b+é.wav", "inbox/2026/c.wav", "outbox/d.wav"):
        s3.put_object(Bucket="calls", Key=key, Body=b"sound")
    s3.delete_object(Bucket="calls", Key="inbox/2026/c.wav")
    sqs.send_message(QueueUrl=queue, MessageBody="not a notification")
    count, (run,) = watched(queue)
    assert count == 2
    assert run.parameters["source"] == "s3://calls/inbox"
    assert run.parameters["selection"] == {"only": ["2026/c.wav", "a b+é.wav"]}
    assert run.work_queue_name == "ingest-interactive"
    count, runs = watched(queue)
    assert (count, len(runs)) == (0, 1)
    attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    # What is no notification waits for the dead-letter queue.
    assert int(attributes["ApproximateNumberOfMessagesNotVisible"]) == 1
    assert int(attributes["ApproximateNumberOfMessages"]) == 0
