"""Every request has an id; every change is one line of the audit log, with the key that made it."""

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from stenopool.api.app import create_app
from stenopool.api.ids import decode, encode
from stenopool.settings import ApiSettings
from tests.api.test_access import SCOPES_OF, call
from tests.support.api_server import Api, secret, sound
from tests.support.processes import Server, free_port
from tests.support.waiting import wait_until


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[Any]:
    """The lines of the audit log since the last call, as fields by name."""
    caplog.set_level(logging.INFO, "stenopool.audit")

    def read() -> list[dict[str, str]]:
        found = [record.getMessage() for record in caplog.records if record.name == "stenopool.audit"]
        caplog.clear()
        return [
            {name: json.loads(value) for name, value in re.findall(r'(\w+)=("(?:[^"\\]|\\.)*")', line)}
            for line in found
            if line.startswith("key=")
        ]

    return read


def test_a_change_is_logged_in_one_line_with_key_operation_and_outcome(api: Api, lines: Any) -> None:
    form: dict[str, Any] = {"files": {"file": ("a.wav", sound())}}
    with api.client("clerk") as client:
        sent = client.post("/v1/recordings", headers={"X-Request-Id": "trace-1"}, **form).json()
        key = decode(sent["id"])
        expected = {"key": "clerk", "operation": "POST /v1/recordings", "recording": key, "outcome": "202"}
        assert lines() == [{**expected, "request": "trace-1"}]
        run = client.get("/v1/queue").json()["entries"][0]["id"]
        client.get(f"/v1/recordings/{sent['id']}")
        client.post("/v1/options", json={})
        assert lines() == []  # nothing was changed
        answer = client.delete(f"/v1/queue/{run}")
        (line,) = lines()
        assert (line["operation"], line["recording"], line["outcome"]) == ("DELETE /v1/queue/{id}", key, "204")
        assert line["request"] == answer.headers["X-Request-Id"]
        client.delete(f"/v1/recordings/{sent['id']}")
        client.delete(f"/v1/recordings/{sent['id']}")
        assert [(line["recording"], line["outcome"]) for line in lines()] == [
            (key, "204"),
            (key, "404 OBJECT_NOT_FOUND"),
        ]
        api.source.put_bytes("calls/a.wav", sound())
        client.post("/v1/recordings", json={"uri": f"{api.source.uri}/calls/"}).raise_for_status()
        assert [line["recording"] for line in lines()] == ["calls/"]
    with api.client("sender") as client:
        client.delete(f"/v1/recordings/{encode('calls/a.wav')}")
        (line,) = lines()
        assert (line["key"], line["outcome"]) == ("sender", "403 FORBIDDEN")
        assert line["recording"] == encode("calls/a.wav")  # as sent: nothing was looked up


def test_exactly_the_operations_that_change_something_are_logged(api: Api, lines: Any) -> None:
    with api.client("clerk") as client:
        for operation, scopes in SCOPES_OF.items():
            is_change = bool(scopes - {"read"}) and not operation.startswith(("GET ", "HEAD "))
            call(client, operation)
            assert [line["operation"] for line in lines()] == [operation] * is_change, operation
    with api.client(None) as client:  # there is no known key to log
        for operation in SCOPES_OF:
            call(client, operation)
    assert lines() == []


def test_names_cannot_forge_fields_or_lines(api: Api, lines: Any) -> None:
    quoted, key = 'x" outcome="404.wav', 'x" outcome="404\nkey="boss.wav'
    with api.client("clerk") as client:
        api.source.put_bytes(quoted, sound())
        for one in (quoted, key):
            client.delete(f"/v1/recordings/{encode(one)}")
    first, second = lines()
    assert (first["recording"], first["outcome"]) == (quoted, "204")
    assert second["outcome"] == "404 OBJECT_NOT_FOUND"


GOOD_IDS = ["1", "4bf92f3577b34da6a3ce929d0e0e4736", "Root=1-67891233-abcdef012345678912345678", "a" * 128]
BAD_IDS = ["", "a b", "a\tb", 'a"', "a" * 129, "é", "<script>", "a,b"]


@pytest.mark.parametrize("given", GOOD_IDS)
def test_a_valid_request_id_is_kept(given: str, api: Api) -> None:
    for path in ("/v1/nothing", "/v1/queue", "/health/live", "/"):
        answer = httpx.get(api.url + path, headers={"X-Request-Id": given})
        assert answer.headers["X-Request-Id"] == given
        if answer.status_code >= 400:
            assert answer.json()["request_id"] == given


@pytest.mark.parametrize("given", BAD_IDS)
def test_an_invalid_request_id_is_replaced(given: str, api: Api) -> None:
    answer = httpx.get(f"{api.url}/v1/nothing", headers={"X-Request-Id": given.encode()})
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-Id"])
    assert answer.json()["request_id"] == answer.headers["X-Request-Id"]


def test_two_request_ids_are_replaced(api: Api) -> None:
    answer = httpx.get(f"{api.url}/v1/nothing", headers=[("X-Request-Id", "a"), ("X-Request-Id", "b")])
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-Id"])


def test_internal_errors_have_the_request_id(settings: ApiSettings) -> None:
    app = create_app(settings)

    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError

    answer = TestClient(app, raise_server_exceptions=False).get("/broken", headers={"X-Request-Id": "trace-1"})
    assert (answer.status_code, answer.headers["X-Request-Id"], answer.json()["request_id"]) == (500, *["trace-1"] * 2)


@pytest.mark.parametrize("format", ["text", "json"])
def test_serve_writes_the_audit_log(format: str, deployed: None, settings: ApiSettings, tmp_path: Path) -> None:
    import os
    import sys

    from prefect.settings import PREFECT_API_URL

    port, server = free_port(), Server("the API", tmp_path / "log.txt")
    names = ("source", "destination", "keys")
    environment = {
        **os.environ,
        "PREFECT_API_URL": str(PREFECT_API_URL.value()),
        **{f"STENOPOOL_API__{name.upper()}": str(getattr(settings, name)) for name in names},
        "STENOPOOL_LOG__FORMAT": format,
    }
    command = [str(Path(sys.executable).with_name("stenopool")), "serve", f"--port={port}"]
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/health/live").is_success
        except httpx.HTTPError:
            return False

    server.spawn(command, answers, environment=environment)
    try:
        headers = {"Authorization": f"Bearer {secret('clerk')}", "X-Request-Id": "trace-1"}
        httpx.delete(f"{url}/v1/recordings/{encode('a.wav')}", headers=headers)
        found = wait_until(
            lambda: [line for line in server.log.read_text().splitlines() if "trace-1" in line], "a line"
        )
    finally:
        server.stop()
    (line,) = found
    if format == "json":
        expected = {"key": "clerk", "recording": "a.wav", "request": "trace-1", "outcome": "404 OBJECT_NOT_FOUND"}
        assert expected.items() <= json.loads(line).items()
    else:
        assert 'key="clerk" operation="DELETE /v1/recordings/{id}" recording="a.wav"' in line
