"""Real clients of OpenAI's endpoints, and the requests that others send, as their sources write them.

OpenAI's client for Node is taken from the folder in STENOPOOL_NODE, by default ~/.cache/stenopool-node: copy
tests/api/clients/package*.json there and run ``npm ci --ignore-scripts``.
"""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from stenopool.api.ids import decode
from stenopool.settings import ApiSettings
from tests.speech.renderers.samples import conversation
from tests.support.api_server import Api, keys_file, secret, serving, sound, working

TEXT = conversation().text
CLIENTS = Path(__file__).parent / "clients"
NODE = Path(os.environ.get("STENOPOOL_NODE", "~/.cache/stenopool-node")).expanduser()


@pytest.fixture(scope="module")
def busy(deployed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """The API with a stand-in for a worker."""
    folder = tmp_path_factory.mktemp("busy")
    for name in ("source", "destination"):
        (folder / name).mkdir()
    settings = ApiSettings(
        source=str(folder / "source"), destination=str(folder / "destination"), keys=keys_file(folder), wait=60
    )
    with serving(settings) as api, working(api):
        yield api


@pytest.fixture(scope="module")
def client(busy: Api) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{busy.url}/v1", api_key=secret("clerk"), max_retries=0, timeout=60)


def audio(about: str) -> bytes:
    """A recording that no other test sends."""
    return sound() + hashlib.sha256(about.encode()).digest() * 2


# -- openai, Python --------------------------------------------------------------------------------------------------


def test_openais_python_client_reads_every_format(client: openai.OpenAI) -> None:
    data, create = audio("formats"), client.audio.transcriptions.create
    assert create(file=("a.wav", data), model="whisper-1").text == TEXT
    plain: Any = create(file=("a.wav", data), model="whisper-1", response_format="text")
    assert plain.strip() == TEXT
    srt: Any = create(file=("a.wav", data), model="whisper-1", response_format="srt")
    assert "00:00:00,500 --> " in srt
    vtt: Any = create(file=("a.wav", data), model="whisper-1", response_format="vtt")
    assert vtt.startswith("WEBVTT")
    for granularities in (["word"], ["segment"], ["word", "segment"]):
        verbose: Any = create(
            file=("a.wav", data),
            model="whisper-1",
            response_format="verbose_json",
            timestamp_granularities=granularities,  # type: ignore[arg-type]
        )
        assert (bool(verbose.words), bool(verbose.segments)) == ("word" in granularities, "segment" in granularities)
        assert (verbose.language, verbose.duration, verbose.task) == ("english", 9.5, "transcribe")
    diarized: Any = create(
        file=("a.wav", data),
        model="gpt-4o-transcribe-diarize",
        response_format="diarized_json",
        chunking_strategy="auto",
    )
    assert [segment.speaker for segment in diarized.segments] == ["SPEAKER_00", "SPEAKER_01"]


def test_openais_python_client_sends_every_option(client: openai.OpenAI) -> None:
    answer = client.audio.transcriptions.create(
        file=("a.wav", audio("options")),
        model="gpt-4o-transcribe",
        language="pt_BR",
        prompt="Stenopool " * 1000,
        temperature=0.2,
        include=["logprobs"],
        chunking_strategy={"type": "server_vad"},
        response_format="json",
    )
    assert answer.logprobs is not None
    assert [each.token for each in answer.logprobs] == [word.word for word in conversation().word_segments]
    assert all(each.logprob == pytest.approx(-0.10536, abs=1e-4) for each in answer.logprobs)
    assert bytes(int(byte) for byte in answer.logprobs[0].bytes or ()) == b" Hello"


def test_openais_python_client_reads_streams(client: openai.OpenAI) -> None:
    events = list(
        client.audio.transcriptions.create(
            file=("a.wav", audio("stream")), model="whisper-1", stream=True, include=["logprobs"]
        )
    )
    *deltas, done = events
    assert [event.type for event in deltas] == ["transcript.text.delta"] * 2
    assert "".join(event.delta for event in deltas if event.type == "transcript.text.delta") == TEXT
    assert done.type == "transcript.text.done"
    assert done.text == TEXT
    assert [each.token for each in done.logprobs or ()] == [word.word for word in conversation().word_segments]


def test_openais_python_client_reads_streams_with_speakers(client: openai.OpenAI) -> None:
    events = client.audio.transcriptions.create(
        file=("a.wav", audio("stream")),
        model="gpt-4o-transcribe-diarize",
        stream=True,
        response_format="diarized_json",
        chunking_strategy="auto",
    )
    kinds = [(event.type, getattr(event, "speaker", None), getattr(event, "segment_id", None)) for event in events]
    assert kinds == [
        ("transcript.text.delta", None, "seg_0"),
        ("transcript.text.segment", "SPEAKER_00", None),
        ("transcript.text.delta", None, "seg_1"),
        ("transcript.text.segment", "SPEAKER_01", None),
        ("transcript.text.done", None, None),
    ]


def test_openais_python_client_translates(client: openai.OpenAI) -> None:
    data = audio("translation")
    assert client.audio.translations.create(file=("a.wav", data), model="whisper-1").text == TEXT
    verbose: Any = client.audio.translations.create(
        file=("a.wav", data), model="whisper-1", response_format="verbose_json", temperature=0.0
    )
    assert (verbose.task, verbose.language, len(verbose.segments)) == ("translate", "english", 2)
    srt: Any = client.audio.translations.create(file=("a.wav", data), model="whisper-1", response_format="srt")
    assert srt.startswith("1\n")


@pytest.mark.parametrize("endpoint", ["transcriptions", "translations"])
def test_openais_python_client_reads_refusals(endpoint: str, client: openai.OpenAI) -> None:
    create = getattr(client.audio, endpoint).create
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        create(file=("a.wav", audio("refused")), model="nova-2")
    assert (refused.value.param, refused.value.code) == ("model", "OPTIONS_INVALID")
    assert "base, whisper-1" in refused.value.message
    with pytest.raises(openai.NotFoundError) as unknown:
        client.models.retrieve("nova-2")
    assert (unknown.value.param, unknown.value.code) == ("model", "MODEL_NOT_FOUND")
    assert "whisper-1" in unknown.value.message
    with pytest.raises(openai.APIStatusError) as document:
        create(file=("a.wav", b"%PDF-1.7"), model="whisper-1")
    assert (document.value.status_code, document.value.code) == (415, "NOT_AUDIO")


# -- openai, Node ----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("node"), reason="Node is not installed")
@pytest.mark.skipif(not (NODE / "node_modules" / "openai").exists(), reason="OpenAI's client is not installed for Node")
def test_openais_node_client(busy: Api, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(audio("node"))
    shutil.copy(CLIENTS / "transcribe.mjs", tmp_path)  # Node looks for packages beside the program
    (tmp_path / "node_modules").symlink_to(NODE / "node_modules")
    command = ["node", str(tmp_path / "transcribe.mjs"), f"{busy.url}/v1", secret("clerk"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    got = json.loads(done.stdout)
    assert {"base", "whisper-1"} <= set(got["models"])
    assert got["model"]["id"] == "whisper-1"
    for name in ("json", "chunked", "bytes", "unnamed", "translation", "diarized", "words"):
        assert got[name]["text"] == TEXT, name
    assert got["text"].strip() == TEXT
    assert (len(got["words"]["segments"]), len(got["words"]["words"])) == (2, 6)
    assert got["translation"]["language"] == "english"
    assert [event["type"] for event in got["events"]] == [*["transcript.text.delta"] * 2, "transcript.text.done"]
    assert got["events"][-1]["logprobs"]
    assert (got["refused"]["status"], got["refused"]["param"]) == (422, "model")
    assert "whisper-1" in got["refused"]["message"]


# -- curl ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (["file=@{path}"], TEXT),
        (["file=@{path}", "model=whisper-1", "temperature=0.00", "language=english"], TEXT),
        (["file=@{path};filename=C:\\calls\\a.wav;type=audio/wav", "response_format=text"], TEXT),
        (["file=@{path};filename=", "model="], TEXT),
        (["file=<{path};type=audio/wav"], TEXT),  # a part without a file name
        (
            ["model=whisper-1", "timestamp_granularities[0]=word", "response_format=verbose_json", "file=@{path}"],
            '"words"',
        ),
        (["stream=True", "file=@{path}"], "event: transcript.text.done"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.parametrize("endpoint", ["transcriptions", "translations"])
def test_curl(fields: list[str], expected: str, endpoint: str, busy: Api, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(audio(f"curl {endpoint}"))
    forms = [argument for field in fields for argument in ("-F", field.format(path=path))]
    command = ["curl", "-sSN", "--fail-with-body", "-H", f"Authorization: Bearer {secret('clerk')}", *forms]
    done = subprocess.run([*command, f"{busy.url}/v1/audio/{endpoint}"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert expected in done.stdout


# -- the requests of others, written down from their sources ----------------------------------------------------------


def part(disposition: str, content: bytes = b"", kind: str = "") -> bytes:
    head = f"Content-Disposition: form-data; {disposition}\r\n" + (f"Content-Type: {kind}\r\n" if kind else "")
    return head.encode() + b"\r\n" + content


def fields(**values: str) -> list[bytes]:
    return [part(f'name="{name}"', value.encode()) for name, value in values.items()]


# Client, endpoint, the parts in their order, and the options of the run that they mean.
RECORDED: dict[str, tuple[str, list[bytes], dict[str, Any]]] = {
    # open-webui/open-webui@01fb3e46, backend/open_webui/routers/audio.py, `transcribe`: requests.post(files=, data=).
    "Open WebUI": (
        "transcriptions",
        [*fields(model="whisper-1"), part('name="file"; filename="5f0c1b1e-3f1b-4e0c-9a51-6a2a9c4b7a10.wav"', kind="")],
        {},
    ),
    # The same with the language that the browser reports.
    "Open WebUI, language": (
        "transcriptions",
        [*fields(model="whisper-1", language="en-US"), part('name="file"; filename="a.mp3"')],
        {"language": "en"},
    ),
    # home-assistant/core@0c3b5f1f, components/openai_conversation/stt.py: the openai package, with ("a.wav", bytes).
    "Home Assistant": (
        "transcriptions",
        [
            *fields(language="de", model="gpt-4o-mini-transcribe", response_format="json"),
            part('name="prompt"', b"The following conversation is a smart home user talking to Home Assistant."),
            part('name="file"; filename="a.wav"', kind="audio/x-wav"),
        ],
        {"language": "de", "prompt": "The following conversation is a smart home user talking to Home Assistant."},
    ),
    # BerriAI/litellm@076d1da4, llms/openai/transcriptions/whisper_transformation.py: verbose_json unless chosen.
    "LiteLLM": (
        "transcriptions",
        [
            *fields(model="whisper-1", response_format="verbose_json", temperature="0.0"),
            part('name="timestamp_granularities[]"', b"word"),
            part('name="timestamp_granularities[]"', b"segment"),
            part('name="file"; filename="a.wav"', kind="audio/wav"),
        ],
        {},
    ),
    # BerriAI/litellm@b7bf1380, .../streaming_upload.py: fields first, texts of Python values, chunked.
    "LiteLLM's proxy": (
        "transcriptions",
        [
            *fields(model="whisper-1", stream="False", temperature="0", user="ann"),
            part('name="include[]"', b"logprobs"),
            part('name="file"; filename="a %22b%22.wav"', kind="application/octet-stream"),
        ],
        {},
    ),
    # speaches-ai/speaches@06120fb6, src/speaches/routers/stt.py: what its own clients add.
    "clients of speaches": (
        "transcriptions",
        [
            part('name="file"; filename="audio.wav"', kind="audio/wav"),
            *fields(model="base", vad_filter="true", stream="false", temperature="0.0", diarization="false"),
            *fields(language="", prompt=""),
        ],
        {},
    ),
    "clients of speaches, translation": (
        "translations",
        [*fields(model="base", stream="false", vad_filter="True"), part('name="file"; filename="audio.wav"')],
        {"task": "translate"},
    ),
    # As .NET's MultipartFormDataContent is known to write: names without quotation marks, both kinds of file names.
    ".NET": (
        "transcriptions",
        [
            part("name=model", b"whisper-1", "text/plain; charset=utf-8"),
            part("name=temperature", b"0.5", "text/plain; charset=utf-8"),
            part("name=file; filename=\"=?utf-8?B?UsOpdW5pb24ud2F2?=\"; filename*=utf-8''R%C3%A9union.wav"),
        ],
        {"temperature": 0.5},
    ),
}


@pytest.mark.parametrize("who", RECORDED)
@pytest.mark.parametrize("chunked", [False, True], ids=["with length", "chunked"])
def test_the_requests_of_others(who: str, chunked: bool, busy: Api, prefect: Any) -> None:
    endpoint, parts, options = RECORDED[who]
    data = audio(f"{who} {chunked}")
    body = b"".join(
        b"--x\r\n" + each + (data if b"filename" in each.partition(b"\r\n")[0] else b"") + b"\r\n" for each in parts
    )
    body += b"--x--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    with busy.client("clerk") as http:
        content: Any = iter([body[:700], body[700:]]) if chunked else body
        answer = http.post(f"/v1/audio/{endpoint}", content=content, headers=headers)
        assert (answer.status_code, answer.json()["text"]) == (200, TEXT), answer.text
        run = http.get(answer.headers["Location"]).json()["queue"]["id"]
    chosen = prefect.read_flow_run(run).parameters["options"]
    assert chosen == {"diarization": "off", **options}


def test_names_of_files_are_stored_as_they_are_meant(busy: Api) -> None:
    parts = RECORDED[".NET"][1]
    with busy.client("clerk") as http:
        body = b"".join(b"--x\r\n" + each + b"\r\n" for each in [*parts[:2], parts[2] + audio("name")]) + b"--x--\r\n"
        headers = {"Content-Type": "multipart/form-data; boundary=x", "Prefer": "respond-async"}
        sent: httpx.Response = http.post("/v1/audio/transcriptions", content=body, headers=headers)
    assert decode(sent.raise_for_status().json()["id"]).endswith("/Réunion.wav")


GRANULARITIES = [
    {"timestamp_granularities[]": "word"},
    {"timestamp_granularities[]": ["word", "segment"]},
    {"timestamp_granularities": "word"},
    {"timestamp_granularities": ["word", "segment"]},
    {"timestamp_granularities[0]": "word"},
    {"timestamp_granularities[0]": "segment", "timestamp_granularities[1]": "word"},
    {"timestamp_granularities": "word,segment"},
    {"timestamp_granularities[]": '["word"]'},
    {"timestamp_granularities": '["word", "segment"]'},
]


@pytest.mark.parametrize("spelling", GRANULARITIES, ids=str)
def test_granularities_in_every_spelling(spelling: dict[str, Any], busy: Api) -> None:
    with busy.client("clerk") as http:
        form = {"response_format": "verbose_json", **spelling}
        files = {"file": ("a.wav", audio("granularities"))}
        got = http.post("/v1/audio/transcriptions", files=files, data=form).raise_for_status().json()
    assert ("words" in got, "segments" in got) == (True, "segment" in str(spelling))
