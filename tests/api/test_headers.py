"""Request headers are parsed as HTTP defines them: case-insensitive, with parameters, as lists."""

import pytest

from stenopool.api.headers import accepted_types, byte_range, is_known, media_type, prefers
from stenopool.settings import ApiSettings
from tests.api.conftest import Shared
from tests.support.api_server import Api, serving, sound

LARGE = 2 * 1024 * 1024  # more than the limit of a body that is not a form


@pytest.mark.parametrize(
    "kind", ["multipart/form-data", "Multipart/Form-Data", "MULTIPART/FORM-DATA ", "multipart/form-data;charset=utf-8"]
)
def test_the_form_media_type_is_case_insensitive(api: Api, kind: str) -> None:
    file = sound() + bytes(LARGE)
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + file + b"\r\n--x--\r\n"
    with api.client("clerk") as client:
        answer = client.post("/v1/recordings", content=body, headers={"Content-Type": f"{kind}; Boundary=x"})
    assert answer.status_code == 202, answer.text
    assert answer.json()["size"] == len(file)


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON", "application/json; charset=UTF-8"])
def test_the_json_media_type_is_case_insensitive(shared: Shared, kind: str) -> None:
    with shared.api.client() as client:
        answer = client.post("/v1/recordings", content=b'{"uri": "s3://x/y"}', headers={"Content-Type": kind})
    assert answer.json()["code"] == "LOCATION_INVALID"


@pytest.mark.parametrize("kind", ["multipart/form-data-x", "text/multipart/form-data", "multipart/mixed", ""])
def test_other_bodies_must_be_small(shared: Shared, kind: str) -> None:
    with shared.api.client() as client:
        answer = client.post("/v1/recordings", content=bytes(LARGE), headers={"Content-Type": kind})
    assert answer.status_code == 413


def test_values() -> None:
    assert media_type({"content-type": "Text/Plain ; charset=x"}) == "text/plain"
    assert media_type({}) == ""
    assert accepted_types("text/VTT;Q=0.5, Application/JSON;q=0.9;x=y, text/html;q=0, x;q=z") == [
        "application/json",
        "text/vtt",
    ]
    assert byte_range("Bytes=0-9") == byte_range("bytes = 0-9") == ("0", "9")
    assert [byte_range(each) for each in (None, "bytes=-", "items=0-9", "bytes=0-1,2-3")] == [None] * 4
    assert prefers("wait=10, Respond-Async", "respond-async")
    assert not prefers("respond-asynchronously", "respond-async")
    assert [is_known(each, '"a"') for each in ('"a"', 'W/"a"', '"b", "a"', "*")] == [True] * 4
    assert not is_known('"b"', '"a"')
    assert not is_known(None, '"a"')


def test_invalid_hosts_are_refused_and_case_is_ignored(deployed: None, settings: ApiSettings) -> None:
    with serving(settings, authenticated=False) as api, api.client(None) as client:
        port = client.base_url.port
        for host, status in ((f"LOCALHOST:{port}", 200), ("[::1", 403), ("example.org", 403)):
            origin = {"Origin": f"http://localhost:{port}"} if status == 200 else {}
            assert client.get("/v1/about", headers={"Host": host, **origin}).status_code == status
