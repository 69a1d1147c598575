"""PostgreSQL is restarted, then Redis is killed and restarted, below a Prefect server during a batch."""

import signal
from collections import Counter

import pytest

from stenopool.pipeline.receipts import list_receipts
from stenopool.storage import open_store
from tests.e2e.test_deployments import filled, over, started_by_api, until
from tests.e2e.test_server_faults import workers, written  # noqa: F401 (a fixture)
from tests.support.postgres import Postgres
from tests.support.prefect_server import PrefectServer
from tests.support.redis import Redis
from tests.support.seaweedfs import SeaweedFS
from tests.support.speech import needs_speech

pytestmark = [needs_speech, pytest.mark.slow, pytest.mark.timeout(900)]

RECORDINGS = 6


@pytest.mark.fault(
    "PostgreSQL restarted, then Redis killed and restarted, during a batch",
    "Runs complete, or the next ingest does the rest: nothing lost, nothing duplicated.",
)
@pytest.mark.usefixtures("workers")
def test_a_batch_survives_restarts_of_postgresql_and_redis(
    prefect_server: PrefectServer,
    postgres: Postgres,
    redis: Redis,
    s3: SeaweedFS,
    bucket: str,
) -> None:
    s3.client().put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    source, destination = filled(bucket, "backends", count=RECORDINGS)
    store = open_store(destination)
    ingest = started_by_api(prefect_server, source, destination, key=f"backends-{bucket}")
    until(lambda: any(store.list()), "the batch's first object")
    assert postgres.process
    postgres.process.send_signal(signal.SIGINT)  # a fast shutdown: every connection is cut
    postgres.process.wait(30)
    postgres.start()
    with prefect_server.client() as client:
        until(lambda: list(list_receipts(store)) or over(client, ingest), "a first receipt, or the end")
    redis.kill()
    redis.start()
    with prefect_server.client() as client:
        ended = until(lambda: over(client, ingest), "the end of ingest", seconds=300)
        if len(list(list_receipts(store))) < RECORDINGS:
            again = started_by_api(prefect_server, source, destination, key=f"again-{bucket}")
            ended = until(lambda: over(client, again), "the end of the second ingest", seconds=300)
    assert ended.state_name == "Completed"
    assert [receipt.status for receipt in list_receipts(store)] == ["done"] * RECORDINGS
    transcripts = [key for key in written(s3, bucket) if key.endswith("transcript.json")]
    assert len(transcripts) == RECORDINGS
    assert Counter(transcripts).most_common(1)[0][1] == 1
