"""Who may do what, how often, and what nobody gets to see."""

import logging
from typing import Any

import httpx
import pytest

from stenopool.api.keys import Keys, digest_of
from stenopool.errors import SetupError
from stenopool.settings import ApiSettings
from tests.cli.conftest import stenopool
from tests.support.api_server import Api, secret, serving, sound
from tests.support.command_line import Call

__all__ = ["stenopool"]  # a fixture

ID = "YS53YXY"
ROUTES: list[tuple[str, str, str]] = [
    ("read", "GET", "/v1/recordings"),
    ("read", "GET", f"/v1/recordings/{ID}"),
    ("read", "GET", f"/v1/recordings/{ID}/transcript"),
    ("read", "GET", f"/v1/recordings/{ID}/audio"),
    ("read", "GET", f"/v1/recordings/{ID}/view"),
    ("read", "GET", f"/v1/recordings/{ID}/playback"),
    ("read", "GET", f"/v1/recordings/{ID}/speakers"),
    ("read", "GET", "/v1/queue"),
    ("read", "GET", "/v1/queue/00000000-0000-0000-0000-000000000000"),
    ("write", "POST", "/v1/recordings"),
    ("write", "POST", "/v1/audio/transcriptions"),
    ("write", "POST", f"/v1/recordings/{ID}/retry"),
    ("write", "PUT", f"/v1/recordings/{ID}/speakers"),
    ("write", "DELETE", f"/v1/recordings/{ID}"),
    ("write", "DELETE", "/v1/queue/00000000-0000-0000-0000-000000000000"),
    ("admin", "DELETE", "/v1/queue"),
    ("admin", "POST", "/v1/queue/retry"),
    ("admin", "POST", "/v1/queue/pause"),
    ("admin", "POST", "/v1/queue/resume"),
    ("any", "GET", "/v1/options"),
    ("any", "POST", "/v1/options"),
    ("any", "GET", "/v1/about"),
]
WITHOUT = {"read": "writer", "write": "reader", "admin": "clerk"}


def test_every_route_asks_for_a_key_and_a_scope(api: Api) -> None:
    paths = api.client(None).get("/openapi.json").json()["paths"]
    documented = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert len(documented) == len(ROUTES) + 3  # health, metrics
    for scope, method, path in ROUTES:
        body: dict[str, Any] = {"files": {"file": ("a.wav", sound())}} if method == "POST" else {}
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {secret('boss')}"}):
            answer = httpx.request(method, api.url + path, headers=headers, **body)
            assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHENTICATED"), path
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        if scope == "any":  # any key will do
            continue
        with api.client(WITHOUT[scope]) as client:
            answer = client.request(method, path, **body)
            assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN"), path
    assert api.keys() == []


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
            assert (answer.status_code, answer.headers["Retry-After"]) == (429, "1")
        with api.client("clerk") as client:
            assert client.get("/v1/queue").status_code == 200


def test_answers_carry_strict_headers_and_no_cors(api: Api) -> None:
    with api.client() as client:
        for path in ("/v1/queue", "/v1/nothing", "/health/live"):
            headers = client.get(path, headers={"Origin": "https://example.org"}).headers
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert "default-src 'none'" in headers["Content-Security-Policy"]
            assert headers["Cache-Control"] == "no-store"
            assert not [name for name in headers if name.startswith("access-control-")]
        nothing = client.get("/v1/nothing")
    assert (nothing.status_code, nothing.headers["content-type"]) == (404, "application/problem+json")


def test_no_key_stands_in_logs_or_answers(api: Api, caplog: pytest.LogCaptureFixture) -> None:
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
        # A name that somebody let point here, and a page elsewhere that posts through our browser.
        for headers in ({"Host": "rebound.example.org"}, {"Origin": "https://example.org"}, {"Origin": "null"}):
            assert client.get("/v1/queue", headers=headers).status_code == 403
        assert client.get("/v1/queue", headers={"Origin": api.url}).status_code == 200


@pytest.mark.parametrize(
    "line",
    ["name read", "name read,all " + "a" * 64, "name read " + "A" * 64, "name read the-key-itself", "a b c d"],
)
def test_a_bad_line_of_the_keys_file_is_named_and_not_repeated(line: str, tmp_path: Any) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# fine\n\n{line}\n")
    with pytest.raises(SetupError, match=r"keys:3 is not a name") as error:
        Keys.read(path)
    assert "the-key-itself" not in str(error.value)


def test_a_key_is_made_once_and_works(tmp_path: Any, monkeypatch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from stenopool.api.keys import main

    monkeypatch.setattr("sys.argv", ["stenopool.api.keys", "front-desk", "read,write"])
    main()
    out, err = capsys.readouterr()
    path = tmp_path / "keys"
    path.write_text(out)
    key = err.split()[-1]
    holder = Keys.read(path).holder(key)
    assert holder
    assert (holder.name, holder.may("write"), holder.may("admin")) == ("front-desk", True, False)
    assert key not in out
    assert Keys.read(path).holder(key[:-1]) is None


@pytest.mark.parametrize(
    ("settings_of", "said"),
    [
        ({"SOURCE": ""}, "does not know its source"),
        ({"KEYS": ""}, "has no keys"),
        ({"DESTINATION": "{source}/out"}, "inside each other"),
        ({"KEYS": "/nowhere"}, "cannot be read"),
    ],
)
def test_what_serve_refuses(
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
