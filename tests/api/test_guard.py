"""Checks before a body is read, for every operation; and requests that no client library would send."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from stenopool.settings import ApiSettings
from tests.api.conftest import Shared
from tests.api.test_metrics import page, value
from tests.support.api_server import Api, secret, serving, sound
from tests.support.raw_http import Answer, connect, exchange, read_answer

FORM = 2 * 1024 * 1024
FIRST = 48 * 1024  # bytes of the form that are sent with the headers
UPLOADS = {
    ("post", "/v1/recordings"),
    ("post", "/v1/audio/transcriptions"),
    ("post", "/v1/audio/translations"),
}


def _operations(api: Api) -> Iterator[tuple[str, str]]:
    """Method and path of each operation that needs a key."""
    document = httpx.get(f"{api.url}/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if "security" in operation:
                yield method, path.replace("{id}", "YS53YXY")


def _begin_form(api: Api, method: str, path: str, who: str | None) -> Answer:
    """Send headers and the beginning of a form, and nothing more."""
    key = f"Authorization: Bearer {secret(who)}\r\n" if who else ""
    head = (
        f"{method.upper()} {path} HTTP/1.1\r\nHost: x\r\n{key}Content-Length: {FORM}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    )
    begin = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + sound()
    return exchange(api.url, head.encode() + begin.ljust(FIRST, b"\0"))


def _received(api: Api) -> float:
    return value(page(api), "stenopool_api_upload_bytes_total")


def test_without_a_key_no_operation_reads_a_body(shared: Shared) -> None:
    api, before = shared.api, _received(shared.api)
    operations = list(_operations(api))
    assert len(operations) > 20
    for method, path in operations:
        answer = _begin_form(api, method, path, None)
        assert (answer.status, answer.json()["code"]) == (401, "UNAUTHENTICATED"), path
    assert _received(api) == before


def test_without_the_scope_no_operation_reads_a_body(shared: Shared) -> None:
    api, before, refused = shared.api, _received(shared.api), 0
    for method, path in _operations(api):
        for who in ("reader", "writer"):
            if not (method == "get" or path.startswith("/v1/options")):
                status = _begin_form(api, method, path, who).status if who == "reader" else 403
                assert status == 403, path
                refused += 1
    assert refused > 10
    assert _received(api) == before


def test_only_uploads_may_be_large(shared: Shared) -> None:
    api, before = shared.api, _received(shared.api)
    for method, path in _operations(api):
        if (method, path) not in UPLOADS:
            assert _begin_form(api, method, path, "boss").status == 413, path
    assert _received(api) == before


def test_a_body_of_unknown_size_is_limited(shared: Shared) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(300):
            yield bytes(10_000)

    before = _received(shared.api)
    with shared.api.client() as client:
        answer = client.put("/v1/recordings/YS53YXY/speakers", content=endless())
    assert answer.status_code == 413
    assert _received(shared.api) - before < 1024 * 1024 + 300_000


def test_too_many_requests_are_refused_before_a_body(deployed: None, settings: ApiSettings) -> None:
    with serving(settings.model_copy(update={"rate": 0.01})) as api:
        for who in ("clerk", None):
            _begin_form(api, "delete", "/v1/recordings/YS53YXY", who)
            answer = _begin_form(api, "post", "/v1/recordings", who)
            assert (answer.status, answer.headers["retry-after"]) == (429, "100")
        assert _received(api) == 0


def test_responses_have_the_number_of_remaining_requests(deployed: None, settings: ApiSettings) -> None:
    with serving(settings.model_copy(update={"rate": 0.02})) as api:
        with api.client("reader") as client:
            first, second = client.get("/v1/about"), client.get("/v1/about")
        refused = api.client(None).get("/v1/about")
        free = api.client(None).get("/health/live")
    for answer in (first, second, refused):
        assert answer.headers["RateLimit-Policy"] == '"requests";q=1;w=50'
        assert answer.headers["RateLimit"] == '"requests";r=0;t=50'
    assert [first.status_code, second.status_code, refused.status_code] == [200, 429, 401]
    assert second.headers["Retry-After"] == "50"
    assert "RateLimit" not in free.headers


def test_rates_count_down(api: Api) -> None:
    with api.client("reader") as client:
        answers = [client.get("/v1/about").headers["RateLimit"] for _ in range(2)]
    assert answers == ['"requests";r=999;t=1', '"requests";r=999;t=1'] or '"requests";r=998;t=1' in answers


HOSTS = ["[", "[::1", "a[b", "x:y", "x:99999999", "x y", "x/y", "u@x", "x\xff", "", "]", "[]", "http://x"]
ORIGINS = ["http://[", "http://[::1", "//[", "http://x:y", "[", "\xff", "http://" + "[" * 1000]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("path", ["/v1/about", "/v1/nothing", "/v1/audio/transcriptions", "/", "/metrics"])
def test_a_malformed_host_is_a_client_error(shared: Shared, host: str, path: str) -> None:
    answer = exchange(shared.api.url, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1"))
    assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")


def test_valid_hosts_are_accepted(shared: Shared) -> None:
    for host in (
        "x",
        "a-b.example.org:8200",
        "127.0.0.1:1",
        "[::1]:8200",
        "under_score",
        "x.",
        "xn--bcher-kva.example",
    ):
        answer = exchange(shared.api.url, f"GET /health/live HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert answer.status == 200, host


@pytest.mark.parametrize("headers", ["", "Host: x\r\nHost: y\r\n", "Host: x\r\nhost: x\r\n"])
def test_a_request_must_have_one_host(shared: Shared, headers: str) -> None:
    assert exchange(shared.api.url, f"GET / HTTP/1.1\r\n{headers}\r\n".encode()).status == 400


MALFORMED_HEADERS = {
    "Origin": ORIGINS,
    "Authorization": ["", "Bearer", "Bearer \xff", "\xff", "Bearer  ", "bearer " + "x" * 20_000],
    "Content-Type": [";", "application/json; charset=\xff", "\xff/\xff", "multipart/form-data; boundary=" + "x" * 5000,
                     'multipart/form-data; boundary="', "multipart/form-data; boundary*=utf-8''x", "application/x+json",
                     "multipart/form-data; boundary=\xff", "a/b/c;d=e;=", "application/json" + ";" * 5000],
    "Accept": [";q=", "*/*;q=nan", "*/*;q=1e999", "\xff", "," * 5000, "a;q=1;q=x"],
    "Range": ["bytes=", "bytes=-", "bytes=9-1", "\xff", "bytes=" + "9" * 5000 + "-", "bytes=1-2," * 500],
    "If-None-Match": ["\xff", '"', "W/", "*,*"],
    "Idempotency-Key": ["", "\xff", "x" * 256, "\x7f"],
    "Prefer": ["\xff", "=", ";;;"],
    "Content-Length": ["-1", "+1", "1e3", "99999999999999999999999", "1, 1", "\xb2"],
    "Transfer-Encoding": ["gzip", "chunked, chunked", "xchunked", "\xff"],
    "Expect": ["200-ok", "\xff"],
    "X-Forwarded-For": ["[", "\xff", "," * 1000, "::1]:x", "unknown"],
    "X-Forwarded-Proto": ["\xff", "javascript", ""],
    "X-Request-Id": ["\xff", "", "x" * 5000],
    "Upgrade": ["websocket", "h2c", "\xff"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "sent"), [(name, value) for name, values in MALFORMED_HEADERS.items() for value in values]
)
@pytest.mark.parametrize("with_keys", [True, False])
def test_no_header_causes_a_server_error(shared: Shared, local: Api, with_keys: bool, name: str, sent: str) -> None:
    api = shared.api if with_keys else local
    port = api.url.rpartition(":")[2]
    for method, path in (("GET", "/v1/recordings/YS53YXY/audio"), ("POST", "/v1/recordings"), ("PUT", "/v1/none")):
        own = {"Host": f"127.0.0.1:{port}", "Authorization": f"Bearer {secret('boss')}", "Connection": "close"}
        headers = "".join(f"{key}: {one}\r\n" for key, one in (own | {name: sent}).items())
        answer = exchange(api.url, f"{method} {path} HTTP/1.1\r\n{headers}\r\n".encode("latin-1"))
        assert 400 <= answer.status < 500, (path, answer)
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.fixture(scope="module")
def local(deployed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The API without keys."""
    places = {name: str(tmp_path_factory.mktemp(name)) for name in ("source", "destination")}
    with serving(ApiSettings(**places), authenticated=False) as served:
        yield served


