"""The API as in production: real server, real workers, S3, and OpenAI's client; from upload to transcript."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from stenopool.client import Client
from stenopool.options import FORMATS
from stenopool.storage import open_store
from tests.support.api_server import secret, sound
from tests.support.api_stack import Installation
from tests.support.leaks import ProcessLists, files, leaks
from tests.support.seaweedfs import SeaweedFS
from tests.support.speech import needs_speech, recording_path, recordings

pytestmark = [needs_speech, pytest.mark.slow]


def test_upload_queued_running_completed_each_format_and_openais_client(installation: Installation) -> None:
    served = installation.api
    item = recordings("en_short")[0]
    audio = recording_path(item["file"]).read_bytes()
    seen: list[str] = []
    with installation.client() as client:
        client.post("/v1/queue/pause").raise_for_status()
        form = {"options": '{"diarization": "off"}'}
        # The request that OpenAI's client sends below with the same key: one recording, transcribed once.
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
        parameters = {"extra_headers": {"Idempotency-Key": "e2e"}, **parameters}
        return theirs.audio.transcriptions.create(model="whisper-1", file=("speech.wav", audio), **parameters)

    text = ask(response_format="json").text
    assert text
    assert ask(response_format="text").strip() == text
    assert ask(response_format="srt") == bodies["srt"]
    assert ask(response_format="vtt") == bodies["vtt"]
    verbose = ask(response_format="verbose_json", timestamp_granularities=["word", "segment"])
    assert (verbose.language, verbose.text) == ("english", text)
    assert verbose.words[0].start < verbose.words[-1].end
    assert verbose.segments[0].text.strip() in text
    # Other work, so another idempotency key: it is done while the client waits.
    with pytest.raises(openai.UnprocessableEntityError, match="Idempotency-Key"):
        ask(response_format="diarized_json")
    diarized = ask(response_format="diarized_json", extra_headers={"Idempotency-Key": "e2e diarized"})
    assert diarized.segments[0].speaker.startswith("SPEAKER_")
    with pytest.raises(openai.UnprocessableEntityError, match="temperature"):
        ask(temperature=7)


def test_no_key_is_found_in_logs_prefect_or_the_store(installation: Installation, s3: SeaweedFS) -> None:
    """After an upload and a refused key: search the logs of all programs, Prefect's tables and folder, and
    the store.
    """
    audio = recording_path(recordings("en_short")[1]["file"]).read_bytes()
    wrong, folder = "steno_boss-planted-and-wrong", installation.prefect.folder
    with ProcessLists() as lists, Client(installation.api.url, secret("boss")) as ours:
        sent = ours.send(audio, "said.wav", options={"diarization": "off"})
        assert ours.wait(sent.id, timeout=180).state == "completed"
        assert ours.transcript(sent.id).text
        with installation.client() as client:
            refused = client.get("/v1/queue", headers={"Authorization": f"Bearer {wrong}"})
        assert refused.status_code == 401
    planted = {
        "key": secret("boss"),
        "wrong key": wrong,
        "Prefect's password": installation.prefect.auth,
        "S3's key": s3.environment["AWS_SECRET_ACCESS_KEY"],
    }
    tables, store = installation.prefect.postgres.dump(), open_store(installation.api.destination)
    assert "said.wav" in tables
    for name, places in {
        "Prefect's tables": iter([("a dump", tables.encode())]),
        "Prefect's folder and the workers' logs": files(folder),
        "the API's folder": files(installation.api.log.parent),
        "the store": ((info.key, store.get_bytes(info.key)) for info in store.list()),
        "process lists": (("a command line", line) for line in lists.seen),
        "an answer": iter([("401", refused.content)]),
    }.items():
        assert leaks(planted, places) == [], name


def test_cancel_clear_and_retry_with_everything_restarted_in_between(installation: Installation) -> None:
    audio = recording_path(recordings("en_short")[0]["file"]).read_bytes()
    form = {"options": '{"diarization": "off"}'}
    with installation.client() as client:
        client.post("/v1/queue/pause").raise_for_status()

        def sent(name: str, data: bytes) -> str:
            answer = client.post("/v1/recordings", files={"file": (name, data)}, data=form)
            return str(answer.raise_for_status().json()["id"])

        # The third starts like a recording, and `prepare` finds that it was cut off.
        broken = recording_path("hard/truncated-no-moov.m4a").read_bytes()
        ids = [
            sent("a.wav", audio),
            sent("b.wav", audio),
            sent("broken.m4a", broken),
            sent("d.wav", audio),
        ]
        # A run that has written its receipt may not have ended yet, so only our runs are checked.
        places = {one["recording"]: one["id"] for one in client.get("/v1/queue").json()["entries"]}
        runs = [places[id] for id in ids]
        client.delete(f"/v1/queue/{runs[1]}").raise_for_status()

        installation.api.kill()
        installation.prefect.kill()
        for worker in installation.workers:
            worker.kill()
        for one in (installation.prefect, installation.api, *installation.workers):
            one.start()
        queue = client.get("/v1/queue").json()
        waiting = [one["id"] for one in queue["entries"] if one["state"] == "queued"]
        assert (queue["paused"], waiting) == (True, [runs[0], *runs[2:]])
        assert states(client, ids) == ["queued", "cancelled", "queued", "queued"]

        client.delete(f"/v1/queue/{runs[3]}").raise_for_status()
        client.post("/v1/queue/resume").raise_for_status()
        over = [until_over(client, f"/v1/recordings/{id}", []) for id in (ids[0], ids[2])]
        assert [one["state"] for one in over] == ["completed", "failed"]
        assert over[1]["failure"]["code"] in ("INPUT_CORRUPT", "NO_AUDIO_STREAM", "NOT_AUDIO")
        assert over[1]["failure"]["remedy"]

        client.post("/v1/queue/pause").raise_for_status()
        assert client.post(f"/v1/recordings/{ids[1]}/retry").json()["state"] == "queued"
        assert client.post("/v1/queue/retry").json() == {"count": 1}
        assert states(client, ids) == ["completed", "queued", "queued", "cancelled"]
        assert client.delete("/v1/queue").json() == {"count": 2}
        # Cleared, it is as before: one was cancelled before, one failed and has a receipt with the error.
        assert states(client, ids) == ["completed", "cancelled", "failed", "cancelled"]
        client.post("/v1/queue/resume").raise_for_status()


def test_two_hundred_uploads_at_once_keep_their_order_and_lose_none(installation: Installation) -> None:
    with installation.client() as client:
        client.post("/v1/queue/pause").raise_for_status()

        def send(number: int) -> str:
            with installation.client() as own:
                # A busy service refuses some uploads for a moment; clients retry them.
                while (
                    answer := own.post("/v1/recordings", files={"file": (f"{number}.wav", sound())})
                ).status_code == 503:
                    time.sleep(float(answer.headers["Retry-After"]))
            assert answer.status_code == 202, answer.text
            return str(answer.json()["id"])

        with ThreadPoolExecutor(50) as pool:
            ids = list(pool.map(send, range(200)))
        before = client.get("/v1/queue", params={"limit": 1000}).json()["entries"]
        assert len(set(ids)) == 200
        assert sorted(one["recording"] for one in before) == sorted(ids)
        assert [one["position"] for one in before] == list(range(1, 201))
        times = [one["queued_at"] for one in before]
        assert times == sorted(times)

        installation.api.kill()
        installation.prefect.kill()
        installation.prefect.start()
        installation.api.start()
        order = [one["id"] for one in client.get("/v1/queue", params={"limit": 1000}).json()["entries"]]
        assert order == [one["id"] for one in before]
        # The order in which a worker would get the runs.
        for worker in installation.workers:
            worker.kill()
        client.post("/v1/queue/resume").raise_for_status()
        with installation.prefect.client() as prefect:
            given = prefect.get_scheduled_flow_runs_for_work_pool("stenopool-cpu", ["ingest-interactive"])
        taken = [str(one.flow_run.id) for one in given]
        assert taken == order[: len(taken)]
        assert client.delete("/v1/queue").json()["count"] == 200
        listed, cursor = list[str](), None
        while True:
            page = client.get(
                "/v1/recordings", params={"state": "cancelled", **({"cursor": cursor} if cursor else {})}
            ).json()
            listed += [one["id"] for one in page["recordings"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert set(ids) <= set(listed)


def states(client: httpx.Client, ids: list[str]) -> list[str]:
    time.sleep(1.1)  # the queue may be cached for this long
    return [str(client.get(f"/v1/recordings/{id}").raise_for_status().json()["state"]) for id in ids]


def until_over(client: httpx.Client, address: str, seen: list[str]) -> dict[str, Any]:
    deadline = time.monotonic() + 180
    while True:
        answer = dict(client.get(address).raise_for_status().json())
        seen.append(answer["state"])
        if answer["state"] not in ("queued", "running"):
            return answer
        assert time.monotonic() < deadline, answer
        time.sleep(0.3)
