"""Notifications in a queue become one ingest of just these recordings. Queue and shapes are moto's, not AWS's."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort

from stenopool.errors import ErrorCode, SetupError
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.orchestration import entrypoints
from stenopool.orchestration.deploy.apply import apply
from stenopool.pipeline.catalog import Selection
from stenopool.pipeline.receipts import list_receipts
from stenopool.pipeline.report import BatchReport
from stenopool.storage import open_store
from tests.support.speech import needs_speech, recording_path

watch, ingest = entrypoints.load("watch"), entrypoints.load("ingest")


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


SOURCE, DESTINATION = "s3://calls/inbox", "s3://calls/inbox/transcripts"
OPTIONS = TranscriptionOptions(model="tiny.en", diarization="off")


async def watched(queue: str) -> tuple[int, list[FlowRun]]:
    """How many recordings arrived, and the runs of `ingest` that there are, oldest first."""
    count = await watch(queue, SOURCE, DESTINATION)
    async with get_client() as client:
        deployment = await client.read_deployment_by_name("ingest/interactive")
        runs = await client.read_flow_runs(sort=FlowRunSort.EXPECTED_START_TIME_ASC)
    return count, [run for run in runs if run.deployment_id == deployment.id and "watch-" in str(run.idempotency_key)]


async def carried(run: FlowRun) -> BatchReport:
    """Do here what a worker would do with the run."""
    parameters = {name: value for name, value in run.parameters.items() if name != "selection"}
    selection = Selection.model_validate(run.parameters["selection"])
    return await ingest(**parameters, selection=selection, options=OPTIONS, execution=ExecutionOptions(device="cpu"))


def count(queue: str, name: str) -> int:
    attributes = boto3.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=[name])["Attributes"]
    return int(attributes[name])  # type: ignore[literal-required]


@needs_speech
@pytest.mark.fault("notification delivered twice", "One ingest transcribes, the other skips: one transcript.")
def test_what_arrives_below_the_source_is_transcribed_once(queue: str) -> None:
    s3, sqs = boto3.client("s3"), boto3.client("sqs")
    sound = recording_path("en/jfk.flac").read_bytes()
    for key in ("inbox/a b+é.flac", "inbox/2026/gone.wav", "outbox/d.wav", "inbox/notes.txt", "inbox/.hidden.wav"):
        s3.put_object(Bucket="calls", Key=key, Body=sound)
    s3.delete_object(Bucket="calls", Key="inbox/2026/gone.wav")
    delivered = sqs.receive_message(QueueUrl=queue, VisibilityTimeout=0, MaxNumberOfMessages=10)["Messages"]
    sqs.send_message(QueueUrl=queue, MessageBody="not a notification")

    async def scenario() -> tuple[list[BatchReport], list[FlowRun]]:
        await apply("local")
        found, (run,) = await watched(queue)
        assert found == 2
        assert run.parameters["source"] == SOURCE
        assert run.parameters["selection"] == {"only": ["2026/gone.wav", "a b+é.flac"]}
        assert run.work_queue_name == "ingest-interactive"
        reports = [await carried(run)]
        assert count(queue, "ApproximateNumberOfMessages") > 5, "what the run wrote was not announced"
        # Everything that the run wrote lies below the source, and none of it starts another.
        assert await watched(queue) == (0, [run])
        for message in delivered:
            sqs.send_message(QueueUrl=queue, MessageBody=message["Body"])
        _, (_, again) = await watched(queue)
        reports.append(await carried(again))
        return reports, [run, again]

    (first, second), _ = asyncio.run(scenario())
    # An object that is gone by now (sent under another name first, perhaps) fails alone.
    assert (first.done, first.failures_by_code) == (1, {"OBJECT_NOT_FOUND": 1})
    assert (second.new, second.done, second.already_done) == (0, 0, 1)
    store = open_store(DESTINATION)
    assert [name.key for name in list_receipts(store)] == ["a b+é.flac"]
    written = [info.key for info in store.list() if info.key.endswith("/transcript.json")]
    assert written == ["a b+é.flac/transcript.json"]
    # What is not a notification waits for the dead-letter queue.
    assert count(queue, "ApproximateNumberOfMessagesNotVisible") == 1


def test_a_folder_sends_no_notifications(queue: str, tmp_path: Path) -> None:
    with pytest.raises(SetupError) as caught:
        asyncio.run(watch(queue, str(tmp_path), "s3://transcripts"))
    assert caught.value.code is ErrorCode.LOCATION_INVALID