@pytest.mark.parametrize(
    "path", ["/", "/page/main.js", "/openapi.json", "/metrics", "/health/live", "/v1/about", "/no"]
)
@pytest.mark.parametrize(
    "header", [*({"Host": host} for host in ("evil.example", "[", "0.0.0.0")), *({"Origin": one} for one in ORIGINS),
               {"Origin": "null"}, {"Origin": "https://evil.example"}]
)  # fmt: skip
def test_without_keys_other_pages_are_refused(local: Api, path: str, header: dict[str, str]) -> None:
    headers = "".join(f"{name}: {one}\r\n" for name, one in ({"Host": local.url[7:]} | header).items())
    answer = exchange(local.url, f"GET {path} HTTP/1.1\r\n{headers}\r\n".encode("latin-1"))
    assert (answer.status, answer.json()["code"]) == (403, "FORBIDDEN")
    assert httpx.get(local.url + path).status_code != 403


DEEP = "[" * 100_000
JSONS = {
    "deep lists": f'{{"options": {DEEP}',
    "deep objects": '{"a":' * 50_000,
    "deep and closed": f'{{"uri": "s3://a/b", "options": {{"x": {"[" * 50_000 + "]" * 50_000}}}}}',
    "a lone surrogate": '{"uri": "s3://a/b", "options": {"vocabulary": ["\\ud800"]}}',
    "a lone surrogate as a name": '{"uri": "s3://a/b", "options": {"\\udfff": 1}}',
    "a lone surrogate in an address": '{"uri": "{source}/\\ud800"}',
    "a lone surrogate in a file name": '{"filename": "a\\ud800.wav", "size": 1}',
    "not a number": '{"uri": "s3://a/b", "options": {"beam_size": NaN}}',
    "infinite": '{"uri": "s3://a/b", "options": {"beam_size": 1e999}}',
    "minus infinity": '{"filename": "a.wav", "size": -Infinity}',
    "a number of 5000 digits": '{"filename": "a.wav", "size": ' + "1" * 5000 + "}",
    "a size beyond 64 bits": '{"filename": "a.wav", "size": 99999999999999999999}',
    "two documents": "{}{}",
    "nothing": "",
    "a list": "[]",
    "null": "null",
    "a NUL": '{"filename": "a\\u0000.wav", "size": 1}',
}


