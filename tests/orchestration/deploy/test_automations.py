"""The automations on a real server, with real runs, both ours and foreign ones."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from prefect.states import Failed

from stenopool.orchestration.deploy import automations
from stenopool.orchestration.names import TAG
from tests.support.prefect_server import PrefectServer
from tests.support.processes import without_prefect
from tests.support.receiver import Receiver, receiving

FLOW = """
import time
from prefect import flow

@flow
def waits():
    time.sleep(600)
"""


@pytest.fixture
def client(prefect_server: PrefectServer) -> Iterator[SyncPrefectClient]:
    """Clients in this process use the server; no automation remains on it."""
    with (
        temporary_settings({PREFECT_API_URL: prefect_server.url, PREFECT_API_AUTH_STRING: prefect_server.auth}),
        prefect_server.client() as client,
    ):
        remove_automations()
        yield client
        remove_automations()


def remove_automations() -> None:
    async def remove() -> None:
        async with get_client() as client:
            for automation in await client.read_automations():
                await client.delete_automation(automation.id)

    asyncio.run(remove())


def apply(block: str | None = None) -> None:
    async def inside() -> None:
        async with get_client() as client:
            await automations.apply_automations(client, "local", block)

    asyncio.run(inside())


def add_run(client: SyncPrefectClient, tags: list[str], entrypoint: str | None = None) -> UUID:
    flow = client.create_flow_from_name("waits")
    name = "-".join(["somebodys", *tags])
    step = {"prefect.deployments.steps.set_working_directory": {"directory": "/"}}
    made = client.create_deployment(flow_id=flow, name=name, tags=tags, entrypoint=entrypoint, pull_steps=[step])
    return client.create_flow_run_from_deployment(made).id


def state_of(client: SyncPrefectClient, run: UUID) -> str:
    state = client.read_flow_run(run).state
    assert state is not None
    return state.name


def until(reached: Any, what: str, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, f"no {what} within {seconds} s"
        time.sleep(0.5)


def save_webhook(receiver: Receiver) -> str:
    from prefect.blocks.notifications import CustomWebhookNotificationBlock

    block = CustomWebhookNotificationBlock(
        name="operations", url=receiver.url, method="POST", json_data={"subject": "{{subject}}", "body": "{{body}}"}
    )
    asyncio.run(block.asave("operations", overwrite=True))
    return f"{block.get_block_type_slug()}/operations"


def test_only_our_failures_send_notifications(client: SyncPrefectClient) -> None:
    with receiving() as receiver:
        apply(save_webhook(receiver))
        time.sleep(3)  # the server's triggers learn of a new automation
        theirs, ours = add_run(client, []), add_run(client, [TAG])
        for run in (theirs, ours):  # the foreign failure first: its notification would come before ours
            client.set_flow_run_state(run, Failed(message="It broke."), force=True)
        (call,) = receiver.wait_for(1, seconds=90)
        assert client.read_flow_run(ours).name in call.body.decode()
        time.sleep(5)
        assert len(receiver.calls) == 1


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_only_our_silent_runs_are_ended(
    client: SyncPrefectClient, prefect_server: PrefectServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 30 s is Prefect's minimum for a heartbeat: a healthy run is silent for four of these too.
    ending, _ = automations.read_automations("local", None)
    soon = ending.trigger.model_copy(update={"within": timedelta(seconds=12)})
    monkeypatch.setattr(automations, "read_automations", lambda *_: [ending.model_copy(update={"trigger": soon})])
    apply()
    (tmp_path / "foreign.py").write_text(FLOW)
    entrypoint = f"{tmp_path / 'foreign.py'}:waits"
    runs = [add_run(client, tags, entrypoint) for tags in ([], [TAG])]
    environment = {**without_prefect(), **prefect_server.environment, "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
    command = [sys.executable, "-P", "-m", "prefect", "flow-run", "execute"]
    processes = [
        subprocess.Popen([*command, str(run)], env=environment, start_new_session=True, stdout=subprocess.DEVNULL)
        for run in runs
    ]
    try:
        until(lambda: {state_of(client, run) for run in runs} <= {"Running", "Crashed"}, "running run", 120)
        theirs, ours = runs
        until(lambda: state_of(client, ours) == "Crashed", "our run to crash", 60)
        time.sleep(15)  # the foreign run has been silent for as long, whichever started first
        assert state_of(client, theirs) == "Running"
    finally:
        for process in processes:
            process.kill()
            process.wait()
        # The process that executes the run is in a separate session, and outlives the command.
        for left in running(runs):
            left.kill()
            left.wait()
        assert running(runs) == []


def running(runs: list[UUID]) -> list[psutil.Process]:
    """The processes that execute these runs, regardless of their current parent."""
    ids = [str(run) for run in runs]
    found = psutil.process_iter(["environ"])
    return [one for one in found if (one.info["environ"] or {}).get("PREFECT__FLOW_RUN_ID") in ids]
