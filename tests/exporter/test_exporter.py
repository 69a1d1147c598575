"""The exporter's page before, between and after refreshes; its queries to a real Prefect server."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from stenopool.errors import StorageUnavailable
from stenopool.exporter import prefect_facts
from stenopool.exporter.app import Exporter
from stenopool.metrics.definitions import read_metrics
from stenopool.pipeline.outcomes import ShardLog, StageAttempt, fold
from stenopool.storage.local import LocalStore
from tests.exporter.test_ledger import batch
from tests.support.processes import free_port
from tests.support.prometheus import lint, needs_prometheus


def page(exporter: Exporter) -> str:
    registry = CollectorRegistry()
    registry.register(exporter)
    return generate_latest(registry).decode()


def values(page: str, name: str) -> dict[tuple[str, ...], float]:
    """Samples by their label values, in order of the label names."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name
    }


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "destination")


def test_counters_are_absent_before_the_first_refresh(store: LocalStore) -> None:
    batch("20260101T000000Z-a", 3).write(store)

    async def pages() -> tuple[str, str]:
        exporter = Exporter([store], None)
        before = page(exporter)
        assert exporter.health.status == "failed"
        await exporter.refresh()
        assert exporter.health.dependencies == {"destination": "ok"}
        return before, page(exporter)

    before, after = asyncio.run(pages())
    assert "stenopool_recordings_total" not in before
    assert "stenopool_build_info" in before
    assert values(after, "stenopool_recordings_total")["", "done"] == 3
    # Alarming counters start at 0, so that the first increase is visible.
    assert values(after, "stenopool_recordings_total")["EMPTY_FILE", "quarantined"] == 0
    assert values(after, "stenopool_batches_total") == {("complete",): 1, ("incomplete",): 0, ("lost",): 0}
    assert "stenopool_queue_depth" not in after


