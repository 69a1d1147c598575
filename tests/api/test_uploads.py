"""Uploads: accepted files are stored byte for byte, with a queued run; refused files leave nothing behind."""

import hashlib
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from stenopool.api.ids import decode, encode
from stenopool.settings import ApiSettings
from tests.api.conftest import Shared
from tests.support.api_server import Api, secret, serving, sound
from tests.support.raw_http import connect

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient


def test_an_upload_is_stored_completely_and_queued(either: Api, prefect: "SyncPrefectClient") -> None:
    # More than two parts, so that S3 gets a multipart upload.
    data = sound() + bytes(range(256)) * 70_000
    with either.client("clerk") as client:
        form = {"options": json.dumps({"language": "de", "diarization": "off"})}
        answer = client.post("/v1/recordings", files={"file": ("Réunion №1.wav", data)}, data=form)
        assert answer.status_code == 202
        sent = answer.json()
        assert sent["sha256"] == hashlib.sha256(data).hexdigest()
        assert sent["state"] == "queued"
        assert answer.headers["Location"] == f"/v1/recordings/{sent['id']}"
        (key,) = either.keys()
        assert key.endswith("/Réunion №1.wav")
        assert either.source.get_bytes(key) == data
        state = client.get(answer.headers["Location"]).json()
        assert (state["state"], state["name"], state["size"]) == ("queued", "Réunion №1.wav", len(data))
        run = prefect.read_flow_run(state["queue"]["id"])
    assert run.work_queue_name == "ingest-interactive"
    assert run.parameters["selection"] == {"only": [key]}
    assert run.parameters["options"] == {"language": "de", "diarization": "off"}
    assert (run.parameters["source"].rstrip("/"), run.parameters["destination"].rstrip("/")) == (
        either.source.uri.removeprefix("file://"),
        either.destination.uri.removeprefix("file://"),
    )


