"""Deploying to a real server: the result, that a second time changes nothing, and foreign objects that stay."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import pytest
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

from stenopool.errors import ErrorCode, SetupError
from stenopool.orchestration.deploy.apply import apply, find_old_pools
from stenopool.orchestration.deploy.automations import LONGEST_START
from stenopool.orchestration.deploy.pools import read_changes, template
from stenopool.orchestration.names import FAILURES, HEARTBEAT_SECONDS, MARK, NEVER_STARTED, TAG, ZOMBIES
from stenopool.settings import get_settings
from tests.orchestration.deploy.test_specification import NIGHTLY

T = TypeVar("T")


def with_client(do: Callable[[PrefectClient], Awaitable[T]]) -> T:
    async def inside() -> T:
        async with get_client() as client:
            return await do(client)

    return asyncio.run(inside())


@pytest.fixture(autouse=True)
def empty_server(prefect_api: None) -> None:
    """The server is shared, so objects of earlier tests are deleted."""

    async def remove(client: PrefectClient) -> None:
        for automation in await client.read_automations():
            await client.delete_automation(automation.id)
        for deployment in await client.read_deployments():
            await client.delete_deployment(deployment.id)
        for pool in await client.read_work_pools():
            await client.delete_work_pool(pool.name)

    with_client(remove)


def test_changes_of_job_templates_are_applied_and_reported(tmp_path: Path) -> None:
    file = tmp_path / "pools.yaml"
    file.write_text("gpu: {variables: {runtime_class_name: nvidia}}")
    changes = read_changes(file)
    applied(target="kubernetes", changes=changes)
    assert applied(target="kubernetes", changes=changes) == []
    pool = with_client(lambda client: client.read_work_pool("stenopool-gpu"))
    assert pool.base_job_template["variables"]["properties"]["runtime_class_name"]["default"] == "nvidia"
    deployment = with_client(lambda client: client.read_deployment_by_name("ingest/batch"))
    assert deployment.job_variables["cpu_request"] == "250m"
    # Without the file they are gone, and said to be.
    assert applied(target="kubernetes") == ["~ work pool stenopool-gpu: job template changed"]


@pytest.fixture
def nightly(tmp_path: Path) -> Path:
    path = tmp_path / "own.yaml"
    path.write_text(NIGHTLY)
    return path


def applied(*files: Path, **options: Any) -> list[str]:
    return asyncio.run(apply(options.pop("target", "local"), files, **options))


def add_pool(name: str, kind: str = "process", **more: Any) -> None:
    with_client(lambda client: client.create_work_pool(WorkPoolCreate(name=name, type=kind, **more)))


def add_run(pool: str, *, tags: list[str], name: str = "somebodys", queue: str = "batch") -> UUID:
    """A run that waits in a pool, from a deployment with these tags."""

    async def add(client: PrefectClient) -> UUID:
        flow = await client.create_flow_from_name("ingest")
        made = await client.create_deployment(
            flow_id=flow, name=name, work_pool_name=pool, work_queue_name=queue, tags=tags
        )
        return (await client.create_flow_run_from_deployment(made)).id

    return with_client(add)


def everything() -> dict[str, Any]:
    """The server's pools, deployments and automations, with their modification times."""

    async def read(client: PrefectClient) -> dict[str, Any]:
        return {
            **{f"pool {pool.name}": pool.model_dump(exclude={"status"}) for pool in await client.read_work_pools()},
            **{f"deployment {each.name}": each.updated for each in await client.read_deployments()},
            **{f"automation {each.name}": each.model_dump() for each in await client.read_automations()},
        }

    return with_client(read)


def refuse(**options: Any) -> SetupError:
    """The deployment is refused, and nothing has changed."""
    before = everything()
    with pytest.raises(SetupError) as caught:
        applied(**options)
    assert everything() == before
    return caught.value


