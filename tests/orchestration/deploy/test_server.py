"""The server's profile: Prefect has, accepts and follows every setting."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from stenopool import shipped
from stenopool.errors import AccessDenied
from stenopool.orchestration.deploy.server import SECRETS, addresses, require_server, settings
from tests.support.prefect_server import PrefectServer
from tests.support.processes import without_prefect
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from prefect.settings import Settings

REDIS = "redis://:word@cache:6379/0"
ADDRESSES = addresses(database="postgresql://prefect:word@db:5432/prefect", redis=REDIS)
GIVEN = {**settings(), **ADDRESSES, "PREFECT_SERVER_API_AUTH_STRING": "user:word"}
NOT_PREFECTS = {"DO_NOT_TRACK"}  # a convention that many libraries follow


@pytest.fixture
def profile(monkeypatch: pytest.MonkeyPatch) -> "Settings":
    """Prefect's settings, read only from our profile."""
    from prefect.settings import Settings

    for name in os.environ:
        if name.startswith("PREFECT_"):
            monkeypatch.delenv(name)
    for name, value in GIVEN.items():
        monkeypatch.setenv(name, value)
    return Settings()


def test_every_setting_exists_in_prefect_and_its_value_is_accepted(profile: "Settings") -> None:
    taken = set(profile.to_environment_variables(exclude_unset=True, include_secrets=True))
    # prefect-redis reads its own.
    messaging = pytest.importorskip("prefect_redis.client").RedisMessagingSettings()
    cleanup = pytest.importorskip("prefect_redis.cleanup_queue").RedisWorkerCleanupQueueSettings()
    assert messaging.url == cleanup.url == REDIS
    taken |= {"PREFECT_REDIS_MESSAGING_URL", "PREFECT_REDIS_WORKER_CLEANUP_QUEUE_URL"}
    assert GIVEN.keys() - taken == NOT_PREFECTS


def test_the_file_has_no_secrets() -> None:
    assert set(SECRETS) >= {*ADDRESSES, "PREFECT_SERVER_API_AUTH_STRING"}
    assert not settings().keys() & set(SECRETS)


def test_every_setting_has_a_reason() -> None:
    blocks = (shipped.folder() / "deployments/server.env").read_text().split("\n\n")
    assert all(block.startswith("#") for block in blocks)


def test_without_redis_no_setting_refers_to_it() -> None:
    left = settings(redis=False)
    assert left["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert not [name for name, value in left.items() if "redis" in value]


def test_a_server_follows_the_profile(profile: "Settings", prefect_server: PrefectServer) -> None:
    with prefect_server.client() as client:
        in_effect = client.request("GET", "/admin/settings").json()["server"]
    wanted = profile.model_dump(mode="json")["server"]
    for one in (in_effect, wanted):
        one["services"]["db_vacuum"]["enabled"].sort()  # a set
    for part in ("events", "concurrency", "services", "worker_channel", "ui", "analytics_enabled"):
        assert in_effect[part] == wanted[part]
    assert in_effect["database"]["sqlalchemy"] == wanted["database"]["sqlalchemy"]
    assert prefect_server.auth not in json.dumps(in_effect)


def test_the_password_is_required(prefect_server: PrefectServer) -> None:
    asked = f"{prefect_server.url}/flows/filter"
    user, _, word = prefect_server.auth.partition(":")
    assert httpx.post(asked, json={}).status_code == 401
    assert httpx.post(asked, json={}, auth=(user, word + "x")).status_code == 401
    assert httpx.post(asked, json={}, auth=(user, word)).status_code == 200


def test_a_command_without_the_password_says_so(prefect_server: PrefectServer) -> None:
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    for password in (None, "stenopool:wrong"):
        with (
            temporary_settings({PREFECT_API_URL: prefect_server.url, PREFECT_API_AUTH_STRING: password}),
            pytest.raises(AccessDenied, match="refuses the password") as refused,
        ):
            require_server()
        assert "PREFECT_API_AUTH_STRING" in refused.value.remedy
    with temporary_settings({PREFECT_API_URL: prefect_server.url, PREFECT_API_AUTH_STRING: prefect_server.auth}):
        require_server()


def test_pages_of_other_sites_may_not_call_it(prefect_server: PrefectServer) -> None:
    asking = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    asking["Access-Control-Request-Headers"] = "content-type"
    answer = httpx.options(f"{prefect_server.url}/flows/filter", headers=asking)
    assert "access-control-allow-origin" not in answer.headers


def test_the_page_calls_the_server_that_it_came_from(prefect_server: PrefectServer) -> None:
    served = httpx.get(f"{prefect_server.url.removesuffix('/api')}/ui-settings").json()
    assert served["api_url"] == "/api"
    assert served["default_ui"] == "v1", "the newer page contacts amplitude.com"


RUN = """
from prefect import flow, task

@task
def one(number):
    return number

@flow
def many():
    for number in range(30):
        one(number)

many()
"""


def test_task_runs_come_through_redis_into_postgresql(prefect_server: PrefectServer) -> None:
    environment = {**without_prefect(), **prefect_server.environment}
    subprocess.run([sys.executable, "-c", RUN], env=environment, check=True, capture_output=True, timeout=120)

    recorded = "SELECT count(*) FROM task_run WHERE state_type = 'COMPLETED'"
    query = prefect_server.postgres.query
    wait_until(lambda: query(recorded).strip() == "30", "30 task runs are recorded", seconds=60, every=0.5)
    assert prefect_server.redis.client().exists("events")
    assert prefect_server.redis.client().xinfo_groups("events")


def test_without_redis_leases_survive_a_restart_of_the_server(profile: "Settings", tmp_path: Path) -> None:
    """In memory, leases would be lost with the server, and with them the holders of a schedule's slot."""
    from prefect.server.concurrency.lease_storage import filesystem, get_concurrency_lease_storage
    from prefect.settings import PREFECT_HOME, PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE, temporary_settings

    chosen = settings(redis=False)["PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"]
    with temporary_settings({PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE: chosen, PREFECT_HOME: tmp_path}):
        storage = get_concurrency_lease_storage()
        assert isinstance(storage, filesystem.ConcurrencyLeaseStorage)
        assert storage.storage_path.is_relative_to(tmp_path)
    assert "prefect_redis" not in "".join(settings(redis=False).values())
