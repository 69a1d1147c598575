"""Scopes, rate limits, and what must not be visible."""

import logging
import time
from typing import Any

import httpx
import pytest

from stenopool.api.ids import decode, encode
from stenopool.api.keys import digest_of
from stenopool.settings import ApiSettings
from tests.cli.conftest import stenopool
from tests.support.api_server import KEYS, Api, secret, serving, sound
from tests.support.command_line import Call

__all__ = ["stenopool"]  # a fixture

UNKNOWN = {"recordings": "YS53YXY", "queue": "00000000-0000-0000-0000-000000000000"}
# Every operation of the document, and all scopes that it needs.
SCOPES_OF: dict[str, set[str]] = {
    "GET /v1/recordings": {"read"},
    "POST /v1/recordings": {"write"},
    "GET /v1/recordings/{id}": {"read"},
    "DELETE /v1/recordings/{id}": {"delete"},
    "GET /v1/recordings/{id}/audio": {"read"},
    "GET /v1/recordings/{id}/transcript": {"read"},
    "GET /v1/recordings/{id}/view": {"read"},
    "GET /v1/recordings/{id}/playback": {"read"},
    "GET /v1/recordings/{id}/speakers": {"read"},
    "PUT /v1/recordings/{id}/speakers": {"read", "edit"},
    "POST /v1/recordings/{id}/retry": {"write"},
    "POST /v1/uploads": {"write"},
    "POST /v1/batches": {"batch"},
    "GET /v1/batches/{id}": {"read"},
    "POST /v1/audio/transcriptions": {"read", "write"},
    "POST /v1/audio/translations": {"read", "write"},
    "GET /v1/queue": {"read"},
    "DELETE /v1/queue": {"admin"},
    "PATCH /v1/queue": {"admin"},
    "GET /v1/queue/{id}": {"read"},
    "DELETE /v1/queue/{id}": {"delete"},
    "POST /v1/queue/retry": {"admin"},
    "POST /v1/queue/pause": {"admin"},
    "POST /v1/queue/resume": {"admin"},
    "GET /v1/options": set(),
    "POST /v1/options": set(),
    "POST /v1/options/check": set(),
    "GET /v1/about": set(),
    "GET /v1/models": set(),
    "GET /v1/models/{id}": set(),
    "GET /v1/callbacks": {"write"},
    "POST /v1/callbacks/test": {"write"},
    "POST /v1/callbacks/{id}/retry": {"write"},
    "DELETE /v1/callbacks/{id}": {"write"},
}
OPEN = {"GET /health/live", "GET /health/ready", "GET /metrics"}
BODIES: dict[str, Any] = {
    "PUT": {"json": {"names": {}}},
    "POST": {"json": {}},
    "PATCH": {"json": {"paused": False}},
}


def operations(api: Api) -> list[str]:
    """Every operation of the document except those that need no key."""
    paths = api.client(None).get("/openapi.json").json()["paths"]
    found = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert found >= OPEN
    return sorted(found - OPEN)


def call(client: httpx.Client, operation: str, ids: dict[str, str] = UNKNOWN, **more: Any) -> httpx.Response:
    """Send a request for an operation on the recording or the run in ``ids``, with a suitable body."""
    method, path = operation.split()
    id = ids["recordings" if "/recordings/" in path else "queue"]
    path = path.replace("{id}", id.replace("-", "") if "/callbacks/" in path else id)
    return client.request(method, path, **BODIES.get(method, {}), **more)


