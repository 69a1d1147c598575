"""Names of uploads: misleading characters are refused, those that scripts need are accepted, others are cleaned."""

import pytest

from stenopool.api.ids import decode, encode
from tests.api.conftest import Shared
from tests.support.api_server import Api, sound

REFUSED = [
    *("\x01", "\x1b", "\x7f", "\x80", "\x85", "\x9b", "\u2028", "\u2029"),
    *("\u061c", "\u200e", "\u200f", *map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))),
    *("\xad", "\u0600", "\u180e", "\u200b", "\u2060", "\ufeff", "\ufff9", "\U000e0001", "\U000e0041"),
    *("\ufdd0", "\ufdef", "\ufffe", "\uffff", "\U0001fffe", "\U0010ffff"),
]
TAKEN = [
    "caf\u00e9",
    "cafe\u0301",
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "\U0001f468\u200d\U0001f469",
    "\u65e5\u672c",
    "a b",
]


@pytest.mark.parametrize("character", REFUSED, ids=ascii)
def test_misleading_names_are_refused(character: str, shared: Shared) -> None:
    name = f"x{character}gpj.wav"
    with shared.api.client() as client:
        body = b'--B\r\nContent-Disposition: form-data; name="file"; filename="' + name.encode() + b'"\r\n\r\n'
        headers = {"Content-Type": "multipart/form-data; boundary=B"}
        sent = client.post("/v1/recordings", content=body + sound() + b"\r\n--B--\r\n", headers=headers)
        presigned = client.post("/v1/recordings", json={"filename": name, "size": 10})
    for answer in (sent, presigned):
        assert (answer.status_code, answer.json()["code"]) == (422, "KEY_UNUSABLE")
        assert f"U+{ord(character):04X}" in answer.json()["detail"]
    assert shared.api.keys() == []


@pytest.mark.parametrize("name", TAKEN, ids=ascii)
def test_names_in_any_script_are_accepted(name: str, api: Api) -> None:
    with api.client() as client:
        sent = client.post("/v1/recordings", files={"file": (f"{name}.wav", sound())}).raise_for_status().json()
        assert decode(sent["id"]).endswith(f"/{name}.wav")
        assert client.get(f"/v1/recordings/{sent['id']}").json()["name"] == f"{name}.wav"


def test_existing_misleading_names_are_shown_cleaned(api: Api) -> None:
    key = "calls/x\u202egpj\u200b.wav"
    api.source.put_bytes(key, sound())
    with api.client() as client:
        (listed,) = client.get("/v1/recordings").json()["recordings"]
        assert (listed["key"], listed["name"]) == (key, "xgpj.wav")
        api.finish(encode(key))
        assert client.get(f"/v1/recordings/{encode(key)}/view").json()["title"] == "xgpj.wav"
        answer = client.get(f"/v1/recordings/{encode(key)}/transcript")
    assert answer.headers["Content-Disposition"] == "inline; filename*=UTF-8''xgpj.wav.json"
