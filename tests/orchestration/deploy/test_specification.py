"""prefect.yaml and files of the same format: accepted and refused contents, and that Prefect itself reads ours."""

from pathlib import Path

import pytest

from stenopool.errors import ErrorCode, SetupError
from stenopool.orchestration.deploy.specification import FLOWS, read

NIGHTLY = """
deployments:
  - name: nightly
    entrypoint: flows/ingest.py:ingest
    work_pool: {name: cpu, work_queue_name: ingest-batch}
    parameters: {source: "s3://calls", destination: "s3://transcripts"}
    schedules: [{cron: "0 2 * * *", timezone: Europe/Zurich}]
    concurrency_limit: {limit: 1, collision_strategy: CANCEL_NEW}
"""


def test_every_flow_has_a_deployment() -> None:
    assert {deployment.entrypoint for deployment in read()} == set(FLOWS) - {"flows/watch.py:watch"}  # needs a queue


def test_a_users_file_adds_and_replaces_deployments(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(NIGHTLY)
    added = {deployment.name for deployment in read(own)} - {deployment.name for deployment in read()}
    assert added == {"nightly"}
    own.write_text(NIGHTLY.replace("name: nightly", "name: batch"))
    (batch,) = [deployment for deployment in read(own) if deployment.name == "batch"]
    assert batch.schedules[0].timezone == "Europe/Zurich"


@pytest.mark.parametrize(
    ("right", "wrong", "named"),
    [
        ("Europe/Zurich", "Europe/Zuerich", "Europe/Zuerich"),
        ("0 2 * * *", "0 2 * *", "cron"),
        ("flows/ingest.py:ingest", "os.system", "os.system"),
        ("name: cpu,", "name: tpu,", "work_pool.name"),
        ("CANCEL_NEW", "SKIP", "collision_strategy"),
        ("source:", "sauce:", "source"),
        ("parameters:", "parameter:", "parameter"),
        ("deployments:", "deployments: [", "YAML"),
    ],
)
def test_errors_are_named(tmp_path: Path, right: str, wrong: str, named: str) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(NIGHTLY.replace(right, wrong))
    with pytest.raises(SetupError) as caught:
        read(own)
    assert caught.value.code is ErrorCode.OPTIONS_INVALID
    assert named in caught.value.message
    assert "own.yaml" in caught.value.message
