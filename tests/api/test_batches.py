"""Batches: dry runs, starts and counts; and the data that clients attach to batches and recordings."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from stenopool.api.ids import decode, encode
from stenopool.orchestration.names import batch_name
from stenopool.pipeline.receipts import REQUESTS
from stenopool.pipeline.report import BatchCounts, BatchReport, Sums
from tests.api.conftest import Shared
from tests.api.test_recordings import ended, entry, quarantine, sent, state
from tests.support.api_server import Api, sound

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

OWN = {"external_id": "call 7", "metadata": {"agent": "Zoë", "queue": ""}}


def test_a_dry_run_counts_and_starts_nothing(either: Api) -> None:
    for name in ("2026/a b/1.wav", "2026/a b/2.wav", "2026/a b/3.wav", "2025/4.wav", "2026/a b/notes.txt"):
        either.source.put_bytes(name, sound())
    either.finish(encode("2026/a b/2.wav"))
    with either.client("clerk") as client:
        for prefix in ("2026/a b/", f"{either.source.uri_of('2026/a b')}/"):
            answer = client.post("/v1/batches", json={"prefix": prefix, "dry_run": True})
            plan = answer.json()
            assert (answer.status_code, plan["id"], plan["state"], plan["prefix"]) == (
                200,
                None,
                "planned",
                "2026/a b/",
            )
            counts = {name: plan["recordings"][name] for name in ("new", "already_done", "in_quarantine")}
            assert counts == {"new": 2, "already_done": 1, "in_quarantine": 0}
            assert (plan["audio_seconds"] > 0, plan["truncated"]) == (True, False)
        other = client.post("/v1/batches", json={"prefix": "", "dry_run": True, "options": {"language": "de"}}).json()
        assert (other["recordings"]["new"], other["recordings"]["already_done"]) == (4, 0)
        assert client.get("/v1/queue").json()["queued"] == 0


def test_a_batch_reports_counts_until_it_ends(either: Api, prefect: "SyncPrefectClient") -> None:
    from prefect.states import Completed, Running

    for number in range(3):
        either.source.put_bytes(f"2026/{number}.wav", sound())
    with either.client("clerk") as client:
        started = client.post("/v1/batches", json={"prefix": "2026/", "options": {"language": "de"}, **OWN})
        batch = started.json()
        assert (started.status_code, batch["state"], batch["prefix"]) == (202, "queued", "2026/")
        address = started.headers["Location"]
        assert address == f"/v1/batches/{batch['id']}"
        assert client.get(address).json() == batch
        assert client.get("/v1/queue").json()["data"][0]["id"] == batch["id"]
        assert (batch["recordings"]["new"], batch["recordings"]["done"]) == (None, 0)
        assert {name: batch[name] for name in OWN} == OWN

        # Files that a run writes after a shard, and at its end.
        run = prefect.read_flow_run(batch["id"])
        assert run.parameters["selection"] == {"prefix": "2026/"}
        assert run.parameters["options"] == {"language": "de"}
        prefect.set_flow_run_state(run.id, Running(), force=True)
        name, now = batch_name(run.expected_start_time or datetime.now(UTC), run.id), datetime.now(UTC)
        figures = BatchCounts(batch=name, flow_run=str(run.id), engine="e", model="m", started_at=now, updated_at=now)
        ends = {"done": 1, "rendered": 0, "quarantined INPUT_CORRUPT": 1, "deferred GPU_LOST": 1}
        figures.sums = Sums(recordings=ends, audio_seconds={"e m": 12.5})
        figures.write(either.destination)
        half = client.get(address).json()
        assert half["recordings"] | {"done": 1, "failed": 1, "deferred": 1} == half["recordings"]
        assert half["failures"] == {"INPUT_CORRUPT": 1, "GPU_LOST": 1}
        assert (half["state"], half["audio_seconds"]) == ("running", 12.5)
        report = dict.fromkeys(BatchReport.model_fields, 0) | dict.fromkeys(("started_at", "finished_at"), now)
        report |= dict.fromkeys(("batch", "source", "destination"), name) | {"failed": [], "cost_per_audio_hour": None}
        report |= {
            name: {} for name in BatchReport.model_fields if name.startswith(("opt", "stage_", "dev", "failures"))
        }
        BatchReport.model_validate(report | {"new": 3, "already_done": 4}).write(either.destination)
        ended(prefect, batch["id"], Completed())
        over = client.get(address).json()
        assert (over["state"], over["recordings"]["new"], over["recordings"]["already_done"]) == ("completed", 3, 4)


def test_batches_of_a_whole_source_and_of_similar_prefixes(api: Api, prefect: "SyncPrefectClient") -> None:
    for name in ("calls/a.wav", "calls-b.wav", "c.wav"):
        api.source.put_bytes(name, sound())
    with api.client("clerk") as client:
        for prefix, number in (("", 3), ("calls", 2), ("calls/", 1)):
            plan = client.post("/v1/batches", json={"prefix": prefix, "dry_run": True}).json()
            assert plan["recordings"]["new"] == number
        run = client.post("/v1/batches", json={"prefix": "calls"}).json()["id"]
        assert state(client, encode("calls-b.wav")) == "queued"
        assert state(client, encode("c.wav")) == "skipped"
        assert client.delete(f"/v1/queue/{run}").status_code == 204
        assert client.get(f"/v1/batches/{run}").json()["state"] == "cancelled"


REFUSED: list[dict[str, Any]] = [
    {},
    {"prefix": None},
    {"prefix": "none/"},
    {"prefix": "../out/"},
    {"prefix": ".receipts/"},
    {"prefix": "/etc/"},
    {"prefix": "a//"},
    {"prefix": "a\0/"},
    {"prefix": "\ud800/"},
    {"prefix": "s3://another-bucket/"},
    {"prefix": "file:///etc/"},
    {"prefix": "", "options": {"modell": "base"}},
    {"prefix": "", "language": "de"},
    {"prefix": "", "external_id": ""},
    {"prefix": "", "metadata": {"a" * 65: ""}},
    {"prefix": "", "metadata": {"a": "\ud800"}},
    {"prefix": "", "callback": "https://10.0.0.1/"},
]


@pytest.mark.parametrize("body", REFUSED, ids=range(len(REFUSED)))
def test_refused_batches_start_nothing(body: dict[str, Any], shared: Shared) -> None:
    with shared.api.client("clerk") as client:
        before = client.get("/v1/queue").json()["queued"]
        content = json.dumps(body)  # escaped, unlike by httpx
        answer = client.post("/v1/batches", content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 404, 422), answer.text
        assert answer.json()["code"]
        assert client.get("/v1/queue").json()["queued"] == before


def test_other_runs_are_not_batches(api: Api) -> None:
    with api.client("clerk") as client:
        run = entry(client, sent(client))["id"]
        for id in (run, UUID(int=0)):
            assert client.get(f"/v1/batches/{id}").status_code == 404


@pytest.mark.parametrize("way", ["form", "uri", "openai"])
def test_client_data_is_returned(api: Api, way: str) -> None:
    fields = {"external_id": OWN["external_id"], "metadata": json.dumps(OWN["metadata"])}
    files = {"file": ("a.wav", sound())}
    with api.client("clerk") as client:
        if way == "form":
            id = client.post("/v1/recordings", files=files, data=fields).json()["id"]
        elif way == "openai":
            prefer = {"Prefer": "respond-async"}
            id = client.post("/v1/audio/transcriptions", files=files, data=fields, headers=prefer).json()["id"]
        else:
            api.source.put_bytes("a.wav", sound())
            id = client.post("/v1/recordings", json={"uri": api.source.uri_of("a.wav"), **OWN}).json()["id"]
        found = client.get(f"/v1/recordings/{id}").json()
        assert {name: found[name] for name in OWN} == OWN
        # A request without data changes nothing; one with data replaces it.
        uri = api.source.uri_of(decode(id))
        client.post("/v1/recordings", json={"uri": uri}).raise_for_status()
        assert client.get(f"/v1/recordings/{id}").json()["external_id"] == "call 7"
        client.post("/v1/recordings", json={"uri": uri, "external_id": "call 8"}).raise_for_status()
        found = client.get(f"/v1/recordings/{id}").json()
        assert (found["external_id"], found["metadata"]) == ("call 8", {})
        client.delete(f"/v1/recordings/{id}").raise_for_status()
    # Digests of requests stay for 7 days, as those with an Idempotency-Key do.
    assert [info.key for info in api.destination.list() if not info.key.startswith(REQUESTS)] == []


def test_a_transcript_is_available_in_any_state(api: Api, prefect: "SyncPrefectClient") -> None:
    from prefect.states import Completed

    with api.client("clerk") as client:
        id = sent(client)
        early = client.get(f"/v1/recordings/{id}").json()
        assert (early["state"], early["transcript"], early["formats"]) == ("queued", False, [])
        api.finish(id)
        ended(prefect, entry(client, id)["id"], Completed())
        client.post("/v1/recordings", json={"uri": api.source.uri_of(decode(id)), "options": {"language": "de"}})
        again = client.get(f"/v1/recordings/{id}").json()
        assert (again["state"], again["transcript"], "srt" in again["formats"]) == ("queued", True, True)
        assert client.get(f"/v1/recordings/{id}/transcript").status_code == 200
        (listed,) = client.get("/v1/recordings").json()["data"]
        assert listed["transcript"] is True


def test_retry_returns_the_location_and_whether_it_started(api: Api) -> None:
    with api.client("clerk") as client:
        id = sent(client)
        api.source.put_bytes("skipped.wav", sound())
        for one, status in ((id, 202), (encode("skipped.wav"), 202)):
            answer = client.post(f"/v1/recordings/{one}/retry")
            assert (answer.status_code, answer.headers["Location"]) == (status, f"/v1/recordings/{one}")
        api.finish(id)
        assert client.post(f"/v1/recordings/{id}/retry").status_code == 200


def test_lists_are_filtered_by_time_and_state_and_have_one_envelope(either: Api) -> None:
    for name in ("a.wav", "b.wav"):
        either.source.put_bytes(name, sound())
    quarantine(either, encode("b.wav"))
    with either.client("reader") as client:

        def found(**query: str) -> list[str]:
            page = client.get("/v1/recordings", params=query).raise_for_status().json()
            assert page["recordings"] == page["data"]  # deprecated until 1.0
            assert page["next_cursor"] is None
            return [one["key"] for one in page["data"]]

        early, late = "2020-01-01T00:00:00Z", "2100-01-01T00:00:00+02:00"
        assert found() == found(modified_since=early) == found(modified_before=late) == ["a.wav", "b.wav"]
        assert found(modified_since=early, modified_before=late, state="failed") == ["b.wav"]
        assert found(modified_since=late) == found(modified_before=early) == found(state="completed") == []
        modified = client.get(f"/v1/recordings/{encode('a.wav')}").json()["modified"]
        assert "a.wav" in found(modified_since=modified)  # at or after
        assert "a.wav" not in found(modified_before=modified)
        for wrong in ("yesterday", "2026-01-01T00:00:00", "2026-13-01T00:00:00Z"):
            assert client.get("/v1/recordings", params={"modified_since": wrong}).status_code == 422