def test_every_operation_requires_a_key(api: Api) -> None:
    for operation in operations(api):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {secret('boss')}"}):
            with api.client(None) as client:
                answer = call(client, operation, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHENTICATED"), operation
            assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert api.keys() == []


@pytest.mark.parametrize("who", KEYS)
def test_every_operation_requires_exactly_its_scopes(who: str, api: Api) -> None:
    scopes = set(KEYS[who].split()[0].split(","))
    assert set(operations(api)) == set(SCOPES_OF)
    with api.client(who) as client:
        for operation, needed in SCOPES_OF.items():
            answer = call(client, operation)
            if needed <= scopes or "admin" in scopes:
                assert answer.status_code not in (401, 403), (operation, answer.text)
            else:
                assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN"), operation
    assert api.keys() == []


def test_runs_over_many_recordings_need_the_scope_batch(api: Api) -> None:
    api.source.put_bytes("a/1.wav", sound())
    everything = {"uri": f"{api.source.uri}/a/"}
    with api.client("sender") as client:
        answer = client.post("/v1/recordings", json=everything)
    assert (answer.status_code, "`batch` scope" in answer.json()["detail"]) == (403, True)
    with api.client("clerk") as client:
        run = client.post("/v1/recordings", json=everything).raise_for_status().json()["id"]
    with api.client("deleter") as client:
        assert client.delete(f"/v1/queue/{run}").status_code == 403
    with api.client("clerk") as client:
        assert client.delete(f"/v1/queue/{run}").status_code == 204


def test_a_write_only_key_gets_ids_and_states(api: Api) -> None:
    api.source.put_bytes("others.wav", sound())
    form: dict[str, Any] = {"files": {"file": ("a.wav", sound())}}
    with api.client("writer") as client:
        answers = [
            client.post("/v1/recordings", **form),
            client.post("/v1/recordings", json={"uri": f"{api.source.uri}/others.wav"}),
            client.post("/v1/audio/transcriptions", headers={"Prefer": "respond-async"}, **form),
            client.post(f"/v1/recordings/{encode('others.wav')}/retry"),
        ]
        refused = client.post("/v1/audio/transcriptions", **form)
    assert [set(answer.raise_for_status().json()) for answer in answers] == [{"id", "state"}] * 4
    assert (refused.status_code, refused.json()["code"]) == (403, "FORBIDDEN")
    assert len(api.keys()) == 3


def test_overwriting_a_transcript_needs_the_scope_edit(api: Api) -> None:
    api.source.put_bytes("others.wav", sound())
    body = {"uri": f"{api.source.uri}/others.wav"}
    other = body | {"options": {"language": "de"}}
    with api.client("clerk") as clerk, api.client("sender") as sender:
        clerk.post("/v1/recordings", json=body).raise_for_status()
        assert sender.post("/v1/recordings", json=body).status_code == 202  # the same work
        assert sender.post("/v1/recordings", json=other).status_code == 403  # it would end after the other one
        clerk.delete("/v1/queue/" + clerk.get("/v1/queue").json()["entries"][0]["id"]).raise_for_status()
        api.finish(encode("others.wav"))
        assert sender.post("/v1/recordings", json=body).json()["state"] == "completed"
        refused = sender.post("/v1/recordings", json=other)
        assert (refused.status_code, "`edit` scope" in refused.json()["detail"]) == (403, True)
        assert clerk.get("/v1/queue").json()["entries"] == []
        assert clerk.post("/v1/recordings", json=other).json()["state"] == "queued"


MARK = "topsecret"


@pytest.fixture
def shared_by_tenants(either: Api) -> dict[str, str]:
    """Recordings and runs of others, queued and ended; returns the ids of one recording and of one run."""
    with either.client("boss") as boss:
        for number in range(3):
            either.source.put_bytes(f"{MARK}/{number}.wav", sound())
        uri = either.source.uri_of(f"{MARK}/0.wav")
        boss.post("/v1/recordings", json={"uri": uri}).raise_for_status()
        run = boss.get("/v1/queue").json()["entries"][0]["id"]
        boss.delete(f"/v1/queue/{run}").raise_for_status()
        either.finish(encode(f"{MARK}/0.wav"))
        waiting = boss.post("/v1/recordings", json={"uri": either.source.uri_of(f"{MARK}/1.wav")}).raise_for_status()
        assert waiting.json()["state"] == "queued"
        boss.post("/v1/recordings", json={"uri": f"{either.source.uri}/"}).raise_for_status()
    return {"recordings": encode(f"{MARK}/0.wav"), "queue": run}


def test_a_key_sees_nothing_outside_its_prefix(either: Api, shared_by_tenants: dict[str, str]) -> None:
    def comparable(answer: httpx.Response) -> tuple[int, dict[str, Any]]:
        return answer.status_code, {**answer.json(), "instance": "", "request_id": ""}

    traces = [MARK, *(encode(f"{MARK}/{number}.wav") for number in range(3))]
    with either.client("boss") as boss:
        runs = [entry["id"] for entry in boss.get("/v1/queue").json()["entries"]]
        before = sorted(info.key for info in [*either.source.list(), *either.destination.list()])
    assert len(runs) == 2
    with either.client("tenant") as client:
        for operation in operations(either):
            for ids in (shared_by_tenants, *({**shared_by_tenants, "queue": run} for run in runs)):
                answer = call(client, operation, ids)
                if "{id}" in operation:  # the same response as for an unknown id
                    assert comparable(answer) == comparable(call(client, operation)), operation
                    assert answer.status_code == 404, operation
                else:
                    assert not [trace for trace in (*traces, *runs) if trace in answer.text], operation
        for below in ("", f"{MARK}/", f"{MARK}/0.wav", "tenant", "tenantx/a.wav", "tenant/../x/a.wav"):
            answer = client.post("/v1/recordings", json={"uri": f"{either.source.uri}/{below}"})
            assert answer.status_code == 422, below
        cursor = client.get("/v1/recordings", params={"cursor": encode("a")}).json()
        assert cursor == {"data": [], "recordings": [], "next_cursor": None}
        queue = client.get("/v1/queue").json()
        assert (queue["queued"], queue["running"], queue["entries"]) == (0, 0, [])
    with either.client("boss") as boss:
        assert [entry["id"] for entry in boss.get("/v1/queue").json()["entries"]] == runs
    assert sorted(info.key for info in [*either.source.list(), *either.destination.list()]) == before


def test_a_key_can_do_everything_below_its_prefix(either: Api, shared_by_tenants: dict[str, str]) -> None:
    del shared_by_tenants
    with either.client("tenant") as client:
        headers = {"Idempotency-Key": "one"}
        form: dict[str, Any] = {"files": {"file": ("a.wav", sound())}, "headers": headers}
        sent = client.post("/v1/recordings", **form).raise_for_status().json()
        assert client.post("/v1/recordings", **form).json()["id"] == sent["id"]
        key = decode(sent["id"])
        assert key.startswith("tenant/")
        state = client.get(f"/v1/recordings/{sent['id']}").json()
        assert (state["name"], state["state"]) == ("a.wav", "queued")
        entry = state["queue"]
        assert [one["id"] for one in client.get("/v1/queue").json()["entries"]] == [entry["id"]]
        assert client.get(f"/v1/queue/{entry['id']}").json()["recording"] == sent["id"]
        assert client.delete(f"/v1/queue/{entry['id']}").status_code == 204
        assert client.get(f"/v1/queue/{entry['id']}").json()["state"] == "cancelled"
        # Somebody else's run over everything includes it, and remains theirs.
        either.source.put_bytes("tenant/b.wav", sound())
        other = client.get(f"/v1/recordings/{encode('tenant/b.wav')}").json()
        assert (other["state"], other["queue"]) == ("queued", None)
        assert {one["key"] for one in client.get("/v1/recordings").json()["recordings"]} == {key, "tenant/b.wav"}
        assert client.get("/v1/options").json()["source"] == f"{either.source.uri}/tenant"
        assert client.get("/v1/about").json()["prefix"] == "tenant/"
        run = client.post("/v1/recordings", json={"uri": f"{either.source.uri}/tenant/"}).raise_for_status().json()
        assert client.get(f"/v1/queue/{run['id']}").json()["prefix"] == "tenant/"
        assert client.delete(f"/v1/queue/{run['id']}").status_code == 204
        either.finish(sent["id"])
        path = f"/v1/recordings/{sent['id']}"
        names = client.put(f"{path}/speakers", json={"names": {"SPEAKER_00": "Ann"}}).raise_for_status()
        assert names.json()["names"]["SPEAKER_00"] == "Ann"
        for part in ("audio", "transcript", "view"):
            assert client.get(f"{path}/{part}").status_code == 200
    with either.client("boss") as boss:
        boss.delete("/v1/queue").raise_for_status()
    with either.client("tenant") as client:
        assert client.delete(path).status_code == 204
    assert key not in {info.key for info in either.source.list()}


def test_health_needs_no_key_and_names_each_dependency(api: Api) -> None:
    with api.client(None) as client:
        assert client.get("/health/live").json()["status"] == "ok"
        ready = client.get("/health/ready")
    dependencies = {"source": "ok", "destination": "ok", "prefect": "ok"}
    assert (ready.status_code, ready.json()) == (200, {"status": "ok", "dependencies": dependencies})


def test_not_ready_without_the_deployment_or_a_store(deployed: None, settings: ApiSettings, s3: Any) -> None:
    broken = {"deployment": "ingest/none", "source": "s3://there-is-no-such-bucket/in"}
    with serving(settings.model_copy(update=broken)) as api:
        ready = api.client(None).get("/health/ready")
        assert api.client(None).get("/health/live").status_code == 200
    dependencies = {"source": "failed", "destination": "ok", "prefect": "failed"}
    assert (ready.status_code, ready.json()) == (503, {"status": "failed", "dependencies": dependencies})


def test_too_many_requests_of_one_key_do_not_stop_another(deployed: None, settings: ApiSettings) -> None:
    with serving(settings.model_copy(update={"rate": 0.01})) as api:
        with api.client("reader") as client:
            assert client.get("/v1/queue").status_code == 200
            answer = client.get("/v1/queue")
            assert (answer.status_code, answer.headers["Retry-After"]) == (429, "100")
        with api.client("clerk") as client:
            assert client.get("/v1/queue").status_code == 200


def test_requests_that_may_render_count_as_ten(deployed: None, settings: ApiSettings) -> None:
    with serving(settings.model_copy(update={"rate": 20})) as api, api.client("reader") as client:
        for _ in range(4):  # 40 at once
            assert client.get("/v1/recordings/x/view").status_code == 404
        for path in ("view", "transcript", "playback", "speakers"):
            assert client.get(f"/v1/recordings/x/{path}").status_code == 429
        time.sleep(0.3)
        assert client.get("/v1/queue").status_code == 200


def test_responses_have_strict_headers_and_no_cors(api: Api) -> None:
    with api.client() as client:
        for path in ("/v1/queue", "/v1/nothing", "/health/live"):
            headers = client.get(path, headers={"Origin": "https://example.org"}).headers
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert "default-src 'none'" in headers["Content-Security-Policy"]
            assert headers["Cache-Control"] == "no-store"
            assert not [name for name in headers if name.startswith("access-control-")]
        nothing = client.get("/v1/nothing")
    assert (nothing.status_code, nothing.headers["content-type"]) == (404, "application/problem+json")


def test_no_key_appears_in_logs_or_responses(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), api.client("clerk") as client:
        sent = client.post("/v1/recordings", files={"file": ("a.wav", sound())})
        refused = client.post("/v1/recordings", json={"uri": "s3://user:password@else/where"})
        client.get("/v1/nothing")
    for text in (caplog.text, sent.text, refused.text):
        assert secret("clerk") not in text
        assert digest_of(secret("clerk")) not in text
        assert "password" not in text


def test_without_keys_only_this_machine_is_served(deployed: None, settings: ApiSettings) -> None:
    with serving(settings, authenticated=False) as api, api.client(None) as client:
        assert client.delete("/v1/queue").status_code == 200
        # A foreign name that resolves to this machine, and another site's page that posts through the browser.
        for headers in ({"Host": "rebound.example.org"}, {"Origin": "https://example.org"}, {"Origin": "null"}):
            assert client.get("/v1/queue", headers=headers).status_code == 403
        assert client.get("/v1/queue", headers={"Origin": api.url}).status_code == 200


@pytest.mark.parametrize(
    ("settings_of", "said"),
    [
        ({"SOURCE": ""}, "source of the API is not set"),
        ({"KEYS": ""}, "No API keys are configured"),
        ({"DESTINATION": "{source}/out"}, "source and destination overlap"),
        ({"KEYS": "/nowhere"}, "Cannot read the key file"),
    ],
)
def test_serve_refuses_invalid_settings(
    settings_of: dict[str, str], said: str, deployed: None, settings: ApiSettings, stenopool: Call, monkeypatch: Any
) -> None:
    given = {"SOURCE": settings.source, "DESTINATION": settings.destination, "KEYS": settings.keys} | settings_of
    for name, value in given.items():
        if value:
            monkeypatch.setenv(f"STENOPOOL_API__{name}", str(value).format(source=settings.source))
    answer = stenopool("serve")
    assert (answer.code, said in answer.err) == (2, True), answer.err


def test_serve_without_keys_is_for_loopback(stenopool: Call) -> None:
    answer = stenopool("serve", "--no-auth", "--host", "0.0.0.0")
    assert answer.code == 2
    assert "others could reach" in answer.err