def test_everything_is_created_and_a_second_time_changes_nothing(nightly: Path) -> None:
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
        "pool stenopool-cpu",
        "pool stenopool-gpu",
        "ingest/interactive",
        "ingest/batch",
        "ingest/nightly",
        "prepare/cpu",
        "transcribe/gpu",
        ZOMBIES,
        "default",
    } <= asyncio.run(there())
    assert applied(nightly) == []


def test_only_differences_are_reported(nightly: Path) -> None:
    applied(nightly)
    nightly.write_text(NIGHTLY.replace("0 2 * * *", "0 3 * * *"))
    (change,) = applied(nightly)
    assert change.startswith("~ deployment ingest/nightly: schedules")
    assert applied(nightly, gpus=3) == ["~ work pool stenopool-gpu: limit 1 → 3"]
    assert applied(nightly) == []  # existing values stay
    assert applied() == []
    assert applied(prune=True) == ["- deployment ingest/nightly"]


def test_pools_change_from_processes_to_kubernetes(nightly: Path) -> None:
    applied()
    changes = applied(target="kubernetes")
    assert "~ work pool stenopool-gpu: type process → kubernetes" in changes
    assert not [change for change in changes if change.startswith("-")]
    assert applied(target="kubernetes") == []


def test_interactive_is_served_first_and_parents_last() -> None:
    applied()

    async def queues(pool: str) -> list[str]:
        async with get_client() as client:
            found = await client.read_work_queues(work_pool_name=pool)
        return [queue.name for queue in sorted(found, key=lambda queue: queue.priority or 0)]

    assert asyncio.run(queues("stenopool-cpu"))[:4] == ["interactive", "batch", "ingest-interactive", "ingest-batch"]
    assert asyncio.run(queues("stenopool-gpu"))[:2] == ["interactive", "batch"]


def test_failure_notifications_need_an_existing_block() -> None:
    from prefect.blocks.notifications import SlackWebhook

    applied()

    with pytest.raises(SetupError, match="slack-webhook/nobody"):
        applied(notify="slack-webhook/nobody")

    async def save() -> None:
        await SlackWebhook(url="https://hooks.slack.invalid/services/planted-secret").asave("ops", overwrite=True)

    asyncio.run(save())
    (change,) = applied(notify="slack-webhook/ops")
    assert change == f"+ automation {FAILURES}"
    assert applied(notify="slack-webhook/ops") == applied() == []


@pytest.mark.parametrize(
    ("kind", "more", "adopted"),
    [
        ("process", {"description": "The vision team's."}, True),
        ("process", {"concurrency_limit": 3}, True),
        ("process", {"is_used": True}, True),
        ("docker", {}, False),  # another type is never overwritten, because the pool would have to be deleted
    ],
)
def test_a_foreign_pool_is_not_changed(kind: str, more: dict[str, Any], adopted: bool) -> None:
    is_used = more.pop("is_used", False)
    add_pool("stenopool-gpu", kind, **more)
    if is_used:
        add_run("stenopool-gpu", tags=[])
    error = refuse()
    assert error.code is ErrorCode.NAME_TAKEN
    assert "work pool stenopool-gpu" in error.message
    assert "--adopt" in error.remedy
    if not adopted:
        assert refuse(adopt=True).code is ErrorCode.NAME_TAKEN
        return
    assert "~ work pool stenopool-gpu: job template changed" in applied(adopt=True)
    assert applied() == []  # it is ours now


def test_a_pool_created_earlier_by_a_worker_is_adopted() -> None:
    add_pool("stenopool-cpu")
    assert any(change.startswith("~ work pool stenopool-cpu") for change in applied())


def test_pools_without_the_prefix_are_not_changed() -> None:
    add_pool("cpu", "docker", description="The vision team's.")
    add_pool("gpu")
    before = everything()
    applied()
    applied(prune=True, target="kubernetes")
    assert before.items() <= everything().items()


