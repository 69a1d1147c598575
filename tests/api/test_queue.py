"""The queue: order, cancelling, clearing, pausing. Runs in progress are left alone; restarts change nothing."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from stenopool.api.ingest_runs import QueueSnapshot
from stenopool.settings import ApiSettings
from tests.api.test_recordings import entry, sent, state
from tests.support.api_server import Api, serving

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient


def test_first_come_first_served_with_position_and_age(api: Api) -> None:
    with api.client("clerk") as client:
        ids = [sent(client, f"{number}.wav") for number in range(4)]
        queue = client.get("/v1/queue").json()
    assert (queue["paused"], queue["queued"], queue["running"]) == (False, 4, 0)
    assert [one["recording"] for one in queue["entries"]] == ids
    assert [one["position"] for one in queue["entries"]] == [1, 2, 3, 4]
    ages = [one["age"] for one in queue["entries"]]
    assert ages == sorted(ages, reverse=True)
    assert {(one["state"], one["stage"], one["queue"]) for one in queue["entries"]} == {
        ("queued", None, "ingest-interactive")
    }


def test_simultaneous_uploads_are_all_queued(api: Api) -> None:
    with api.client("clerk") as client, ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(lambda number: sent(client, f"{number}.wav"), range(40)))
        queue = client.get("/v1/queue").json()
    assert len(ids) == 40
    assert {one["recording"] for one in queue["entries"]} == ids
    assert [one["position"] for one in queue["entries"]] == list(range(1, 41))


def test_cancel_removes_a_run_and_keeps_its_recording(api: Api) -> None:
    with api.client("clerk") as client:
        first, second = sent(client, "a.wav"), sent(client, "b.wav")
        run = entry(client, first)["id"]
        assert client.delete(f"/v1/queue/{run}").status_code == 204
        assert (state(client, first), state(client, second)) == ("cancelled", "queued")
        assert entry(client, second)["position"] == 1
        assert client.delete(f"/v1/queue/{run}").status_code == 404
        assert client.post(f"/v1/recordings/{first}/retry").json()["state"] == "queued"
        assert entry(client, first)["position"] == 2


def test_clear_cancels_queued_runs_only(api: Api, prefect: "SyncPrefectClient") -> None:
    from prefect.states import Running

    with api.client() as client:
        ids = [sent(client, f"{number}.wav") for number in range(3)]
        prefect.set_flow_run_state(entry(client, ids[0])["id"], Running())
        assert client.delete("/v1/queue").json() == {"count": 2}
        assert [state(client, id) for id in ids] == ["running", "cancelled", "cancelled"]
        assert len(api.keys()) == 3
        assert client.delete("/v1/queue").json() == {"count": 0}


def test_cancelling_a_run_in_progress_is_left_to_its_worker(api: Api, prefect: "SyncPrefectClient") -> None:
    from prefect.states import Running

    with api.client() as client:
        id = sent(client)
        run = entry(client, id)["id"]
        prefect.set_flow_run_state(run, Running())
        prefect.update_flow_run(run, infrastructure_pid="host:1")
        client.delete(f"/v1/queue/{run}").raise_for_status()
        assert (prefect.read_flow_run(run).state_name, entry(client, id)["stage"]) == ("Cancelling", "cancelling")


def test_pause_and_resume(api: Api, prefect: "SyncPrefectClient") -> None:
    with api.client() as client:
        assert client.patch("/v1/queue", json={"paused": True}).json() == {"paused": True}
        assert client.get("/v1/queue").json()["paused"] is True
        queues = {queue.name: queue.is_paused for queue in prefect.read_work_queues(work_pool_name="stenopool-cpu")}
        assert queues["ingest-interactive"]
        assert queues["ingest-batch"]
        assert not queues["interactive"]  # the children: runs in progress continue
        assert state(client, sent(client)) == "queued"
        assert client.patch("/v1/queue", json={"paused": False}).json() == {"paused": False}
        assert client.get("/v1/queue").json()["paused"] is False
        for body in ({}, {"paused": None}, {"paused": True, "queued": 0}):
            assert client.patch("/v1/queue", json=body).status_code == 422


def test_deprecated_ways_to_pause_still_work(api: Api) -> None:
    with api.client() as client:
        for word, paused in (("pause", True), ("resume", False)):
            answer = client.post(f"/v1/queue/{word}")
            assert (answer.json(), client.get("/v1/queue").json()["paused"]) == ({"paused": paused}, paused)
            assert answer.headers["Deprecation"].startswith("@")
            assert answer.headers["Link"] == '</v1/queue>; rel="successor-version"'
        paths = client.get("/openapi.json").json()["paths"]
    old = {path for path, methods in paths.items() for operation in methods.values() if operation.get("deprecated")}
    assert old == {"/v1/queue/pause", "/v1/queue/resume", "/v1/options"}


def test_a_restart_of_the_api_changes_nothing(deployed: None, settings: ApiSettings, api: Api) -> None:
    with api.client() as client:
        ids = [sent(client, f"{number}.wav") for number in range(3)]
    with serving(settings) as again, again.client() as client:
        assert [one["recording"] for one in client.get("/v1/queue").json()["entries"]] == ids
        assert state(client, ids[0]) == "queued"


def test_a_long_queue_has_pages_and_total_counts(api: Api) -> None:
    with api.client("clerk") as client:
        ids = [sent(client, f"{number}.wav") for number in range(5)]
        first = client.get("/v1/queue", params={"limit": 3}).json()
        rest = client.get("/v1/queue", params={"limit": 3, "cursor": first["next_cursor"]}).json()
        assert client.get("/v1/queue", params={"cursor": "-1"}).status_code == 422
    assert [one["recording"] for one in first["data"] + rest["data"]] == ids
    assert (first["queued"], rest["queued"], rest["next_cursor"]) == (5, 5, None)
    assert first["entries"] == first["data"]  # deprecated until 1.0


def test_pages_skip_no_run_while_the_queue_changes(api: Api, prefect: "SyncPrefectClient") -> None:
    from prefect.states import Completed, Running

    with api.client("clerk") as client:
        ids = [sent(client, f"{number}.wav") for number in range(6)]
        first = client.get("/v1/queue", params={"limit": 3}).json()
        # The first run ends; the third, after which the next page starts, is cancelled; and one starts to run.
        prefect.set_flow_run_state(first["data"][0]["id"], Completed(), force=True)
        client.delete(f"/v1/queue/{first['data'][2]['id']}").raise_for_status()
        prefect.set_flow_run_state(first["data"][1]["id"], Running())
        time.sleep(1.1)
        rest = client.get("/v1/queue", params={"limit": 3, "cursor": first["next_cursor"]}).json()
        assert [one["recording"] for one in rest["data"]] == ids[3:]
        waiting = client.get("/v1/queue", params={"state": "queued", "limit": 2}).json()
        running = client.get("/v1/queue", params={"state": "running"}).json()
        assert [one["recording"] for one in waiting["data"]] == ids[3:5]
        last = client.get("/v1/queue", params={"state": "queued", "cursor": waiting["next_cursor"]}).json()
        assert [one["recording"] for one in last["data"]] == ids[5:]
        assert [one["recording"] for one in running["data"]] == [ids[1]]
        assert (running["queued"], running["running"], running["next_cursor"]) == (3, 1, None)


def test_a_run_is_available_by_id_after_it_ended(api: Api, prefect: "SyncPrefectClient") -> None:
    with api.client("clerk") as client:
        id = sent(client)
        run = entry(client, id)["id"]
        address = f"/v1/queue/{run}"
        waiting = client.get(address).json()
        assert (waiting["state"], waiting["position"], waiting["recording"]) == ("queued", 1, id)
        client.delete(address).raise_for_status()
        over = client.get(address).json()
        assert (over["state"], over["position"]) == ("cancelled", None)
        assert client.get("/v1/queue/00000000-0000-0000-0000-000000000000").status_code == 404


def test_few_responses_are_cached(api: Api) -> None:
    queue = QueueSnapshot()
    for begin in range(1000):
        queue.keep((begin, 1000), b"[]")
    assert len(queue.answers) == 8
    with api.client("reader") as client:
        for number in range(20):
            asked = {"cursor": f"1.0.{number}.{number:032x}", "limit": 1000 - number}
            assert client.get("/v1/queue", params=asked).raise_for_status().json()["data"] == []