@pytest.mark.parametrize("case", JSONS)
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/recordings"), ("POST", "/v1/options"), ("PUT", "/v1/recordings/YS53YXY/speakers")],
)
def test_no_json_causes_a_server_error(shared: Shared, case: str, method: str, path: str) -> None:
    body = JSONS[case].replace("{source}", shared.api.source.uri)
    with shared.api.client() as client:
        answer = client.request(method, path, content=body, headers={"Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("body", [b"\xed\xa0\x80", b"\xff", b"\xef\xbb\xbf{}", "{}".encode("utf-16"), b'{"a": "\xc3"}'])
def test_json_that_is_not_utf_8_is_refused(shared: Shared, body: bytes) -> None:
    with shared.api.client() as client:
        for path in ("/v1/recordings", "/v1/options"):
            answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
            assert (answer.status_code, answer.json()["code"]) == (400, "BAD_REQUEST")


@pytest.mark.parametrize(
    "options",
    [DEEP, '{"a":' * 10_000, '{"vocabulary": ["\\ud800"]}', '{"prompt": "\\udc00"}', '{"beam_size": NaN}', "\0",
     '{"beam_size": 1e999}', '{"language": "\\ud83d"}', "1" * 5000],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/recordings", "/v1/audio/transcriptions"])
def test_no_form_causes_a_server_error(shared: Shared, options: str, path: str) -> None:
    forms: list[dict[str, Any]] = [{"options": options[:60_000]}, {"language": options[:60_000]}]
    with shared.api.client() as client:
        for form in forms:
            if path == "/v1/recordings" and "language" in form:
                continue
            if path == "/v1/audio/transcriptions" and "options" in form:
                continue
            answer = client.post(path, files={"file": ("a.wav", sound())}, data=form)
            assert 400 <= answer.status_code < 500, answer.text
    assert shared.api.keys() == []


def test_options_can_be_serialized_again(shared: Shared) -> None:
    """Characters beyond the BMP and escapes are valid; halves of surrogate pairs are not."""
    with shared.api.client() as client:
        answer = client.post("/v1/options", content=b'{"vocabulary": ["\\ud83c\\udf99", "\xc3\xa9"]}',
                             headers={"Content-Type": "application/json"})  # fmt: skip
    assert answer.status_code == 200, answer.text
    assert json.loads(answer.text)["vocabulary"] == ["🎙", "é"]


def test_no_request_is_redirected(shared: Shared) -> None:
    """A redirect would contain the Host as it was sent, with http: the client would send its key there unencrypted."""
    for method, path in [*_operations(shared.api), ("get", "/metrics"), ("get", "/health/live"), ("get", "/page/x")]:
        for other in (f"{path}/", f"/{path}", path.rstrip("/") + "//"):
            request = f"{method.upper()} {other} HTTP/1.1\r\nHost: evil.example\r\n\r\n"
            answer = exchange(shared.api.url, request.encode())
            assert not 300 <= answer.status < 400, other
            assert "location" not in answer.headers


@pytest.mark.parametrize(("trusted", "statuses"), [("127.0.0.2", [401, 401]), ("10.0.0.0/8", [401, 429])])
def test_only_configured_proxies_are_trusted(
    trusted: str, statuses: list[int], deployed: None, settings: ApiSettings
) -> None:
    with serving(settings.model_copy(update={"rate": 0.01, "forwarded_allow_ips": trusted})) as api:
        port = int(api.url.rpartition(":")[2])
        got = []
        for client in ("192.0.2.1", "192.0.2.2"):
            request = f"GET /v1/about HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {client}\r\n\r\n"
            with socket.create_connection(("127.0.0.1", port), 10, ("127.0.0.2", 0)) as connection:
                connection.sendall(request.encode())
                got.append(read_answer(connection).status)
    assert got == statuses


def test_expect_continue_is_refused_and_the_connection_closed(shared: Shared) -> None:
    """``Expect: 100-continue`` and a refusal: the body may or may not follow, so the connection is closed."""
    head = "POST /v1/recordings HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
    answer = exchange(shared.api.url, head.encode())
    assert (answer.status, answer.headers["connection"]) == (401, "close")
    with connect(shared.api.url) as connection:
        key = secret("boss")
        connection.sendall(
            f"POST /v1/options HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: 2\r\n"
            "Content-Type: application/json\r\nExpect: 100-continue\r\n\r\n".encode()
        )
        assert read_answer(connection).status == 100
        connection.sendall(b"{}")
        answer = read_answer(connection)
    assert answer.status == 200
    assert "connection" not in answer.headers