def test_another_prefix_changes_the_names_of_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    add_pool("stenopool-gpu", "docker")
    monkeypatch.setenv("STENOPOOL_DISPATCH__POOL_PREFIX", "speech.")
    get_settings.cache_clear()
    applied()
    assert {"pool speech.cpu", "pool speech.gpu", "pool stenopool-gpu"} <= everything().keys()
    assert applied() == []


def test_a_pool_in_use_keeps_its_type() -> None:
    applied()
    run = add_run("stenopool-gpu", tags=["stenopool"])
    error = refuse(target="kubernetes")
    assert "1 open runs" in error.message
    end(run)
    applied(target="kubernetes")


def end(run: UUID) -> None:
    from prefect.states import Cancelled

    with_client(lambda client: client.set_flow_run_state(run, Cancelled(), force=True))


def test_deployments_move_from_old_pools_and_waiting_runs_stay(nightly: Path) -> None:
    for kind in ("cpu", "gpu"):
        add_pool(kind, base_job_template=template(kind, "process"))
    run = add_run("cpu", tags=["stenopool"], name="nightly", queue="ingest-batch")
    changes = applied()
    assert "~ deployment ingest/nightly: pool cpu/ingest-batch → stenopool-cpu/ingest-batch" in changes
    assert not [change for change in changes if change.startswith("-")]
    assert asyncio.run(find_old_pools()) == {"cpu": 1, "gpu": 0}
    # A worker that still serves the old pool gets the run.
    waiting = with_client(lambda client: client.get_scheduled_flow_runs_for_work_pool("cpu"))
    assert [each.flow_run.id for each in waiting] == [run]

    changes = applied(nightly, prune=True)
    assert "- work pool gpu" in changes
    assert "- work pool cpu" not in changes
    end(run)
    assert applied(nightly, prune=True) == ["- queue cpu/ingest-batch", "- work pool cpu"]
    assert asyncio.run(find_old_pools()) == {}


def test_a_foreign_automation_is_not_changed() -> None:
    trigger = EventTrigger(expect={"somebody.else"}, posture=Posture.Reactive, threshold=1)
    foreign = AutomationCore(name=ZOMBIES, trigger=trigger, actions=[])
    with_client(lambda client: client.create_automation(foreign))
    error = refuse()
    assert error.code is ErrorCode.NAME_TAKEN
    assert ZOMBIES in error.message
    applied(adopt=True)
    assert applied() == []


def test_automations_of_earlier_versions_are_adopted_and_match_only_our_runs() -> None:
    from prefect.blocks.notifications import SlackWebhook

    async def add(client: PrefectClient) -> UUID:
        hook = SlackWebhook(url="https://hooks.slack.invalid/services/planted-secret")
        block = await hook.asave("earlier", overwrite=True)
        every_run = EventTrigger(
            expect={"prefect.flow-run.Failed"},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            posture=Posture.Reactive,
            threshold=1,
        )
        tell = SendNotification(block_document_id=block, subject="x", body="y")
        await client.create_automation(
            AutomationCore(name="stenopool: a run failed", trigger=every_run, actions=[tell])
        )
        await client.create_automation(
            AutomationCore(name="stenopool: runs whose machine is gone", trigger=every_run, actions=[])
        )
        return block

    block = with_client(add)
    changes = applied()
    assert {f"+ automation {FAILURES}", "- automation stenopool: a run failed"} <= set(changes)
    found = {each.name: each for each in with_client(lambda client: client.read_automations())}
    assert found.keys() == {ZOMBIES, FAILURES, NEVER_STARTED}
    assert found[FAILURES].actions[0].block_document_id == block
    for automation in found.values():
        assert MARK in automation.description
        related = automation.trigger.match_related.model_dump()
        assert related == {"prefect.resource.id": f"prefect.tag.{TAG}", "prefect.resource.role": "tag"}
    assert found[ZOMBIES].trigger.within == timedelta(seconds=4 * HEARTBEAT_SECONDS)
    assert found[NEVER_STARTED].trigger.within == LONGEST_START["local"]
    assert applied() == []
