"""Everything applied to a real server: what is there afterwards, that a second time changes nothing, what is told."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client

from stenopool.errors import SetupError
from stenopool.orchestration.deploy.apply import apply
from tests.orchestration.deploy.test_specification import NIGHTLY

pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.fixture
def nightly(tmp_path: Path) -> Path:
    path = tmp_path / "own.yaml"
    path.write_text(NIGHTLY)
    return path


def applied(*files: Path, **options: Any) -> list[str]:
    return asyncio.run(apply(options.pop("target", "local"), files, **options))


def test_all_is_there_and_a_second_time_changes_nothing(nightly: Path) -> None:
    applied(nightly)

    async def there() -> set[str]:
        async with get_client() as client:
            flows = {flow.id: flow.name for flow in await client.read_flows()}
            return {
                *(f"pool {pool.name}" for pool in await client.read_work_pools()),
                *(f"{flows[one.flow_id]}/{one.name}" for one in await client.read_deployments()),
                *(automation.name for automation in await client.read_automations()),
                (await client.read_block_document_by_name("default", "transcription-profile")).name or "",
            }

    assert {
        "pool cpu",
        "pool gpu",
        "ingest/interactive",
        "ingest/batch",
        "ingest/nightly",
        "prepare/cpu",
        "transcribe/gpu",
        "stenopool: runs whose machine is gone",
        "default",
    } <= asyncio.run(there())
    assert applied(nightly) == []


def test_only_what_differs_is_told(nightly: Path) -> None:
    applied(nightly)
    nightly.write_text(NIGHTLY.replace("0 2 * * *", "0 3 * * *"))
    (change,) = applied(nightly)
    assert change.startswith("~ deployment ingest/nightly: schedules")
    assert applied(nightly, gpus=3) == ["~ work pool gpu: limit 1 → 3"]
    assert applied(nightly) == []  # what was set stays
    assert applied() == []
    assert applied(prune=True) == ["- deployment ingest/nightly"]


def test_the_pools_move_from_processes_to_kubernetes(nightly: Path) -> None:
    applied()
    changes = applied(target="kubernetes")
    assert "~ work pool gpu: type process → kubernetes" in changes
    assert not [change for change in changes if change.startswith("-")]
    assert applied(target="kubernetes") == []


def test_interactive_is_served_first_and_parents_last() -> None:
    applied()

    async def queues(pool: str) -> list[str]:
        async with get_client() as client:
            found = await client.read_work_queues(work_pool_name=pool)
        return [queue.name for queue in sorted(found, key=lambda queue: queue.priority or 0)]

    assert asyncio.run(queues("cpu"))[:4] == ["interactive", "batch", "ingest-interactive", "ingest-batch"]
    assert asyncio.run(queues("gpu"))[:2] == ["interactive", "batch"]


def test_failures_are_told_to_a_block_that_is_there() -> None:
    from prefect.blocks.notifications import SlackWebhook

    with pytest.raises(SetupError, match="slack-webhook/nobody"):
        applied(notify="slack-webhook/nobody")

    async def save() -> None:
        await SlackWebhook(url="https://hooks.slack.invalid/services/planted-secret").asave("ops", overwrite=True)

    asyncio.run(save())
    (change,) = applied(notify="slack-webhook/ops")
    assert change == "+ automation stenopool: a run failed"
    assert applied(notify="slack-webhook/ops") == applied() == []
