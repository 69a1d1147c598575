"""The API as a house runs it: real server, real workers, S3; sent, watched, read, and OpenAI's own client."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from stenopool.options import FORMATS
from tests.support.api_server import keys_file, secret
from tests.support.prefect_server import PrefectServer
from tests.support.processes import Server, free_port, without_prefect
from tests.support.seaweedfs import SeaweedFS
from tests.support.speech import needs_speech, recording_path, recordings
from tests.support.worker import ProcessWorker

pytestmark = [needs_speech, pytest.mark.slow]


class Served(Server):
    """``stenopool serve`` as a process of its own."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        super().__init__("the API", folder / "api.log")
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self._port = port
        self._environment = environment

    def start(self) -> None:
        command = [str(Path(sys.executable).with_name("stenopool")), "serve", f"--port={self._port}"]
        self.spawn(command, self.answers, environment=self._environment)

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health/ready", timeout=10).status_code == 200
        except httpx.HTTPError:
            return False


@pytest.fixture
def served(prefect_server: PrefectServer, seaweedfs: SeaweedFS, tmp_path: Path) -> Iterator[Served]:
    """Server, API and one worker of each pool; everything is deployed."""
    bucket = seaweedfs.make_bucket()
    cache = os.environ.get("STENOPOOL_MODELS__CACHE", str(Path.home() / ".cache" / "stenopool" / "models"))
    environment = {
        **seaweedfs.environment,
        "STENOPOOL_MODELS__CACHE": cache,
        "STENOPOOL_API__SOURCE": f"s3://{bucket}/in",
        "STENOPOOL_API__DESTINATION": f"s3://{bucket}/out",
        "STENOPOOL_API__KEYS": str(keys_file(tmp_path)),
        "STENOPOOL_API__MODEL": "tiny.en",
    }
    whole = {**without_prefect(), **prefect_server.environment, **environment}
    command = [str(Path(sys.executable).with_name("stenopool")), "deploy", "--target=local"]
    subprocess.run(command, env=whole, check=True, capture_output=True)
    api = Served(tmp_path, whole)
    workers = [ProcessWorker(prefect_server, pool, environment) for pool in ("cpu", "gpu")]
    try:
        for one in (api, *workers):
            one.start()
        yield api
    finally:
        for one in (*workers, api):
            one.stop()


def test_upload_queued_running_completed_each_format_and_openais_client(served: Served) -> None:
    item = recordings("en_short")[0]
    audio = recording_path(item["file"]).read_bytes()
    seen: list[str] = []
    with httpx.Client(base_url=served.url, headers={"Authorization": f"Bearer {secret('boss')}"}, timeout=30) as client:
        client.post("/v1/queue/pause").raise_for_status()
        form = {"options": '{"diarization": "off"}'}
        # What OpenAI's client sends below, with the same key: one recording, transcribed once.
        headers = {"Idempotency-Key": "e2e"}
        sent = client.post(
            "/v1/recordings", files={"file": ("speech.wav", audio)}, data=form, headers=headers
        ).raise_for_status()
        assert sent.json()["state"] == "queued"
        (waiting,) = client.get("/v1/queue").json()["entries"]
        assert (waiting["position"], waiting["recording"]) == (1, sent.json()["id"])

        served.kill()
        served.start()  # nothing was in its memory
        client.post("/v1/queue/resume").raise_for_status()
        answer = until_over(client, sent.headers["Location"], seen)
        assert answer["state"] == "completed", answer
        assert [state for state in dict.fromkeys(seen) if state] == ["queued", "running", "completed"]
        assert client.get("/v1/queue").json()["entries"] == []
        bodies = {}
        for format in FORMATS:
            transcript = client.get(f"{sent.headers['Location']}/transcript", params={"format": format})
            bodies[format] = transcript.raise_for_status().text
        assert bodies["vtt"].startswith("WEBVTT")
        assert bodies["srt"].startswith("1\n")
        assert bodies["html"].startswith("<!doctype html>") or bodies["html"].startswith("<!DOCTYPE html>")

    theirs = openai.OpenAI(base_url=f"{served.url}/v1", api_key=secret("boss"), max_retries=0)

    def ask(**parameters: Any) -> Any:
        return theirs.audio.transcriptions.create(
            model="whisper-1", file=("speech.wav", audio), extra_headers={"Idempotency-Key": "e2e"}, **parameters
        )

    text = ask(response_format="json").text
    assert text
    assert ask(response_format="text").strip() == text
    assert ask(response_format="srt") == bodies["srt"]
    assert ask(response_format="vtt") == bodies["vtt"]
    verbose = ask(response_format="verbose_json", timestamp_granularities=["word", "segment"])
    assert (verbose.language, verbose.text) == ("english", text)
    assert verbose.words[0].start < verbose.words[-1].end
    assert verbose.segments[0].text.strip() in text
    # Work of another kind: it is done while the client waits.
    diarized = ask(response_format="diarized_json")
    assert diarized.segments[0].speaker.startswith("SPEAKER_")
    with pytest.raises(openai.UnprocessableEntityError, match="temperature"):
        ask(temperature=0.7)


def until_over(client: httpx.Client, address: str, seen: list[str]) -> dict[str, Any]:
    deadline = time.monotonic() + 180
    while True:
        answer = dict(client.get(address).raise_for_status().json())
        seen.append(answer["state"])
        if answer["state"] not in ("queued", "running"):
            return answer
        assert time.monotonic() < deadline, answer
        time.sleep(0.3)
