"""Three ways to start runs, on real parts: Prefect on PostgreSQL and Redis, process workers, S3."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from prefect.client.schemas.objects import FlowRun

from stenopool.pipeline.receipts import list_receipts
from stenopool.storage import open_store
from tests.support.prefect_server import PrefectServer
from tests.support.processes import without_prefect
from tests.support.seaweedfs import SeaweedFS
from tests.support.speech import needs_speech, recording_path, recordings
from tests.support.waiting import wait_until
from tests.support.worker import ProcessWorker

pytestmark = [needs_speech, pytest.mark.slow]

OPTIONS = {"model": "tiny.en", "diarization": "off"}
SCHEDULES = """
deployments:
  - name: minutely
    entrypoint: flows/ingest.py:ingest
    work_pool: {{name: cpu, work_queue_name: ingest-batch}}
    parameters:
      source: {source}
      destination: {destination}
      options: {{model: tiny.en, diarization: "off"}}
    schedules: [{{cron: "* * * * *"}}]
    concurrency_limit: {{limit: 1, collision_strategy: CANCEL_NEW}}
"""


def deploy(server: PrefectServer, *arguments: str) -> str:
    """Run `stenopool deploy` and return its output."""
    command = [str(Path(sys.executable).with_name("stenopool")), "deploy", "--target", "local", *arguments]
    environment = {**without_prefect(), **server.environment}
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def workers(prefect_server: PrefectServer, seaweedfs: SeaweedFS) -> Iterator[PrefectServer]:
    """The server with all deployments and a process worker for each pool."""
    deploy(prefect_server)
    cache = os.environ.get("STENOPOOL_MODELS__CACHE", str(Path.home() / ".cache" / "stenopool" / "models"))
    environment = {**seaweedfs.environment, "STENOPOOL_MODELS__CACHE": cache}
    both = [ProcessWorker(prefect_server, pool, environment) for pool in ("stenopool-cpu", "stenopool-gpu")]
    try:
        for worker in both:
            worker.start()
        yield prefect_server
    finally:
        for worker in both:
            worker.stop()


def filled(bucket: str, folder: str, count: int = 2) -> tuple[str, str]:
    """A prefix with some recordings, and the destination of their transcripts."""
    source = open_store(f"s3://{bucket}/{folder}")
    for item in recordings("en_short")[:count]:
        source.put_file(item["file"], recording_path(item["file"]))
    return source.uri, f"s3://{bucket}/transcripts/{folder}"


until = partial(wait_until, seconds=240, every=1)


def started_by_api(server: PrefectServer, source: str, destination: str, key: str) -> UUID:
    """As in docs/triggers.md: two requests, the second with an idempotency key."""
    user, _, password = server.auth.partition(":")
    with httpx.Client(base_url=server.url, auth=(user, password)) as client:
        deployment = client.get("/deployments/name/ingest/interactive").raise_for_status().json()["id"]
        body = {
            "parameters": {"source": source, "destination": destination, "options": OPTIONS},
            "idempotency_key": key,
        }
        answer = client.post(f"/deployments/{deployment}/create_flow_run", json=body).raise_for_status()
    return UUID(answer.json()["id"])


def filled_in_by_hand(server: PrefectServer, source: str, destination: str) -> UUID:
    """The form's values: the schema's defaults, and the fields that a person filled in."""
    with server.client() as client:
        deployment = client.read_deployment_by_name("ingest/interactive")
        schema = deployment.parameter_openapi_schema
        form = {name: field["default"] for name, field in schema["properties"].items() if "default" in field}
        parameters = {**form, "source": source, "destination": destination}
        parameters["options"] = {**form["options"], **OPTIONS}
        return client.create_flow_run_from_deployment(deployment.id, parameters=parameters).id


def test_schedule_form_and_request_each_start_runs_in_order(
    workers: PrefectServer, bucket: str, tmp_path: Path
) -> None:
    scheduled, by_hand, by_request = (filled(bucket, name) for name in ("scheduled", "by-hand", "by-request"))
    own = tmp_path / "schedules.yaml"
    own.write_text(SCHEDULES.format(source=scheduled[0], destination=scheduled[1]))
    with workers.client() as client:
        # All three wait before anything is transcribed, so that the order is visible.
        client.update_work_pool("stenopool-gpu", work_pool_update(is_paused=True))
        changes = deploy(workers, "--file", str(own)).splitlines()
        assert changes == ["+ deployment ingest/minutely"]
        nightly = client.read_deployment_by_name("ingest/minutely").id
        until(lambda: children(client, of(client, nightly)), "the scheduled ingest's transcribe")
        hand = filled_in_by_hand(workers, *by_hand)
        request = started_by_api(workers, *by_request, key="once")
        assert started_by_api(workers, *by_request, key="once") == request
        until(lambda: len(children(client, [hand, request])) == 2, "two more runs of transcribe")
        # The next minute's run found this run in progress and was skipped.
        until(lambda: left_out(client, nightly), "a skipped run of the schedule")
        client.update_work_pool("stenopool-gpu", work_pool_update(is_paused=False))
        first = of(client, nightly)[0]
        ended = [until(lambda run=run: over(client, run), "the end of ingest") for run in (first, hand, request)]
        assert [run.state_name for run in ended] == ["Completed"] * 3
        assert [run.name for run in ended][1] == f"ingest {bucket}/by-hand → 1 shard"

        transcribed = sorted(children(client, [first, hand, request]), key=lambda run: run.start_time)
        assert [run.work_queue_name for run in transcribed] == ["interactive", "interactive", "batch"]
        assert transcribed[:2] == sorted(transcribed[:2], key=lambda run: run.expected_start_time)
        for run in transcribed:
            assert len([line for line in said(client, run.id) if line.endswith(": done")]) == 2
        client.delete_deployment(nightly)
    for _, destination in (scheduled, by_hand, by_request):
        store = open_store(destination)
        assert [name.status for name in list_receipts(store)] == ["done", "done"]
        assert len([info for info in store.list() if info.key.endswith("transcript.json")]) == 2


def test_cancelling_the_parent_cancels_what_it_started(workers: PrefectServer, bucket: str) -> None:
    from prefect.states import Cancelling

    source, destination = filled(bucket, "cancelled", count=1)
    with workers.client() as client:
        client.update_work_pool("stenopool-gpu", work_pool_update(is_paused=True))
        parent = started_by_api(workers, source, destination, key=f"cancel-{bucket}")
        (child,) = until(lambda: children(client, [parent]), "transcribe")
        client.set_flow_run_state(parent, Cancelling())
        until(lambda: client.read_flow_run(parent).state.is_cancelled(), "the end of the parent")
        until(lambda: client.read_flow_run(child.id).state.is_cancelled(), "the end of the child")
        client.update_work_pool("stenopool-gpu", work_pool_update(is_paused=False))
    # The result of prepare is kept; the recording is still pending.
    assert list(list_receipts(open_store(destination))) == []


def work_pool_update(**changes: Any) -> Any:
    from prefect.client.schemas.actions import WorkPoolUpdate

    return WorkPoolUpdate(**changes)


def of(client: Any, deployment: UUID) -> list[UUID]:
    """The deployment's due runs."""
    from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId

    runs = client.read_flow_runs(deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])))
    due = [run for run in runs if run.expected_start_time <= datetime.now(UTC)]
    return [run.id for run in sorted(due, key=lambda run: run.expected_start_time)]


def left_out(client: Any, deployment: UUID) -> bool:
    """Whether the second of the deployment's runs was cancelled because the first is in progress."""
    runs = of(client, deployment)
    state = client.read_flow_run(runs[1]).state if len(runs) > 1 else None
    return bool(state and state.is_cancelled() and "limit" in state.message)


def children(client: Any, parents: list[UUID]) -> list[FlowRun]:
    """The runs of `transcribe` started by these runs of `ingest`."""
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterParentFlowRunId

    if not parents:
        return []
    return list(
        client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=["transcribe"])),
            flow_run_filter=FlowRunFilter(parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=parents)),
        )
    )


def said(client: Any, run: UUID) -> list[str]:
    """A run's log."""
    from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId

    return [log.message for log in client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run])))]


def over(client: Any, run: UUID) -> FlowRun | None:
    found: FlowRun = client.read_flow_run(run)
    return found if found.state and found.state.is_final() else None
