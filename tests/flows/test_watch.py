"""Notifications in a queue start one ingest of exactly these recordings. Queue and message formats are moto's, not
AWS's.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.states import Completed, Crashed, State

from stenopool.errors import ErrorCode, SetupError
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.orchestration import entrypoints, sqs
from stenopool.orchestration.blocks.profiles import TranscriptionProfile
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
    """A bucket `calls` that sends notifications to this queue."""
    sqs, s3 = boto3.client("sqs"), boto3.client("s3")
    url = sqs.create_queue(QueueName="calls")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    s3.create_bucket(Bucket="calls")
    s3.put_bucket_notification_configuration(
        Bucket="calls",
        NotificationConfiguration={"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]},
    )
    return str(url)


VISIBLE, NOT_VISIBLE = "ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"
SOURCE, DESTINATION = "s3://calls/inbox", "s3://calls/inbox/transcripts"
OPTIONS = TranscriptionOptions(model="tiny.en", diarization="off")


async def watched(queue: str) -> tuple[int, list[FlowRun]]:
    """The number of recordings that arrived, and the existing runs of `ingest`, oldest first."""
    count = await watch(queue, SOURCE, DESTINATION, profile="watched")
    async with get_client() as client:
        deployment = await client.read_deployment_by_name("ingest/interactive")
        of_it = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment.id]))
        runs = await client.read_flow_runs(flow_run_filter=of_it, sort=FlowRunSort.EXPECTED_START_TIME_ASC)
    return count, [run for run in runs if "watch-" in str(run.idempotency_key)]


async def carried(run: FlowRun) -> BatchReport:
    """Execute the run here, like a worker."""
    parameters = {name: value for name, value in run.parameters.items() if name != "selection"}
    selection = Selection.model_validate(run.parameters["selection"])
    return await ingest(**parameters, selection=selection, execution=ExecutionOptions(device="cpu"))


def count(queue: str, name: str) -> int:
    attributes = boto3.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=[name])["Attributes"]
    return int(attributes[name])  # type: ignore[literal-required]


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> float:
    """Messages that are kept return after this many seconds."""
    monkeypatch.setattr(sqs, "_LONGEST", 1)
    return 1.2


@needs_speech
@pytest.mark.fault(
    "notification delivered twice, its object deleted, its run killed",
    "A message stays queued until its recordings are done, quarantined or deleted. Each is transcribed once.",
)
def test_new_recordings_below_the_source_are_transcribed_once(queue: str, soon: float) -> None:
    s3, messages = boto3.client("s3"), boto3.client("sqs")
    sound = recording_path("en/jfk.flac").read_bytes()
    for key in ("inbox/a b+é.flac", "inbox/2026/gone.wav", "outbox/d.wav", "inbox/notes.txt", "inbox/.hidden.wav"):
        s3.put_object(Bucket="calls", Key=key, Body=sound)
    for key in ("inbox/", "inbox/2026/", "inbox/transcripts/a b+é.flac/audio.webm"):
        s3.put_object(Bucket="calls", Key=key, Body=b"")
    s3.delete_object(Bucket="calls", Key="inbox/2026/gone.wav")
    messages.send_message(QueueUrl=queue, MessageBody="not a notification")

    async def end(run: FlowRun, state: State) -> None:
        async with get_client() as client:
            await client.set_flow_run_state(run.id, state, force=True)

    async def scenario() -> BatchReport:
        await apply("local")
        await TranscriptionProfile(options=OPTIONS).asave("watched", overwrite=True)
        found, (run,) = await watched(queue)
        assert found == 1
        assert run.parameters["source"] == SOURCE
        assert run.parameters["selection"] == {"only": ["a b+é.flac"]}
        assert run.work_queue_name == "ingest-interactive"
        # Recordings that are gone or excluded are not waited for; those in the run wait for the run.
        assert count(queue, NOT_VISIBLE) + count(queue, VISIBLE) == 2
        await asyncio.sleep(soon)
        assert await watched(queue) == (0, [run])
        # The run dies: its recording is neither done nor forgotten.
        await end(run, Crashed())
        await asyncio.sleep(soon)
        found, (_, again) = await watched(queue)
        assert (found, again.parameters["selection"]) == (1, {"only": ["a b+é.flac"]})
        report = await carried(again)
        await end(again, Completed())
        assert count(queue, VISIBLE) > 5, "there was no notification of the run's output"
        await asyncio.sleep(soon)
        # All output of the run is below the source, and none of it starts another run.
        found, runs = await watched(queue)
        assert (found, {one.id for one in runs}) == (0, {run.id, again.id})
        return report

    report = asyncio.run(scenario())
    assert (report.done, report.failures_by_code) == (1, {})
    store = open_store(DESTINATION)
    assert [name.key for name in list_receipts(store)] == ["a b+é.flac"]
    written = [info.key for info in store.list() if info.key.endswith("/transcript.json")]
    assert written == ["a b+é.flac/transcript.json"]
    # Other messages wait for the dead-letter queue.
    assert count(queue, NOT_VISIBLE) + count(queue, VISIBLE) == 1


def test_a_folder_sends_no_notifications(queue: str, tmp_path: Path) -> None:
    with pytest.raises(SetupError) as caught:
        asyncio.run(watch(queue, str(tmp_path), "s3://transcripts"))
    assert caught.value.code is ErrorCode.LOCATION_INVALID
