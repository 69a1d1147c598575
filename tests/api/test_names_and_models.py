"""Neutral names of uploads, and the list of models for OpenAI's clients."""

import httpx
import openai
import pytest

from stenopool.api.ids import decode
from stenopool.settings import ApiSettings
from tests.support.api_server import Api, secret, serving, sound


@pytest.mark.parametrize(
    ("name", "stored"),
    [("Smith_HIV.wav", "recording.wav"), ("Smith HIV", "recording"), ("Smith.HIV positive", "recording")],
)
def test_neutral_names_hide_the_original_name(
    name: str, stored: str, deployed: None, settings: ApiSettings, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(settings.model_copy(update={"neutral_names": True})) as api, api.client("clerk") as client:
        with caplog.at_level("DEBUG"):
            headers = {"Idempotency-Key": "k"}
            sent = client.post("/v1/recordings", files={"file": (name, sound())}, headers=headers).raise_for_status()
            state = client.get(sent.headers["Location"]).raise_for_status()
        key = decode(sent.json()["id"])
        assert key.rpartition("/")[2] == stored
        for text in (sent.text, state.text, str(sent.headers), key, *api.keys()):
            assert "Smith" not in text
        for store in (api.source, api.destination):
            assert not [info.key for info in store.list() if b"Smith" in info.key.encode() + store.get_bytes(info.key)]
        assert not [record for record in caplog.records if "Smith" in record.getMessage()]


def test_openais_client_lists_the_models(api: Api) -> None:
    client = openai.OpenAI(base_url=f"{api.url}/v1", api_key=secret("reader"), max_retries=0)
    models = {model.id: model.owned_by for model in client.models.list()}
    assert models["base"] == "stenopool"
    assert models["whisper-1"] == "openai"
    assert client.models.retrieve("whisper-1").object == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-99")


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "gpt-99-transcribe"},
        {"model": "gpt-"},
        {"model": "whisper-12"},
        {"timestamp_granularities[]": "word"},
        {"timestamp_granularities[]": "word", "response_format": "json"},
        {"timestamp_granularities[]": "segment", "response_format": "diarized_json"},
    ],
)
def test_the_openai_endpoint_refuses_unsupported_fields(fields: dict[str, str], api: Api) -> None:
    with api.client("clerk") as client:
        refused = client.post(
            "/v1/audio/transcriptions", files={"file": ("a.wav", sound())}, data={"model": "whisper-1", **fields}
        )
    assert refused.status_code == 422, refused.text
    assert api.keys() == []


def test_listed_models_are_accepted(api: Api) -> None:
    with api.client("clerk") as client:
        names = [model["id"] for model in client.get("/v1/models").raise_for_status().json()["data"]]
        for name in names:
            sent: httpx.Response = client.post(
                "/v1/audio/transcriptions",
                files={"file": ("a.wav", sound())},
                data={"model": name},
                headers={"Prefer": "respond-async"},
            )
            assert sent.status_code == 202, sent.text
