"""Callbacks: sent when the work has ended, signed, retried even after a restart, and only to allowed addresses."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from standardwebhooks import Webhook

from stenopool.api.callbacks.outbox import Callback
from stenopool.api.callbacks.sending import new_secret
from stenopool.api.ids import decode, encode
from stenopool.options import TranscriptionOptions
from stenopool.settings import ApiSettings, CallbackSettings
from tests.api.test_recordings import ended, entry
from tests.support.api_server import Api, serving, sound
from tests.support.receiver import Receiver, receiving
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

SECRET = new_secret()


@pytest.fixture
def callbacks(tmp_path: Path) -> CallbackSettings:
    """Settings with short pauses, for loopback."""
    path = tmp_path / "secrets"
    path.write_text(f"{SECRET}\n")
    return CallbackSettings(secrets=path, allow="127.0.0.0/8", poll=0.1, pause=0.2, timeout=2)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


@pytest.fixture
def telling(api: Api, settings: ApiSettings, callbacks: CallbackSettings) -> Iterator[Api]:
    """The API with callbacks, on an empty queue."""
    with serving(settings, callbacks) as served:
        yield served


def sent(client: httpx.Client, url: str, name: str = "a.wav", **form: Any) -> str:
    answer = client.post("/v1/recordings", files={"file": (name, sound())}, data={"callback": url, **form})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def pending(api: Api) -> list[str]:
    return [info.key for info in api.destination.list(".callbacks/")]


def wait_until_nothing_is_pending(api: Api) -> None:
    wait_until(lambda: not pending(api), "nothing is pending", seconds=20)


def test_an_event_is_sent_with_the_outcome(telling: Api, receiver: Receiver, prefect: "SyncPrefectClient") -> None:
    from prefect.states import Completed

    with telling.client("clerk") as client:
        ids = {name: sent(client, receiver.url, f"{name}.wav") for name in ("completed", "failed", "cancelled")}
        runs = {name: entry(client, id)["id"] for name, id in ids.items()}
        time.sleep(0.3)
        assert receiver.calls == []
        telling.finish(ids["completed"])
        quarantine_work_of(telling, ids["failed"])
        for name in ("completed", "failed"):
            ended(prefect, runs[name], Completed())
        client.delete(f"/v1/queue/{runs['cancelled']}").raise_for_status()
        receiver.wait_for(3)
    events = {event["type"]: event["data"] for event in receiver.events(SECRET)}
    assert {kind: data["id"] for kind, data in events.items()} == {f"recording.{name}": id for name, id in ids.items()}
    assert events["recording.completed"]["formats"]
    assert events["recording.failed"]["failure"]["code"] == "INPUT_CORRUPT"
    assert len({call.headers["webhook-id"] for call in receiver.calls}) == 3
    wait_until_nothing_is_pending(telling)


def test_callbacks_of_a_write_only_key_have_ids_and_states(
    telling: Api, receiver: Receiver, prefect: "SyncPrefectClient"
) -> None:
    from prefect.states import Completed

    telling.source.put_bytes("others/a.wav", sound())
    body = {"uri": f"{telling.source.uri}/others/", "callback": receiver.url}
    with telling.client("writer") as writer, telling.client("batcher") as batcher, telling.client("clerk") as clerk:
        id = sent(writer, receiver.url)
        assert batcher.post("/v1/recordings", json=body).status_code == 403  # lacks `write`
        telling.finish(id)
        ended(prefect, entry(clerk, id)["id"], Completed())
        receiver.wait_for(1)
    (event,) = receiver.events(SECRET)
    assert (event["type"], event["data"]) == ("recording.completed", {"id": id, "state": "completed"})


def quarantine_work_of(api: Api, id: str) -> None:
    """Quarantine exactly the work of the request."""
    from stenopool.errors import ErrorCode, RecordingError
    from stenopool.pipeline import receipts
    from stenopool.pipeline.catalog import Recording, fingerprint
    from stenopool.pipeline.receipts import Receipt

    key = decode(id)
    info = api.source.head(key)
    recording = Recording(uri="", key=key, size=info.size, etag=info.etag, modified=info.modified)
    failure = RecordingError(ErrorCode.INPUT_CORRUPT, "It is damaged.").failure("prepare")
    work = fingerprint(recording, TranscriptionOptions())
    receipts.write(api.destination, Receipt(key=key, fingerprint=work, status="quarantined", failure=failure))


def test_a_refused_event_is_retried_even_after_a_restart(
    api: Api, settings: ApiSettings, callbacks: CallbackSettings, receiver: Receiver, prefect: "SyncPrefectClient"
) -> None:
    receiver.answers = [500, 503, 400]
    with serving(settings, callbacks) as first, first.client("clerk") as client:
        id = sent(client, receiver.url)
        first.finish(id)
        prefect.delete_flow_run(entry(client, id)["id"])  # Prefect may forget everything
        wait_until(lambda: len(receiver.calls) >= 2, "two calls", seconds=20)
    with serving(settings, callbacks) as again:
        wait_until_nothing_is_pending(again)
    assert len(receiver.calls) == 4
    assert len({call.headers["webhook-id"] for call in receiver.calls}) == 1
    assert {event["type"] for event in receiver.events(SECRET)} == {"recording.completed"}


def test_a_410_ends_the_attempts(telling: Api, receiver: Receiver, prefect: "SyncPrefectClient") -> None:
    receiver.answers = [410]
    with telling.client("clerk") as client:
        id = sent(client, receiver.url)
        telling.finish(id)
        prefect.delete_flow_run(entry(client, id)["id"])
    receiver.wait_for(1)
    with telling.client("clerk") as client:

        def listed() -> list[tuple[str, str, str]]:
            data = client.get("/v1/callbacks").raise_for_status().json()["data"]
            return [(one["state"], one["recording"], one["failure"]) for one in data]

        wait_until(lambda: listed() == [("given_up", id, "HTTP 410")], "it is given up")


def test_two_replicas_send_an_event_once(
    telling: Api, settings: ApiSettings, callbacks: CallbackSettings, receiver: Receiver, prefect: "SyncPrefectClient"
) -> None:
    with serving(settings, callbacks), telling.client("clerk") as client:
        ids = [sent(client, receiver.url, f"{number}.wav") for number in range(5)]
        for id in ids:
            telling.finish(id)
            prefect.delete_flow_run(entry(client, id)["id"])
        receiver.wait_for(5)
        wait_until_nothing_is_pending(telling)


def test_equal_requests_are_one_callback_and_deleted_recordings_have_none(
    telling: Api, receiver: Receiver, prefect: "SyncPrefectClient"
) -> None:
    telling.source.put_bytes("2026/a.wav", sound())
    uri = telling.source.uri_of("2026/a.wav")
    with telling.client("clerk") as client:
        for _ in range(2):
            client.post("/v1/recordings", json={"uri": uri, "callback": receiver.url}).raise_for_status()
        assert len(pending(telling)) == 1
        id = client.get("/v1/recordings").json()["recordings"][0]["id"]
        client.delete(f"/v1/recordings/{id}").raise_for_status()
    wait_until_nothing_is_pending(telling)
    assert receiver.calls == []


def test_a_batch_sends_one_event(telling: Api, receiver: Receiver, prefect: "SyncPrefectClient") -> None:
    from prefect.states import Completed

    for number in range(3):
        telling.source.put_bytes(f"2026/{number}.wav", sound())
    with telling.client("clerk") as client:
        asked = {"uri": f"{telling.source.uri}/2026/", "callback": receiver.url}
        run = client.post("/v1/recordings", json=asked).raise_for_status().json()["id"]
        ended(prefect, run, Completed())
        receiver.wait_for(1)
    (event,) = receiver.events(SECRET)
    assert (event["type"], event["data"]["id"], event["data"]["prefix"]) == ("batch.completed", run, "2026/")


@pytest.mark.parametrize("url", ["https://10.0.0.1/x", "https://[::1]/x", "http://example.org/x", "ftp://a", "x", " "])
def test_a_disallowed_address_is_refused_and_nothing_is_stored(telling: Api, url: str) -> None:
    with telling.client("clerk") as client:
        form = client.post("/v1/recordings", files={"file": ("a.wav", sound())}, data={"callback": url})
        assert (form.status_code, form.json()["code"]) == (422, "CALLBACK_REFUSED")
    assert telling.keys() == pending(telling) == []


def test_callbacks_need_a_secret(api: Api, receiver: Receiver) -> None:
    with api.client("clerk") as client:
        answer = client.post("/v1/recordings", files={"file": ("a.wav", sound())}, data={"callback": receiver.url})
    assert (answer.status_code, answer.json()["code"]) == (422, "CALLBACK_REFUSED")
    assert "STENOPOOL_CALLBACKS__SECRETS" in answer.json()["remedy"]


def test_callback_urls_are_not_logged(
    telling: Api, receiver: Receiver, prefect: "SyncPrefectClient", caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers = [500]
    with telling.client("clerk") as client, caplog.at_level("DEBUG"):
        id = sent(client, f"{receiver.url}?token=hunter2")
        telling.finish(id)
        run = entry(client, id)["id"]
        assert "hunter2" not in json.dumps(prefect.read_flow_run(run).model_dump(mode="json"))
        prefect.delete_flow_run(run)
        receiver.wait_for(2)
    assert "it will be retried" in caplog.text
    ours = [record.getMessage() for record in caplog.records if record.name.startswith(("stenopool", "api", "uvicorn"))]
    assert not [line for line in ours if "hunter2" in line]


def test_two_secrets_sign_during_rotation(
    api: Api, settings: ApiSettings, callbacks: CallbackSettings, receiver: Receiver, prefect: "SyncPrefectClient"
) -> None:
    new = new_secret()
    assert callbacks.secrets
    callbacks.secrets.write_text(f"{new}\n{SECRET}\n")
    with serving(settings, callbacks) as telling, telling.client("clerk") as client:
        id = sent(client, receiver.url)
        telling.finish(id)
        prefect.delete_flow_run(entry(client, id)["id"])
        receiver.wait_for(1)
    (call,) = receiver.calls
    for secret in (new, SECRET):
        Webhook(secret).verify(call.body, call.headers)


def test_plain_requests_of_earlier_versions_are_still_sent(telling: Api, receiver: Receiver) -> None:
    telling.source.put_bytes("2026/a.wav", sound())
    telling.finish(encode("2026/a.wav"))
    callback = Callback(url=receiver.url, key="2026/a.wav")
    old = callback.model_dump_json(exclude={"owner", "brief"}).encode()
    telling.destination.put_bytes(f".callbacks/{callback.id}/request.json", old)
    receiver.wait_for(1)
    (event,) = receiver.events(SECRET)
    assert event["data"]["id"] == encode("2026/a.wav")
    wait_until_nothing_is_pending(telling)


def test_callback_urls_are_not_readable_in_the_destination(telling: Api, receiver: Receiver) -> None:
    receiver.answers = [500]
    with telling.client("clerk") as client:
        id = sent(client, f"{receiver.url}?token=hunter2")
        kept = [info.key for info in telling.destination.list() if info.key.startswith(".callbacks/")]
        assert kept
        for info in telling.destination.list():
            assert b"hunter2" not in telling.destination.get_bytes(info.key, b""), info.key
        (listed,) = client.get("/v1/callbacks").raise_for_status().json()["data"]
        assert "hunter2" not in json.dumps(listed)
        assert (listed["host"], listed["recording"], listed["state"]) == ("127.0.0.1", id, "waiting")


def test_completed_events_have_duration_and_language(
    telling: Api, receiver: Receiver, prefect: "SyncPrefectClient"
) -> None:
    with telling.client("clerk") as client:
        id = sent(client, receiver.url)
        telling.finish(id)
        prefect.delete_flow_run(entry(client, id)["id"])
    receiver.wait_for(1)
    (event,) = receiver.events(SECRET)
    assert (event["data"]["duration"], event["data"]["language"]) == (9.5, "en")


def test_events_match_the_document(telling: Api, receiver: Receiver, prefect: "SyncPrefectClient") -> None:
    from prefect.states import Completed

    telling.source.put_bytes("2026/a.wav", sound())
    for who in ("clerk", "writer"):  # the second key gets ids and states
        with telling.client(who) as client, telling.client() as boss:
            id = sent(client, receiver.url, f"{who}.wav")
            telling.finish(id)
            prefect.delete_flow_run(entry(boss, id)["id"])
    with telling.client() as boss:
        run = boss.post("/v1/batches", json={"prefix": "2026/", "callback": receiver.url}).raise_for_status().json()
        ended(prefect, run["id"], Completed())
        assert boss.post("/v1/callbacks/test", json={"url": receiver.url}).raise_for_status().json()["delivered"]
        document = boss.get("/openapi.json").json()
    receiver.wait_for(4)
    for event in receiver.events(SECRET):
        webhook = document["webhooks"][
            event["type"] if event["type"] in document["webhooks"] else event["type"].split(".")[0]
        ]
        schema = webhook["post"]["requestBody"]["content"]["application/json"]["schema"]
        Draft202012Validator(schema | {"components": document["components"]}).validate(event)


def test_given_up_callbacks_are_listed_retried_and_deleted(
    telling: Api, receiver: Receiver, prefect: "SyncPrefectClient"
) -> None:
    receiver.answers = [410, 410]
    with telling.client("clerk") as client, telling.client("writer") as other:
        ids = [sent(client, f"{receiver.url}?{number}", f"{number}.wav") for number in range(2)]
        for id in ids:
            telling.finish(id)
            prefect.delete_flow_run(entry(client, id)["id"])
        receiver.wait_for(2)
        wait_until(
            lambda: [one["state"] for one in client.get("/v1/callbacks").json()["data"]] == ["given_up"] * 2,
            "both are given up",
        )
        first = client.get("/v1/callbacks", params={"limit": 1}).raise_for_status().json()
        second = client.get("/v1/callbacks", params={"cursor": first["next_cursor"]}).raise_for_status().json()
        listed = [*first["data"], *second["data"]]
        assert {one["recording"] for one in listed} == set(ids)
        assert {(one["tries"], one["failure"]) for one in listed} == {(1, "HTTP 410")}
        assert second["next_cursor"] is None
        # Only the key's callbacks are listed.
        assert other.get("/v1/callbacks").json()["data"] == []
        for method, path in (("POST", "/retry"), ("DELETE", "")):
            assert other.request(method, f"/v1/callbacks/{listed[0]['id']}{path}").status_code == 404
        again = client.post(f"/v1/callbacks/{listed[0]['id']}/retry")
        assert (again.status_code, again.json()["state"]) == (202, "waiting")
        client.delete(f"/v1/callbacks/{listed[1]['id']}").raise_for_status()
        wait_until_nothing_is_pending(telling)
    assert len(receiver.calls) == 3
    assert receiver.calls[2].headers["webhook-id"] == listed[0]["event"]


def test_pending_callbacks_are_limited_per_key(
    api: Api, settings: ApiSettings, callbacks: CallbackSettings, receiver: Receiver
) -> None:
    bounded = callbacks.model_copy(update={"most": 2})
    with serving(settings, bounded) as limited, limited.client("clerk") as client, limited.client("boss") as boss:
        for number in range(2):
            sent(client, f"{receiver.url}?{number}", f"{number}.wav")
        kept = limited.keys()
        form: dict[str, Any] = {"files": {"file": ("c.wav", sound())}, "data": {"callback": f"{receiver.url}?3"}}
        refused = client.post("/v1/recordings", **form)
        assert (refused.status_code, refused.json()["code"]) == (429, "CALLBACKS_PENDING")
        assert refused.headers["Retry-After"]
        assert limited.keys() == kept
        assert boss.post("/v1/recordings", **form).status_code == 202


def test_a_callback_url_can_be_tested(telling: Api, receiver: Receiver) -> None:
    receiver.answers = [204, 500, 302]
    with telling.client("clerk") as client, telling.client("reader") as reader:
        outcomes = [client.post("/v1/callbacks/test", json={"url": receiver.url}).json() for _ in range(3)]
        refused = client.post("/v1/callbacks/test", json={"url": "https://10.0.0.1/"})
        assert reader.post("/v1/callbacks/test", json={"url": receiver.url}).status_code == 403
    assert [(one["delivered"], one["failure"]) for one in outcomes] == [
        (True, None),
        (False, "HTTP 500"),
        (False, "HTTP 302"),
    ]
    assert (refused.status_code, refused.json()["code"]) == (422, "CALLBACK_REFUSED")
    assert [event["type"] for event in receiver.events(SECRET)] == ["callback.test"] * 3
    assert pending(telling) == []