def test_while_a_store_is_down_the_last_values_and_the_error_are_shown(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch("20260101T000000Z-a", 3).write(store)

    def away(*_: Any, **__: Any) -> Any:
        raise StorageUnavailable("no route")

    async def look() -> str:
        exporter = Exporter([store], None)
        await exporter.refresh()
        with monkeypatch.context() as patch:
            patch.setattr(LocalStore, "list", away)
            await exporter.refresh()
        assert exporter.health.dependencies == {"destination": "failed"}
        return page(exporter)

    said = asyncio.run(look())
    assert values(said, "stenopool_recordings_total")["", "done"] == 3
    assert values(said, "stenopool_dependency_up") == {("destination",): 0}
    assert values(said, "stenopool_collection_errors_total") == {("destination",): 1}


def test_while_prefect_is_down_batches_are_counted_and_none_is_lost(store: LocalStore) -> None:
    from prefect.client.orchestration import PrefectClient

    running = batch("20260101T000000Z-a", 3, age=timedelta(days=2), status="running")
    running.model_copy(update={"flow_run": str(uuid4())}).write(store)

    async def look() -> tuple[Exporter, str]:
        async with PrefectClient(f"http://127.0.0.1:{free_port()}/api") as nobody:
            exporter = Exporter([store], nobody)
            await exporter.refresh()
            return exporter, page(exporter)

    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
        exporter, said = asyncio.run(look())
    assert exporter.health.dependencies == {"destination": "ok", "prefect": "failed"}
    assert values(said, "stenopool_recordings_total")["", "done"] == 3
    assert values(said, "stenopool_batches_running") == {(): 1}


def test_several_destinations_are_added_up(tmp_path: Path) -> None:
    stores = [LocalStore(tmp_path / name) for name in ("a", "b")]
    for number, one in enumerate(stores):
        batch("20260101T000000Z-a", 3 + number).write(one)

    async def look() -> str:
        exporter = Exporter(stores, None)
        await exporter.refresh()
        return page(exporter)

    said = asyncio.run(look())
    assert values(said, "stenopool_recordings_total")["", "done"] == 7
    assert values(said, "stenopool_audio_seconds_total") == {("faster-whisper", "base"): 10.5}


@needs_prometheus
def test_every_metric_of_the_exporter_is_present_and_promtool_finds_nothing(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STENOPOOL_PRICES__DAILY_BUDGET", "20")
    full = batch("20260101T000000Z-a", 3)
    attempt = StageAttempt(stage="fetch", working=((0, 0.5),), audio=9.0, again=True, error="SOURCE_UNAVAILABLE")
    full.sums.tally.add(fold([ShardLog(attempts=[attempt])]).tally)
    full.sums.tally.checkpoints["prepare"] = full.sums.tally.flags["no_speech"] = 1
    full.sums.failures["fetch TOO_LARGE"] = 1
    full.speed = {"batch": 20.0}
    full.write(store)

    async def look() -> str:
        exporter = Exporter([store], None)
        exporter._facts = prefect_facts.Facts(
            depth={("gpu/batch", "waiting"): 1}, oldest={"gpu/batch": 3.0}, paused={"gpu/batch": False}
        )
        exporter._facts.workers["gpu", "online"] = 1
        exporter._facts.last_seen["gpu"] = datetime.now(UTC)
        await exporter.refresh()
        return page(exporter)

    said = asyncio.run(look())
    assert lint(said) == ""
    samples = {sample.name for family in text_string_to_metric_families(said) for sample in family.samples}
    for metric in read_metrics().values():
        if "exporter" in metric.programs:
            assert (metric.name if metric.kind != "histogram" else f"{metric.name}_bucket") in samples, metric.name
    assert values(said, "stenopool_stage_seconds_bucket")["1.0", "fetch"] == 1
    assert values(said, "stenopool_transient_errors_total")["SOURCE_UNAVAILABLE", "fetch"] == 1


@pytest.fixture
def pools(prefect_api: None) -> Iterator[None]:
    from prefect.client.orchestration import get_client

    from stenopool.orchestration.deploy.pools import apply_pools

    async def make() -> None:
        async with get_client() as client:
            await apply_pools(client, "local", None, None)

    asyncio.run(make())
    yield
    asyncio.run(without_pools())


async def without_pools() -> None:
    """Other tests on the same server may have left pools, and runs in them."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    async with get_client() as client:
        for pool in ("cpu", "gpu"):
            with suppress(ObjectNotFound):
                await client.delete_work_pool(f"stenopool-{pool}")


def test_before_deployment_there_are_no_runs_and_no_errors(prefect_api: None) -> None:
    asyncio.run(without_pools())
    facts = asyncio.run(current_facts())
    assert set(facts.depth.values()) == {0}
    assert facts.last_seen == {"cpu": None, "gpu": None}


async def current_facts() -> prefect_facts.Facts:
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        return await prefect_facts.read_facts(client)


def test_queues_and_workers_are_those_of_prefect(pools: None) -> None:
    from prefect.client.orchestration import get_client
    from prefect.states import Pending, Running, Scheduled

    async def arrange() -> UUID:
        async with get_client() as client:
            flow = await client.create_flow_from_name("waits")
            made = await client.create_deployment(
                flow_id=flow, name="here", work_pool_name="stenopool-gpu", work_queue_name="batch"
            )
            now = datetime.now(UTC)
            due = now - timedelta(seconds=90)
            runs = []
            for when in (due, now, now + timedelta(days=1), now, now):
                run = await client.create_flow_run_from_deployment(made, state=Scheduled(scheduled_time=when))
                runs.append(run.id)
            await client.set_flow_run_state(runs[3], Pending(), force=True)
            await client.set_flow_run_state(runs[4], Running(), force=True)
            await client.send_worker_heartbeat(
                work_pool_name="stenopool-gpu", worker_name="one", heartbeat_interval_seconds=30
            )
            queue = await client.read_work_queue_by_name("interactive", work_pool_name="stenopool-gpu")
            await client.update_work_queue(queue.id, is_paused=True)
            return made

    made = asyncio.run(arrange())
    facts = asyncio.run(current_facts())
    depth = {state: facts.depth["gpu/batch", state] for state in ("waiting", "pending", "running")}
    assert depth == {"waiting": 2, "pending": 1, "running": 1}  # tomorrow's does not wait
    assert facts.depth["gpu/interactive", "waiting"] == 0
    assert 85 < facts.oldest["gpu/batch"] < 150
    assert facts.oldest["cpu/batch"] == 0
    assert (facts.paused["gpu/interactive"], facts.paused["gpu/batch"]) == (True, False)
    assert facts.workers["gpu", "online"] == 1
    assert facts.workers["cpu", "online"] == 0
    assert facts.last_seen["gpu"] is not None
    assert facts.last_seen["cpu"] is None

    async def tidy() -> None:
        async with get_client() as client:
            await client.delete_deployment(made)

    asyncio.run(tidy())


def test_queues_of_a_paused_pool_are_paused(pools: None) -> None:
    """The upgrade guide pauses pools."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolUpdate

    async def pause(paused: bool) -> None:
        async with get_client() as client:
            await client.update_work_pool("stenopool-cpu", WorkPoolUpdate(is_paused=paused))

    asyncio.run(pause(True))
    try:
        facts = asyncio.run(current_facts())
    finally:
        asyncio.run(pause(False))
    assert {name for name, paused in facts.paused.items() if paused and name.startswith("cpu/")} == {
        name for name in facts.paused if name.startswith("cpu/")
    }
    assert not facts.paused["gpu/batch"]


def test_prefect_decides_whether_a_run_has_ended(prefect_api: None) -> None:
    from prefect.client.orchestration import get_client
    from prefect.states import Crashed, Running

    async def asked() -> list[bool | None]:
        async with get_client() as client:
            flow = await client.create_flow_from_name("parent")
            made = await client.create_deployment(flow_id=flow, name="over")
            run = (await client.create_flow_run_from_deployment(made, state=Running())).id
            answers = [await prefect_facts.is_over(client, run), await prefect_facts.is_over(client, uuid4())]
            await client.set_flow_run_state(run, Crashed(), force=True)
            answers.append(await prefect_facts.is_over(client, run))
            await client.delete_deployment(made)
            return answers

    assert asyncio.run(asked()) == [False, None, True]


def test_a_run_is_a_zombie_when_its_heartbeat_has_stopped() -> None:
    """The harness's server keeps no events, so a stand-in returns them."""
    now = datetime.now(UTC)
    runs = [SimpleNamespace(id=uuid4(), start_time=now - timedelta(seconds=age)) for age in (10, 600, 600, 600)]
    heard = {runs[1].id: 20, runs[2].id: 300}  # seconds ago; the last one died before its first

    class Server:
        async def read_flow_runs(self, **_: Any) -> list[Any]:
            return runs

        async def read_events(self, wanted: Any, limit: int) -> Any:
            assert set(wanted.resource.id) == {f"prefect.flow-run.{run.id}" for run in runs[1:]}
            events = [
                SimpleNamespace(
                    resource=SimpleNamespace(id=f"prefect.flow-run.{run}"), occurred=now - timedelta(seconds=ago)
                )
                for run, ago in heard.items()
            ]
            return SimpleNamespace(events=events, next_page=None)

    facts = prefect_facts.Facts()
    asyncio.run(prefect_facts._count_zombies(Server(), facts))  # type: ignore[arg-type]
    assert facts.zombies == 2
