"""Renaming speakers: every format has the names, also in the store, and receipts do not change."""

import pytest

from stenopool.api.ids import decode
from stenopool.options import FORMATS
from stenopool.pipeline import receipts
from stenopool.pipeline.receipts import output_key
from stenopool.pipeline.stages.publish import PLAYER_AUDIO
from tests.support.api_server import Api, sound

NAMES = {"SPEAKER_00": "Anna", "SPEAKER_01": "</script><b>Bo"}


def finished(api: Api) -> str:
    with api.client() as client:
        sent = client.post("/v1/recordings", files={"file": ("call.wav", sound())}).raise_for_status().json()
    api.finish(sent["id"])
    return str(sent["id"])


def test_every_format_has_the_names_also_in_the_store(either: Api) -> None:
    id = finished(either)
    key = decode(id)
    receipts_before = {info.key: info.etag for info in either.destination.list(receipts.RECEIPTS)}
    made = either.destination.get_bytes(output_key(key, "json"))
    with either.client("clerk") as client:
        assert client.get(f"/v1/recordings/{id}/speakers").json()["names"] == dict.fromkeys(NAMES)
        answer = client.put(f"/v1/recordings/{id}/speakers", json={"names": NAMES}).raise_for_status()
        assert answer.json()["names"] == NAMES
        for format in FORMATS:
            said = client.get(f"/v1/recordings/{id}/transcript", params={"format": format}).text
            assert "Anna" in said or format == "tsv", format
            assert "SPEAKER_0" not in said, format
            stored = either.destination.get_bytes(output_key(key, format)).decode()
            assert stored == (made.decode() if format == "json" else said), format
        voices = client.get(f"/v1/recordings/{id}/view").json()["voices"]
        assert [voice["name"] for voice in voices] == list(NAMES.values())
        assert [voice["labels"] for voice in voices] == [[label] for label in NAMES]

        client.put(f"/v1/recordings/{id}/speakers", json={"names": {}}).raise_for_status()
        assert "Anna" not in client.get(f"/v1/recordings/{id}/transcript", params={"format": "srt"}).text
        client.put(f"/v1/recordings/{id}/speakers", json={"names": NAMES}).raise_for_status()
        # The fingerprint is unchanged: the recording is not transcribed again, and deleting it leaves nothing behind.
        assert {info.key: info.etag for info in either.destination.list(receipts.RECEIPTS)} == receipts_before
        client.delete(f"/v1/recordings/{id}").raise_for_status()
    assert [info.key for info in either.destination.list()] == []


def test_an_html_page_keeps_its_audio_when_speakers_are_named(api: Api) -> None:
    id = finished(api)
    page = output_key(decode(id), "html")
    embedded = b'<audio id="audio" controls src="data:audio/webm;base64,SUQz">'
    api.destination.put_bytes(page, embedded)
    with api.client() as client:
        client.put(f"/v1/recordings/{id}/speakers", json={"names": {"SPEAKER_00": "Anna"}}).raise_for_status()
        assert 'src="data:audio/webm;base64,SUQz"' in api.destination.get_bytes(page).decode()
        heard = client.get(f"/v1/recordings/{id}/playback").raise_for_status()
    assert (heard.headers["content-type"], heard.content) == ("audio/webm", b"ID3")


def test_the_audio_of_a_long_recording_is_beside_its_page(api: Api) -> None:
    id = finished(api)
    with api.client() as client:
        assert client.get(f"/v1/recordings/{id}/playback").status_code == 404
        api.destination.put_bytes(f"{decode(id)}/{PLAYER_AUDIO}", b"long")
        assert client.get(f"/v1/recordings/{id}/playback").raise_for_status().content == b"long"


def test_a_view_has_the_words_in_paragraphs(api: Api) -> None:
    id = finished(api)
    with api.client("reader") as client:
        view = client.get(f"/v1/recordings/{id}/view").raise_for_status().json()
    assert view["title"] == "call.wav"
    assert ["Language", "English (98%)"] in view["facts"]
    first, second = view["paragraphs"]
    assert first["stretches"][0]["words"] == [["Hello", True, 0.5, 1.0], ["there.", True, 1.0, 1.5]]
    assert (first["speaker"], second["speaker"]) == (0, 1)
    assert second["stretches"][0]["doubt"].startswith("may be a hallucination")
    assert view["voices"][1]["spans"] == [[2.0, 4.125]]


@pytest.mark.parametrize(
    "body",
    [{"names": {"SPEAKER_07": "Anna"}}, {"names": {"SPEAKER_00": " "}}, {"names": {"SPEAKER_00": "x" * 101}}, {}, []],
)
def test_invalid_speaker_names_are_refused(body: object, api: Api) -> None:
    id = finished(api)
    with api.client() as client:
        refused = client.put(f"/v1/recordings/{id}/speakers", json=body)
        assert (refused.status_code, refused.json()["code"]) == (422, "REQUEST_INVALID")
        assert set(client.get(f"/v1/recordings/{id}/speakers").json()["names"].values()) == {None}


def test_naming_speakers_needs_the_scopes_edit_and_read(api: Api) -> None:
    id = finished(api)
    for who in ("reader", "sender", "editor"):
        with api.client(who) as client:
            assert client.put(f"/v1/recordings/{id}/speakers", json={"names": {}}).status_code == 403
    with api.client("writer") as client:
        assert client.get(f"/v1/recordings/{id}/view").status_code == 403
        assert client.get(f"/v1/recordings/{id}/playback").status_code == 403


def test_a_recording_without_a_transcript_has_no_speakers(api: Api) -> None:
    with api.client() as client:
        sent = client.post("/v1/recordings", files={"file": ("call.wav", sound())}).json()
        for path in ("speakers", "view"):
            assert client.get(f"/v1/recordings/{sent['id']}/{path}").status_code == 409
            assert client.get(f"/v1/recordings/x/{path}").status_code == 404
