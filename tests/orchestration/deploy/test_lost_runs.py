"""Runs whose worker or machine vanished hold no slot forever, even if the server is killed without Redis."""

import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
from prefect.events.schemas.automations import AutomationCore
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from prefect.states import AwaitingRetry, Pending, Running, State

from stenopool.orchestration.deploy import automations
from stenopool.orchestration.deploy.server import settings
from stenopool.orchestration.names import TAG
from tests.orchestration.deploy.test_apply import with_client
from tests.support.prefect_server import PrefectServer
from tests.support.processes import Server, free_port, without_prefect
from tests.support.waiting import wait_until

LEASE, PATIENCE = 30, 15  # seconds


class LocalServer(PrefectServer):
    """On SQLite and without Redis, as `stenopool up` starts it, but with seconds in place of minutes."""

    def __init__(self, folder: Path) -> None:
        Server.__init__(self, "the local Prefect server", folder / "server.log")
        self.folder, self.port, self.auth = folder, free_port(), "stenopool:word"
        self.url = f"http://127.0.0.1:{self.port}/api"

    def start(self) -> None:
        environment = {
            **without_prefect(),
            **settings(redis=False),
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{self.folder}/prefect.db",
            "PREFECT_SERVER_API_AUTH_STRING": self.auth,
            "PREFECT_HOME": str(self.folder),
            "PREFECT_UI_ENABLED": "0",
            "PREFECT_SERVER_CONCURRENCY_INITIAL_DEPLOYMENT_LEASE_DURATION": str(LEASE),
            "PREFECT_SERVER_SERVICES_REPOSSESSOR_LOOP_SECONDS": "2",
        }
        command = [sys.executable, "-P", "-m", "prefect", "server", "start", "--host=127.0.0.1", f"--port={self.port}"]
        self.spawn(command, self.answers, environment=environment)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LocalServer]:
    server = LocalServer(tmp_path)
    server.start()
    with temporary_settings({PREFECT_API_URL: server.url, PREFECT_API_AUTH_STRING: server.auth}):
        yield server
    server.stop()


def add_run(client: SyncPrefectClient, name: str, *states: State, tags: tuple[str, ...] = (TAG,)) -> UUID:
    """A run of the deployment ``name``, taken through these states."""
    options = ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
    limit: dict[str, Any] = {"concurrency_limit": 1, "concurrency_options": options} if name == "scheduled" else {}
    made = client.create_deployment(flow_id=client.create_flow_from_name("f"), name=name, tags=list(tags), **limit)
    run = client.create_flow_run_from_deployment(made).id
    for state in states:
        client.set_flow_run_state(run, state)
    return run


def state_of(client: SyncPrefectClient, run: UUID) -> str:
    state = client.read_flow_run(run).state
    assert state is not None
    return state.name


def send_heartbeat(server: LocalServer, run: UUID) -> None:
    event = {
        "event": "prefect.flow-run.heartbeat",
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "resource": {"prefect.resource.id": f"prefect.flow-run.{run}"},
        "related": [{"prefect.resource.id": f"prefect.tag.{TAG}", "prefect.resource.role": "tag"}],
    }
    user, _, word = server.auth.partition(":")
    httpx.post(f"{server.url}/events", json=[event], auth=(user, word)).raise_for_status()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.fault(
    "runs die between Pending and Running, and the server is killed (no Redis)",
    "They end, and their slots are free within minutes. Runs that wait for another machine are left alone.",
)
def test_no_slot_is_held_forever(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def soon(*given: Any) -> list[AutomationCore]:
        found = real(*given)
        within = timedelta(seconds=PATIENCE)
        return [one.model_copy(update={"trigger": one.trigger.model_copy(update={"within": within})}) for one in found]

    real = automations.read_automations
    monkeypatch.setattr(automations, "read_automations", soon)
    with_client(lambda client: automations.apply_automations(client, "local", None))
    time.sleep(3)  # the server's triggers learn of a new automation
    with server.client() as client:
        # Not ours: only its lease ends its hold on its schedule.
        add_run(client, "scheduled", Pending(), tags=())
        assert state_of(client, add_run(client, "scheduled", Pending(), tags=())) == "Cancelled"
        never, theirs = add_run(client, "never", Pending()), add_run(client, "theirs", Pending(), tags=())
        silent = add_run(client, "silent", Pending(), Running())
        evicted = add_run(client, "evicted", Pending(), Running())
        send_heartbeat(server, evicted)
        client.set_flow_run_state(evicted, AwaitingRetry(scheduled_time=datetime.now(UTC) + timedelta(hours=1)))
        time.sleep(3)  # events are being stored; a kill loses those of the last moment
        server.kill()
        server.start()
        wait_until(lambda: state_of(client, never) == "Crashed", "the end of the run that never started", seconds=60)
        wait_until(lambda: state_of(client, silent) == "Crashed", "the end of the run without events", seconds=60)
        again = lambda: state_of(client, add_run(client, "scheduled", Pending(), tags=())) == "Pending"  # noqa: E731
        wait_until(again, "a free slot of the schedule", seconds=LEASE + 60)
        assert state_of(client, evicted) == "AwaitingRetry"
        assert state_of(client, theirs) == "Pending"


def test_deploy_ends_runs_that_waited_too_long_for_their_start(
    prefect_api: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For runs without events: of an earlier version, or lost with the server's memory."""

    def deploy() -> list[str]:
        return with_client(lambda client: automations.end_runs_that_never_started(client, "local"))

    with get_client(sync_client=True) as client:
        late, theirs = add_run(client, "late", Pending()), add_run(client, "theirs", Pending(), tags=())
        running, waiting = add_run(client, "running", Pending(), Running()), add_run(client, "waiting")
        assert client.read_flow_run(late).name not in deploy()
        time.sleep(2.1)
        new = add_run(client, "new", Pending())
        monkeypatch.setitem(automations.LONGEST_START, "local", timedelta(seconds=2))
        assert client.read_flow_run(late).name in deploy()
        found = [state_of(client, run) for run in (late, new, theirs, running, waiting)]
    assert found == ["Crashed", "Pending", "Pending", "Running", "Scheduled"]
