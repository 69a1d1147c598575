"""Idempotency keys, on every endpoint: a repeated request has no effect for a week, and a different one is refused."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from stenopool.api.ids import decode
from stenopool.pipeline.receipts import REQUESTS, REQUESTS_KEPT
from stenopool.settings import ApiSettings
from tests.api.test_recordings import ended, entry, wait_for_a_fresh_queue
from tests.support.api_server import Api, serving, sound

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

KEY = {"Idempotency-Key": "one"}
OPENAI = "/v1/audio/transcriptions"


def send(client: httpx.Client, data: bytes = sound(), name: str = "a.wav", **form: str) -> httpx.Response:
    return client.post("/v1/recordings", files={"file": (name, data)}, data=form, headers=KEY)


def records(api: Api) -> list[str]:
    return [info.key for info in api.destination.list(REQUESTS)]


def reused(answer: httpx.Response) -> bool:
    return (answer.status_code, answer.json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")


def test_the_same_upload_is_one_recording_and_is_compared_by_content(either: Api) -> None:
    digest = hashlib.sha256(sound()).hexdigest()
    with either.client("clerk") as client:
        first, again = send(client), send(client, sha256=digest)
        assert (first.status_code, again.status_code) == (202, 202)
        assert first.json() == again.json()
        assert again.json()["sha256"] == digest
        longer, other = sound() + b"more", sound()[:-1] + b"\1"  # of the same name; the second of the same size
        for refused in (
            send(client, longer),
            send(client, other),
            send(client, name="b.wav"),
            send(client, options='{"language": "de"}'),
            send(client, external_id="call 7"),
            send(client, metadata='{"a": "b"}'),
            client.post(OPENAI, files={"file": ("a.wav", other)}, headers=KEY),
            client.post("/v1/uploads", json={"filename": "a.wav", "size": len(sound())}, headers=KEY),
            client.post("/v1/batches", json={"prefix": ""}, headers=KEY),
            client.post("/v1/recordings", json={"uri": first.json()["uri"]}, headers=KEY),
        ):
            if "LOCATION_INVALID" not in refused.text:  # a folder has no presigned addresses
                assert reused(refused), refused.text
        wrong = send(client, sha256="deadbeef")
        assert (wrong.status_code, wrong.json()["code"]) == (422, "CHECKSUM_MISMATCH")
        assert either.keys() == [decode(first.json()["id"])]
        assert client.get("/v1/queue").json()["queued"] == 1
    with either.client() as boss:  # another caller's key is a different key
        assert send(boss).json()["id"] != first.json()["id"]


def test_a_repeated_upload_starts_nothing(api: Api, prefect: "SyncPrefectClient") -> None:
    from prefect.states import Failed

    with api.client("clerk") as client:
        id = send(client).json()["id"]
        ended(prefect, entry(client, id)["id"], Failed())
        wait_for_a_fresh_queue(client, id)
        again = send(client).json()
        assert (again["id"], again["state"]) == (id, "failed")
        client.delete(f"/v1/recordings/{id}").raise_for_status()
        assert api.keys() == []
        # The recording was deleted, so the request stores it again under the same id.
        again = send(client).json()
        assert (again["id"], again["state"]) == (id, "queued")


def test_one_of_several_simultaneous_uploads_is_stored(either: Api) -> None:
    def once(number: int) -> httpx.Response:
        with either.client("clerk") as client:
            return send(client, sound() if number % 2 else sound(0.6))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(once, range(16)))
    codes = {answer.status_code for answer in answers}
    assert 202 in codes
    assert codes <= {202, 409, 422}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 202}) == 1
    assert len(either.keys()) == 1


def test_failed_requests_are_not_stored(deployed: None, settings: ApiSettings, api: Api) -> None:
    with api.client("clerk") as client:
        refused = send(client, options='{"modell": "base"}')
        assert (refused.status_code, records(api)) == (422, [])
        assert send(client).status_code == 202
    with serving(settings.model_copy(update={"bulk_deployment": "ingest/none"})) as broken, broken.client() as client:
        before = records(api)
        answer = client.post("/v1/batches", json={"prefix": ""}, headers=KEY)
        assert (answer.status_code, records(api)) == (503, before)


def test_a_key_expires_after_a_week(either: Api) -> None:
    with either.client("clerk") as client:
        first = send(client).json()
        (name,) = records(either)
        kept = json.loads(either.destination.get_bytes(name))

        def made(age: timedelta) -> None:
            record = {**kept, "created_at": (datetime.now(UTC) - age).isoformat()}
            either.destination.put_bytes(name, json.dumps(record).encode())

        made(REQUESTS_KEPT - timedelta(minutes=1))
        assert send(client).json()["id"] == first["id"]
        assert reused(send(client, sound(1.0)))
        made(REQUESTS_KEPT)
        later = send(client, sound(1.0))
        assert (later.status_code, later.json()["id"] != first["id"]) == (202, True)
        assert len(either.keys()) == 2
        assert timedelta(days=7) == REQUESTS_KEPT  # as documented


def test_a_repeated_address_below_the_source(api: Api, prefect: "SyncPrefectClient") -> None:
    from prefect.states import Cancelled

    for name in ("a.wav", "b.wav"):
        api.source.put_bytes(name, sound())

    def name(client: httpx.Client, key: str = "a.wav", **more: Any) -> httpx.Response:
        return client.post("/v1/recordings", json={"uri": api.source.uri_of(key), **more}, headers=KEY)

    with api.client("clerk") as client:
        first = name(client).raise_for_status().json()
        ended(prefect, entry(client, first["id"])["id"], Cancelled())
        wait_for_a_fresh_queue(client, first["id"])
        assert name(client).json() == first | {"state": "cancelled"}  # not started again
        digest = hashlib.sha256(sound()).hexdigest()
        for refused in (name(client, "b.wav"), name(client, options={"language": "de"}), name(client, sha256=digest)):
            assert reused(refused)
        wrong = client.post("/v1/recordings", json={"uri": api.source.uri_of("b.wav"), "sha256": "0" * 64})
        assert (wrong.status_code, wrong.json()["code"]) == (422, "CHECKSUM_MISMATCH")
        right = client.post("/v1/recordings", json={"uri": api.source.uri_of("b.wav"), "sha256": digest.upper()})
        assert (right.status_code, right.json()["sha256"]) == (202, digest)


def test_a_presigned_url_is_for_one_upload(api_on_s3: Api) -> None:
    data = sound()
    body = {"filename": "a.wav", "size": len(data)}
    with api_on_s3.client("clerk") as client:

        def ask(**other: Any) -> httpx.Response:
            return client.post("/v1/uploads", json={**body, **other}, headers=KEY)

        first, again = ask().json(), ask().json()
        assert first["id"] == again["id"]
        for refused in (ask(size=7), ask(filename="b.wav"), ask(sha256=hashlib.sha256(data).hexdigest())):
            assert reused(refused)
        for address, status in ((first, 200), (again, 412)):
            assert httpx.put(address["url"], content=data, headers=address["headers"]).status_code == status
        there = ask()
        assert (there.status_code, there.json()["code"]) == (409, "ALREADY_UPLOADED")
        assert first["uri"] in there.json()["remedy"]


def test_a_batch_is_started_once(api: Api, prefect: "SyncPrefectClient") -> None:
    from prefect.states import Completed

    for name in ("2025/a.wav", "2026/a.wav"):
        api.source.put_bytes(name, sound())
    with api.client("clerk") as client:

        def ask(prefix: str = "2026/", **more: Any) -> httpx.Response:
            return client.post("/v1/batches", json={"prefix": prefix, **more}, headers=KEY)

        run = ask().raise_for_status().json()["id"]
        ended(prefect, run, Completed())
        assert (ask().json()["id"], ask().json()["state"]) == (run, "completed")
        for refused in (ask("2025/"), ask(options={"language": "de"}), ask(metadata={"a": "b"})):
            assert reused(refused)
        plan = ask("2025/", dry_run=True)  # a dry run has no effect to repeat
        assert (plan.status_code, plan.json()["recordings"]["new"]) == (200, 1)


@pytest.mark.parametrize("content", [b"", b"{", b"[]"])
def test_an_unreadable_record_is_ignored(api: Api, content: bytes) -> None:
    with api.client("clerk") as client:
        send(client).raise_for_status()
        (name,) = records(api)
        api.destination.put_bytes(name, content)
        assert send(client).status_code == 202
        assert send(client).status_code == 202
    assert len(api.keys()) == 2