def test_a_presigned_upload_bypasses_the_api(api_on_s3: Api) -> None:
    data = sound()
    wanted = {"filename": "direct.wav", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    with api_on_s3.client("clerk") as client:
        answer = client.post("/v1/uploads", json=wanted)
        asked = answer.json()
        assert (answer.status_code, asked["method"]) == (201, "PUT")
        assert api_on_s3.keys() == []
        for content, headers in (
            (data + b"more", asked["headers"]),
            (data, {}),
            (data, {**asked["headers"], "Content-Type": "text/html"}),
        ):
            assert httpx.put(asked["url"], content=content, headers=headers).status_code == 403
        httpx.put(asked["url"], content=data, headers=asked["headers"]).raise_for_status()
        over = httpx.put(asked["url"], content=data[::-1], headers=asked["headers"])
        assert over.status_code in (400, 412)  # it exists already; and the size differs from the request
        wrong = client.post("/v1/recordings", json={"uri": asked["uri"], "sha256": "0" * 64})
        assert (wrong.status_code, wrong.json()["code"]) == (422, "CHECKSUM_MISMATCH")
        answer = client.post("/v1/recordings", json={"uri": asked["uri"], "sha256": wanted["sha256"]})
        assert (answer.status_code, answer.json()["id"]) == (202, asked["id"])
        assert answer.json()["sha256"] == wanted["sha256"]
        assert client.get("/v1/queue").json()["queued"] == 1
    assert api_on_s3.source.get_bytes(decode(asked["id"])) == data


def test_the_deprecated_request_for_a_presigned_url_still_works(api_on_s3: Api) -> None:
    data = sound()
    with api_on_s3.client("clerk") as client:
        answer = client.post("/v1/recordings", json={"filename": "direct.wav", "size": len(data)})
        asked = answer.raise_for_status().json()
        assert answer.headers["Deprecation"].startswith("@")
        assert answer.headers["Link"] == '</v1/uploads>; rel="successor-version"'
        httpx.put(asked["url"], content=data, headers=asked["headers"]).raise_for_status()
        assert "Deprecation" not in client.post("/v1/recordings", json={"uri": asked["uri"]}).headers


@pytest.mark.parametrize("field", ["language", "modell", "chunking_strategy", "include[]", "Options", ""])
def test_an_unknown_field_is_refused_before_the_file_is_read(field: str, shared: Shared) -> None:
    form = {"files": {"file": ("a.wav", sound())}, "data": {field: "de"}}
    with shared.api.client("clerk") as client:
        answer = client.post("/v1/recordings", **form)
    assert (answer.status_code, answer.json()["code"]) == (422, "UNKNOWN_FIELD")
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert "external_id" in answer.json()["remedy"]  # the known fields
    assert ("send it in options" in answer.json()["remedy"]) == (field == "language")
    assert shared.api.keys() == []


def test_recordings_below_the_source_are_submitted_by_address(either: Api) -> None:
    either.source.put_bytes("2026/a b.wav", sound())
    uri = either.source.uri_of("2026/a b.wav")
    with either.client("clerk") as client:
        first, second = (client.post("/v1/recordings", json={"uri": uri}) for _ in range(2))
        assert (first.status_code, first.json()) == (202, second.json())
        assert client.get("/v1/queue").json()["queued"] == 1


REFUSED_ADDRESSES = [
    "http://169.254.169.254/latest/meta-data/",
    "https://example.org/a.wav",
    "file:///etc/passwd",
    "/etc/passwd",
    "s3://another-bucket/in/a.wav",
    "{source}/../out/a.wav",
    "{source}-beside/a.wav",
    "{source}",
    "{source}/",  # nothing is below it
    "{source}/none/",
    "{source}/../out/",
    "{source}/.hidden/",
    "{source}//",
    "{source}-beside/",
    "s3://another-bucket/",
    "{source}/.hidden/a.wav",
    "{source}//a.wav?versionId=1",
]


@pytest.mark.parametrize("uri", REFUSED_ADDRESSES)
def test_an_address_outside_the_source_is_refused(uri: str, shared: Shared) -> None:
    api = shared.api
    with api.client("clerk") as client:
        before = client.get("/v1/queue").json()["queued"]
        answer = client.post("/v1/recordings", json={"uri": uri.format(source=api.source.uri)})
        assert answer.status_code in (404, 422), answer.text
        assert client.get("/v1/queue").json()["queued"] == before


def _form(*parts: bytes, end: bytes = b"--x--\r\n") -> dict[str, Any]:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    return {"content": b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + end, "headers": headers}


def _file(name: bytes, data: bytes = b"") -> bytes:
    return b'Content-Disposition: form-data; name="file"; filename="' + name + b'"\r\n\r\n' + (data or sound())


_OPTIONS = b'Content-Disposition: form-data; name="options"\r\n\r\n{}'
_FILE = {"file": ("a.wav", sound())}
REFUSED: dict[str, tuple[int, dict[str, Any]]] = {
    "too large": (413, _form(_file(b"a.wav", sound() + bytes(41 * 1024 * 1024)))),
    "far too large, refused unread": (413, _form(_file(b"a.wav", sound() + bytes(60 * 1024 * 1024)))),
    "a document": (415, _form(_file(b"a.wav", b"%PDF-1.7 and so on" * 100))),
    "a short image": (415, _form(_file(b"a.wav", b"\xff\xd8\xff\xe0"))),
    "empty": (422, {"files": {"file": ("a.wav", b"")}}),
    "traversal": (422, _form(_file(b"../.."))),
    "nothing but traversal": (422, _form(_file(b".."))),
    "traversal with backslashes": (422, _form(_file(b"..\\\\.."))),
    "hidden": (422, _form(_file(b".receipts"))),
    "a list of other files": (422, _form(_file(b"a.wav", b"#EXTM3U\nb.wav\n"))),
    "a document's name": (422, _form(_file(b"a.txt"))),
    "another field": (422, {"files": {"other": ("a.wav", sound())}}),
    "two files": (422, {"files": [("file", ("a.wav", sound())), ("file", ("b.wav", sound()))]}),
    "no file": (422, _form(b'Content-Disposition: form-data; name="options"\r\n\r\n{}')),
    "a truncated form": (400, _form(_file(b"a.wav"), end=b"")),
    "wrong checksum": (422, {"files": {"file": ("a.wav", sound())}, "data": {"sha256": "0" * 64}}),
    "unknown option": (422, {"files": {"file": ("a.wav", sound())}, "data": {"options": '{"modell": "base"}'}}),
    "options that are not an object": (422, {"files": {"file": ("a.wav", sound())}, "data": {"options": "[1]"}}),
    "a model in a folder": (422, {"files": {"file": ("a.wav", sound())}, "data": {"options": '{"model": "/etc"}'}}),
    "options twice": (422, _form(*[_OPTIONS, _OPTIONS], _file(b"a.wav"))),
    "deeply nested options": (422, {"files": _FILE, "data": {"options": "[" * 60_000}}),
    "half a surrogate pair": (422, {"files": _FILE, "data": {"options": r'{"prompt": "\ud800"}'}}),
    "metadata other than strings": (422, {"files": _FILE, "data": {"metadata": '{"a": 1}'}}),
    "too much metadata": (
        422,
        {"files": _FILE, "data": {"metadata": json.dumps({str(n): "" for n in range(17)})}},
    ),
    "long metadata": (422, {"files": _FILE, "data": {"metadata": json.dumps({"a": "x" * 513})}}),
    "a long external_id": (422, {"files": _FILE, "data": {"external_id": "x" * 201}}),
    "an invalid checksum": (422, {"json": {"uri": "s3://a/b", "sha256": "0"}}),
    "deeply nested JSON": (400, {"content": b"[" * 100_000, "headers": {"Content-Type": "application/json"}}),
    "a long field": (413, {"files": {"file": ("a.wav", sound())}, "data": {"options": " " * 70_000}}),
    "not a form": (415, {"content": sound(), "headers": {"Content-Type": "audio/wav"}}),
    "a form without its boundary": (415, {"content": b"", "headers": {"Content-Type": "multipart/form-data"}}),
    "a boundary of 5000 characters": (
        400,
        {"content": b"", "headers": {"Content-Type": f"multipart/form-data; boundary={'x' * 5000}"}},
    ),
    "broken JSON": (400, {"content": b"{", "headers": {"Content-Type": "application/json"}}),
    "JSON of another shape": (422, {"json": {"url": "s3://a/b"}}),
    "a large JSON body": (413, {"json": {"uri": "s3://" + "a" * 1_100_000}}),
    "a missing size": (422, {"json": {"filename": "a.wav"}}),
    "presigned and too large": (413, {"json": {"filename": "a.wav", "size": 10**12}}),
    "presigned with traversal": (422, {"json": {"filename": "../a.wav", "size": 1}}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_upload_leaves_nothing_behind(case: str, shared: Shared) -> None:
    status, request = REFUSED[case]
    api = shared.api
    with api.client("clerk") as client:
        before = client.get("/v1/queue").json()["queued"]
        answer = client.post("/v1/recordings", **request)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
        problem = answer.json()
        assert problem["code"]
        assert problem["detail"]
        assert problem["remedy"]
        assert client.get("/v1/queue").json()["queued"] == before
    assert api.keys() == []
    assert shared.unfinished_uploads() == []


def test_a_disconnected_upload_leaves_nothing_behind(api: Api) -> None:
    body = _form(_file(b"a.wav", sound() + bytes(9 * 1024 * 1024)))["content"]
    with socket.create_connection(("127.0.0.1", int(api.url.rpartition(":")[2]))) as connection:
        head = (
            f"POST /v1/recordings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret('clerk')}\r\n"
            f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        connection.sendall(head.encode() + body[:-100])
    with api.client() as client:
        assert client.get("/v1/queue").json()["queued"] == 0
    assert api.keys() == []


def test_a_slow_body_times_out(deployed: None, settings: ApiSettings) -> None:
    with serving(settings.model_copy(update={"body_timeout": 0.2})) as api:

        def dribble() -> Iterator[bytes]:
            for byte in _form(_file(b"a.wav"))["content"]:
                yield bytes([byte])
                time.sleep(0.02)

        with api.client("clerk") as client:
            headers = {"Content-Type": "multipart/form-data; boundary=x"}
            answer = client.post("/v1/recordings", content=dribble(), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (408, "BODY_TOO_SLOW")
        assert api.keys() == []


def test_a_slow_but_steady_body_times_out_in_the_end(deployed: None, settings: ApiSettings) -> None:
    with serving(settings.model_copy(update={"upload_timeout": 0.5})) as api:

        def steady() -> Iterator[bytes]:
            yield _form(_file(b"a.wav"))["content"][:-10]
            for _ in range(100):
                time.sleep(0.02)
                yield bytes(50_000)

        with api.client("clerk") as client:
            answer = client.post("/v1/recordings", content=steady(), headers=_form()["headers"])
        assert (answer.status_code, answer.json()["code"]) == (408, "BODY_TOO_SLOW")
        assert api.keys() == []


@contextmanager
def _idle_uploads(api: Api, who: str, count: int) -> Iterator[None]:
    """Uploads of which only four bytes arrive."""
    with ExitStack() as stack:
        for _ in range(count):
            connection = stack.enter_context(connect(api.url))
            connection.sendall(
                f"POST /v1/recordings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret(who)}\r\n"
                "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 1000000\r\n\r\n--x\r".encode()
            )
        time.sleep(0.5)
        yield


def test_idle_uploads_of_one_key_do_not_block_another(api: Api) -> None:
    with _idle_uploads(api, "clerk", 30), api.client("writer") as client:
        begin = time.monotonic()
        answer = client.post("/v1/recordings", files={"file": ("a.wav", sound())})
        assert answer.status_code == 202
        assert time.monotonic() - begin < 1


def test_waiting_too_long_for_a_slot_is_a_503(
    deployed: None, settings: ApiSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stenopool.api.uploads._PATIENCE", 0.3)
    with serving(settings.model_copy(update={"uploads_at_once": 3})) as api, api.client("clerk") as client:
        with _idle_uploads(api, "clerk", 1):
            begin = time.monotonic()
            answer = client.post("/v1/recordings", files={"file": ("a.wav", sound())})
            assert 0.3 < time.monotonic() - begin < 2
            assert (answer.status_code, answer.json()["code"]) == (503, "TOO_MANY_UPLOADS")
            assert answer.headers["Retry-After"] == "10"
        # The slots of disconnected clients are free.
        assert client.post("/v1/recordings", files={"file": ("a.wav", sound())}).status_code == 202
        with _idle_uploads(api, "writer", 1), _idle_uploads(api, "boss", 1):
            assert client.post("/v1/recordings", files={"file": ("b.wav", sound())}).status_code == 202
        assert len(api.keys()) == 2


def test_nothing_is_stored_if_the_run_cannot_be_submitted(deployed: None, settings: ApiSettings) -> None:
    with serving(settings.model_copy(update={"deployment": "ingest/none"})) as api, api.client("clerk") as client:
        answer = client.post("/v1/recordings", files={"file": ("a.wav", sound())})
        assert (answer.status_code, answer.json()["code"]) == (503, "DEPLOYMENT_MISSING")
        assert api.keys() == []


def test_an_address_with_a_slash_submits_everything_below_it(either: Api, prefect: "SyncPrefectClient") -> None:
    for key in ("2026/a b/1.wav", "2026/a b/2.wav", "2025/3.wav"):
        either.source.put_bytes(key, sound())
    either.finish(encode("2026/a b/2.wav"))
    asked = {"uri": f"{either.source.uri_of('2026/a b')}/", "options": {"language": "de"}}
    with either.client("clerk") as client:
        upload = client.post("/v1/recordings", files={"file": ("later.wav", sound())}).raise_for_status().json()
        sent = client.post("/v1/recordings", json=asked)
        run = sent.json()
        assert (sent.status_code, run["prefix"], run["state"]) == (202, "2026/a b/", "queued")
        assert sent.headers["Link"] == '</v1/batches>; rel="successor-version"'
        # It is queued behind single recordings; its recordings are queued with it, unless they are done.
        assert client.get(sent.headers["Location"]).json()["position"] == 2
        states = {one["key"]: one["state"] for one in client.get("/v1/recordings").json()["recordings"]}
        assert states.pop(decode(upload["id"])) == "queued"
        assert states == {"2026/a b/1.wav": "queued", "2026/a b/2.wav": "completed", "2025/3.wav": "skipped"}
        one = client.get(f"/v1/recordings/{encode('2026/a b/1.wav')}").json()
        assert (one["state"], one["queue"]["id"]) == ("queued", run["id"])

        assert client.post("/v1/recordings", json=asked).json()["id"] == run["id"]
        other = client.post("/v1/recordings", json=asked | {"options": {}}).json()
        assert other["id"] != run["id"]
        parameters = prefect.read_flow_run(run["id"]).parameters
        assert (parameters["selection"], parameters["options"]) == ({"prefix": "2026/a b/"}, {"language": "de"})
        client.delete(f"/v1/queue/{run['id']}").raise_for_status()
        assert client.get(sent.headers["Location"]).json()["state"] == "cancelled"
        assert client.post("/v1/recordings", json=asked).json()["id"] != run["id"]
