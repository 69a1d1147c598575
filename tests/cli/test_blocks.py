"""Every command accepts a saved block as a location, also `retry`."""

import asyncio
import json

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect_aws import MinIOCredentials, S3Bucket

from stenopool.cli.doctor import examine, list_checks
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.orchestration.blocks.locations import open_location
from stenopool.pipeline.receipts import list_receipts, read
from tests.support.command_line import Call
from tests.support.seaweedfs import SeaweedFS
from tests.support.speech import needs_speech

FAST = ("--model", "tiny.en", "--diarization", "off", "--device", "cpu")
SOURCE, DESTINATION = "block://s3-bucket/archive/in", "block://s3-bucket/archive/out"


@pytest.fixture
def archive(prefect_api: None, seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> None:
    """The block, and an environment without credentials for its bucket."""
    environment = seaweedfs.environment
    for name in environment:
        monkeypatch.delenv(name, raising=False)
    credentials = MinIOCredentials(
        minio_root_user=environment["AWS_ACCESS_KEY_ID"],
        minio_root_password=environment["AWS_SECRET_ACCESS_KEY"],
        region_name="us-east-1",
        aws_client_parameters={"endpoint_url": environment["AWS_ENDPOINT_URL_S3"]},
    )
    saved = S3Bucket(bucket_name=seaweedfs.make_bucket(), bucket_folder="calls", credentials=credentials)
    asyncio.run(saved.asave("archive", overwrite=True))


@needs_speech
@pytest.mark.usefixtures("archive")
def test_plan_run_status_retry_and_clean_accept_blocks(stenopool: Call) -> None:
    open_location(SOURCE).put_bytes("late.wav", b"not audio")
    planned = stenopool("plan", SOURCE, DESTINATION, *FAST[:4], "--json")
    assert json.loads(planned.out)["new"] == 1, planned.err
    first = stenopool("run", SOURCE, DESTINATION, *FAST, "--json")
    report = json.loads(first.out)
    assert (first.code, report["failures_by_code"]) == (1, {"NOT_AUDIO": 1})
    assert (report["source"], report["destination"].partition("/calls/")[2]) == (SOURCE, "out")
    retried = stenopool("retry", DESTINATION, "--json", "--device", "cpu")
    assert (retried.code, json.loads(retried.out)["failures_by_code"]) == (1, {"NOT_AUDIO": 1}), retried.err
    store = open_location(DESTINATION)
    [name] = list_receipts(store)
    receipt = read(store, name)
    assert receipt
    assert receipt.attempts == 2
    assert json.loads(stenopool("status", DESTINATION, "--json").out)["quarantined"] == 1
    assert stenopool("clean", DESTINATION, "--work-older-than", "1s").code == 0


@pytest.mark.usefixtures("archive")
def test_doctor_checks_a_block() -> None:
    open_location(SOURCE).put_bytes("a.wav", b"x")
    checks = list_checks(TranscriptionOptions(), ExecutionOptions(), SOURCE, DESTINATION)
    found = {check.name: examine(check) for check in checks if check.name in ("source", "destination")}
    assert {one.status for one in found.values()} == {"ok"}, found


@pytest.mark.parametrize(
    "command", [("plan", "X", "out"), ("status", "X"), ("clean", "X"), ("retry", "X"), ("show", "X/a")]
)
def test_a_block_without_a_prefect_server_names_the_setting(stenopool: Call, command: tuple[str, ...]) -> None:
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        answer = stenopool(*(word.replace("X", DESTINATION) for word in command))
    assert (answer.code, answer.out) == (2, "")
    assert "LOCATION_INVALID: No Prefect server is configured" in answer.err
    assert "PREFECT_API_URL" in answer.err


def test_an_unreachable_prefect_server_is_named(stenopool: Call) -> None:
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        answer = stenopool("status", DESTINATION)
    assert answer.code == 2
    assert "STORAGE_UNAVAILABLE: Cannot load the block s3-bucket/archive" in answer.err
    assert "Traceback" not in answer.err
