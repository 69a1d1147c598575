"""The Prefect server is killed during a batch: nothing is lost, and nothing is done twice."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from stenopool.pipeline.receipts import list_receipts
from stenopool.storage import open_store
from tests.e2e.test_deployments import deploy, filled, over, started_by_api, until
from tests.support.prefect_server import PrefectServer
from tests.support.seaweedfs import SeaweedFS
from tests.support.speech import needs_speech
from tests.support.worker import ProcessWorker

pytestmark = [needs_speech, pytest.mark.slow, pytest.mark.timeout(1500)]

RECORDINGS = 8
OUTAGE = 5.0  # and that long again, or twice, until the server is back


@pytest.fixture
def workers(prefect_server: PrefectServer, s3: SeaweedFS) -> Iterator[list[ProcessWorker]]:
    """A worker for each pool; batches are cut into shards of two recordings, so that they consist of many runs."""
    deploy(prefect_server)
    environment = {
        **s3.environment,
        "STENOPOOL_MODELS__CACHE": str(Path.home() / ".cache" / "stenopool" / "models"),
        "STENOPOOL_BATCH__SHARD_RECORDINGS": "2",
    }
    both = [ProcessWorker(prefect_server, pool, environment) for pool in ("stenopool-cpu", "stenopool-gpu")]
    try:
        for worker in both:
            worker.start()
        yield both
    finally:
        for worker in both:
            worker.stop()


@pytest.mark.fault(
    "Prefect server killed during a batch",
    "Runs complete when it is back, or in the next ingest: nothing lost, nothing duplicated.",
)
def test_a_server_killed_during_a_batch_loses_and_duplicates_nothing(
    prefect_server: PrefectServer, workers: list[ProcessWorker], s3: SeaweedFS, bucket: str
) -> None:
    # An object that is written twice has two versions.
    s3.client().put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    source, destination = filled(bucket, "killed", count=RECORDINGS)
    store = open_store(destination)
    ingest = started_by_api(prefect_server, source, destination, key=f"killed-{bucket}")
    done = until(lambda: len(list(list_receipts(store))), "a first receipt")
    assert done < RECORDINGS, "the batch was over before the server was killed: give it more recordings"

    prefect_server.kill()
    time.sleep(OUTAGE)
    prefect_server.start()

    with prefect_server.client() as client:
        ended = until(lambda: over(client, ingest), "the end of ingest", seconds=600)
        print(f"killed after {done} receipts: {ended.state_name}, then {len(list(list_receipts(store)))} receipts")
        if len(list(list_receipts(store))) < RECORDINGS:
            again = started_by_api(prefect_server, source, destination, key=f"again-{bucket}")
            ended = until(lambda: over(client, again), "the end of the second ingest", seconds=600)
            print(f"the next run: {ended.state_name}")
        assert ended.state_name == "Completed"

    assert [receipt.status for receipt in list_receipts(store)] == ["done"] * RECORDINGS
    assert len({receipt.key for receipt in list_receipts(store)}) == RECORDINGS
    transcripts = [key for key in written(s3, bucket) if key.endswith("transcript.json")]
    assert Counter(transcripts).most_common(1)[0][1] == 1
    assert len(transcripts) == RECORDINGS
    assert all(worker.process and worker.process.poll() is None for worker in workers), "a worker did not survive it"


def written(s3: SeaweedFS, bucket: str) -> list[str]:
    """Every key of the bucket, once per write."""
    pages = s3.client().get_paginator("list_object_versions").paginate(Bucket=bucket)
    return [version["Key"] for page in pages for version in page.get("Versions", [])]
