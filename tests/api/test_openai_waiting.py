"""Requests that take long keep their connection alive; the same bytes are transcribed once."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest

from stenopool.api.ids import decode
from stenopool.errors import ErrorCode, RecordingError
from stenopool.options import TranscriptionOptions
from stenopool.pipeline import receipts
from stenopool.pipeline.catalog import fingerprint
from stenopool.pipeline.checkpoints import PARTIAL, RECOGNIZED, Partial, Recognized, WorkArea
from stenopool.pipeline.receipts import REQUESTS, REQUESTS_KEPT, Receipt
from stenopool.settings import ApiSettings
from stenopool.speech.transcript import Transcript
from tests.api.test_recordings import ended, entry
from tests.speech.renderers.samples import conversation
from tests.support.api_server import Api, secret, serving, sound, working
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

URL = "/v1/audio/transcriptions"
FILES = {"file": ("a.wav", sound())}
PLAIN = TranscriptionOptions(diarization="off")
TEXT = conversation().text


@pytest.fixture
def patient(deployed: None, settings: ApiSettings) -> Iterator[Api]:
    """An API that waits long and sends something twice a second."""
    with serving(settings.model_copy(update={"wait": 60, "keep_alive": 0.5})) as api:
        yield api


@contextmanager
def later(do: Callable[[], object], seconds: float = 2.5) -> Iterator[None]:
    """Do something in a while."""
    timer = threading.Timer(seconds, do)
    timer.start()
    try:
        yield
    finally:
        timer.join()


def only_id(api: Api) -> str:
    from stenopool.api.ids import encode

    (key,) = api.keys()
    return encode(key)


def quarantine(api: Api, options: TranscriptionOptions = PLAIN) -> None:
    """What `prepare` would write for a recording that is damaged."""
    (key,) = api.keys()
    failure = RecordingError(ErrorCode.INPUT_CORRUPT, "It is damaged.").failure("prepare")
    work = fingerprint(api.source.head(key), options)
    receipts.write(api.destination, Receipt(key=key, fingerprint=work, status="quarantined", failure=failure))
    with api.client() as client:
        for entry in client.get("/v1/queue").raise_for_status().json()["data"]:  # its run is over
            client.delete(f"/v1/queue/{entry['id']}").raise_for_status()


def read_slowly(api: Api, **form: str) -> tuple[bytes, list[tuple[float, bytes]], bool]:
    """The headers, the parts of the body with the seconds after which they came, and whether it was complete."""
    request = httpx.Request(
        "POST", f"{api.url}{URL}", files=FILES, data=form, headers={"Authorization": f"Bearer {secret('clerk')}"}
    )
    head = f"POST {URL} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    begin, got, parts = time.monotonic(), b"", list[tuple[float, bytes]]()
    with socket.create_connection(("127.0.0.1", int(api.url.rpartition(":")[2])), 30) as connection:
        connection.sendall(head.encode() + b"\r\n" + request.read())
        while data := connection.recv(65536):
            got += data
            parts.append((time.monotonic() - begin, data))
            if b"\r\n0\r\n\r\n" in got:
                break
    headers, _, body = got.partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" not in headers.lower():
        return headers, [(parts[-1][0], body)], True
    return headers, parts, got.endswith(b"0\r\n\r\n")


def body_of(parts: list[tuple[float, bytes]]) -> bytes:
    """The body of a chunked response."""
    data, body = b"".join(part for _, part in parts).partition(b"\r\n\r\n")[2], b""
    while data:
        size, _, data = data.partition(b"\r\n")
        body, data = body + data[: int(size, 16)], data[int(size, 16) + 2 :]
    return body


def test_an_unknown_model_is_refused_before_the_file_is_read(patient: Api) -> None:
    head = (
        f"POST {URL} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret('clerk')}\r\nContent-Length: 40000000\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        '--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nnova-2\r\n'
        '--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF'
    )
    with socket.create_connection(("127.0.0.1", int(patient.url.rpartition(":")[2])), 20) as connection:
        connection.sendall(head.encode())
        got = connection.recv(65536)
    assert got.startswith(b"HTTP/1.1 422")
    assert patient.keys() == []


@pytest.mark.parametrize("format", ["json", "verbose_json"])
def test_json_begins_early_and_blanks_keep_it_alive(format: str, patient: Api) -> None:
    with later(lambda: patient.finish(only_id(patient), PLAIN)):
        headers, parts, is_whole = read_slowly(patient, response_format=format)
    assert headers.startswith(b"HTTP/1.1 200")
    assert b"x-accel-buffering: no" in headers.lower()
    times = [seconds for seconds, _ in parts]
    assert times[0] < 2
    assert max(after - before for before, after in pairwise(times)) < 2
    body = body_of(parts)
    assert body.startswith(b"  ")
    assert json.loads(body)["text"] == TEXT
    assert is_whole


@pytest.mark.parametrize(
    ("format", "kind"), [("text", "text/plain"), ("srt", "application/x-subrip"), ("vtt", "text/vtt")]
)
def test_text_has_no_blanks_before_it(format: str, kind: str, patient: Api) -> None:
    with later(lambda: patient.finish(only_id(patient), PLAIN), 1.5):
        headers, parts, _ = read_slowly(patient, response_format=format)
    assert kind.encode() in headers
    assert parts[0][1].startswith({"text": b"Hello", "srt": b"1\n", "vtt": b"WEBVTT"}[format])


def test_what_fails_after_the_headers_is_never_taken_for_a_transcript(patient: Api) -> None:
    with later(lambda: quarantine(patient)):
        headers, parts, is_whole = read_slowly(patient)
    assert headers.startswith(b"HTTP/1.1 200")
    problem = json.loads(body_of(parts))
    assert (problem["status"], problem["error"]["code"]) == (422, "INPUT_CORRUPT")
    assert not is_whole
    # OpenAI's client sends it again, and gets the problem immediately.
    client = openai.OpenAI(base_url=f"{patient.url}/v1", api_key=secret("clerk"), max_retries=0)
    with pytest.raises(openai.UnprocessableEntityError, match="It is damaged"):
        client.audio.transcriptions.create(file=FILES["file"], model="whisper-1")
    assert len(patient.keys()) == 1


def test_openais_client_does_not_take_a_broken_answer(patient: Api) -> None:
    client = openai.OpenAI(base_url=f"{patient.url}/v1", api_key=secret("clerk"), max_retries=0)
    with later(lambda: quarantine(patient)), pytest.raises(openai.APIConnectionError):
        client.audio.transcriptions.create(file=FILES["file"], model="whisper-1")
    # With its retries, as by default.
    with pytest.raises(openai.UnprocessableEntityError, match="It is damaged"):
        client.with_options(max_retries=2).audio.transcriptions.create(file=FILES["file"], model="whisper-1")


def test_a_stream_begins_at_once_and_comments_keep_it_alive(patient: Api) -> None:
    with later(lambda: patient.finish(only_id(patient), PLAIN)):
        headers, parts, is_whole = read_slowly(patient, stream="true")
    assert b"text/event-stream" in headers
    assert parts[0][0] < 1.5
    text = body_of(parts).decode()
    assert text.count(": still working\n\n") >= 2
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    assert [event["type"] for event in events] == [*["transcript.text.delta"] * 2, "transcript.text.done"]
    assert is_whole


def test_a_stream_that_fails_says_so(patient: Api) -> None:
    client = openai.OpenAI(base_url=f"{patient.url}/v1", api_key=secret("clerk"), max_retries=0)
    with later(lambda: quarantine(patient)), pytest.raises(openai.APIError, match="It is damaged"):
        list(client.audio.transcriptions.create(file=FILES["file"], model="whisper-1", stream=True))
    with pytest.raises(openai.UnprocessableEntityError, match="It is damaged"):  # known at once
        client.audio.transcriptions.create(file=FILES["file"], model="whisper-1", stream=True)


def test_segments_come_before_all_is_done(patient: Api) -> None:
    """The text is known before speakers are, and before the files are written."""
    times: dict[str, float] = {}

    def area() -> WorkArea:
        (key,) = patient.keys()
        return WorkArea(patient.destination, fingerprint(patient.source.head(key), PLAIN))

    def begin_it() -> None:
        assert area().is_streamed
        first = conversation().segments[:1]
        area().save(PARTIAL, Partial(transcript=Transcript(text="Hello there.", segments=first)))

    def recognize() -> None:
        recognized = Recognized(
            channels=[conversation()], engine_version="1", device="cpu", compute_type="int8", seconds=1.0
        )
        area().save(RECOGNIZED, recognized)

    client = openai.OpenAI(base_url=f"{patient.url}/v1", api_key=secret("clerk"), max_retries=0)
    with later(begin_it, 2), later(recognize, 4), later(lambda: patient.finish(only_id(patient), PLAIN), 6):
        begin = time.monotonic()
        for event in client.audio.transcriptions.create(file=FILES["file"], model="whisper-1", stream=True):
            times[getattr(event, "delta", event.type)] = time.monotonic() - begin
    assert [*times] == ["Hello there.", " Hi! How are you?", "transcript.text.done"]
    first, second, last = times.values()
    assert 1.5 < first < second < last
    assert second - first > 1
    assert last - second > 1
    assert not area().is_streamed


def test_a_client_that_goes_away_leaves_nothing_behind(patient: Api) -> None:
    with patient.client("clerk") as client, client.stream("POST", URL, files=FILES, data={"stream": "true"}) as answer:
        parts = answer.iter_raw()  # it is kept, or httpx would close the connection
        assert next(parts)
        work = fingerprint(patient.source.head(patient.keys()[0]), PLAIN)
        wait_until(lambda: WorkArea(patient.destination, work).is_streamed, seconds=10)
    wait_until(lambda: not WorkArea(patient.destination, work).is_streamed, seconds=20)


# -- the same bytes ---------------------------------------------------------------------------------------------------


def send(
    client: httpx.Client, data: bytes = sound(), headers: Any = (), name: str = "a.wav", **form: str
) -> httpx.Response:
    return client.post(URL, files={"file": (name, data)}, data=form, headers=dict(headers))


def test_the_same_bytes_are_answered_from_the_receipt(either: Api) -> None:
    with either.client("clerk") as client, working(either):
        first = send(client).raise_for_status()
        for again in (
            send(client),
            send(client, name="another name.wav"),
            send(client, response_format="srt"),
            send(client, model="whisper-1", language="auto", temperature="0.0", stream="true"),
        ):
            assert again.raise_for_status().headers["Location"] == first.headers["Location"]
        assert len(either.keys()) == 1
        others = [
            send(client, sound(0.7)),
            send(client, language="de"),
            send(client, temperature="0.2"),
            send(client, prompt="Stenopool"),
            send(client, response_format="diarized_json"),
            client.post("/v1/audio/translations", files=FILES),
            send(client, headers={"Cache-Control": "no-cache"}),
            send(client, external_id="call 7"),
            send(client, headers={"Idempotency-Key": "one"}),
        ]
        locations = {answer.raise_for_status().headers["Location"] for answer in [first, *others]}
        assert len(locations) == len(others) + 1 == len(either.keys())
        with either.client("sender") as other:  # other callers' uploads are their own
            assert send(other).raise_for_status().headers["Location"] not in locations


def test_a_request_that_was_cut_off_is_joined(api: Api) -> None:
    """As a client does whose proxy gave up: it sends the same again."""
    with api.client("clerk") as client:
        locations = [send(client).headers["Location"] for _ in range(2)]  # 504: this API waits for two seconds
        assert len({*locations}) == 1
        assert client.get("/v1/queue").json()["queued"] == 1
    assert len(api.keys()) == 1


def test_the_same_bytes_are_sent_again_once_they_are_gone(api: Api) -> None:
    with api.client("clerk") as client, working(api):
        first = send(client).raise_for_status().headers["Location"]
        client.delete(first).raise_for_status()
        second = send(client).raise_for_status().headers["Location"]
        assert second != first
        # A week later.
        for info in list(api.destination.list(REQUESTS)):
            record = json.loads(api.destination.get_bytes(info.key))
            record["created_at"] = (datetime.now(UTC) - REQUESTS_KEPT - timedelta(minutes=1)).isoformat()
            api.destination.put_bytes(info.key, json.dumps(record).encode())
        assert send(client).raise_for_status().headers["Location"] not in (first, second)


def test_a_quarantined_recording_is_not_tried_again_and_a_lost_run_is(api: Api, prefect: "SyncPrefectClient") -> None:
    from prefect.states import Crashed

    with api.client("clerk") as client:
        sent = send(client)
        id = sent.headers["Location"].rpartition("/")[2]
        run = entry(client, id)["id"]
        ended(prefect, run, Crashed())
        time.sleep(1.1)  # the API remembers the queue for a second
        again = send(client)
        assert again.headers["Location"] == sent.headers["Location"]
        assert entry(client, id)["id"] != run
        quarantine(api)
        refused = send(client)
        assert (refused.status_code, refused.json()["code"]) == (422, "INPUT_CORRUPT")
        assert len(api.keys()) == 1


def test_many_requests_with_the_same_bytes_at_once(api: Api) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with working(api), api.client("clerk") as client, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: send(client), range(8)))
    assert [answer.status_code for answer in answers] == [200] * 8
    assert {answer.json()["text"] for answer in answers} == {TEXT}


# -- idempotency keys -------------------------------------------------------------------------------------------------


def test_a_key_is_for_one_file_with_the_same_options(either: Api) -> None:
    key = {"Idempotency-Key": "one"}
    with either.client("clerk") as client, working(either):
        first = send(client, headers=key).raise_for_status()
        for same in (send(client, headers=key), send(client, headers=key, response_format="vtt", model="whisper-1")):
            assert same.raise_for_status().headers["Location"] == first.headers["Location"]
        for other in (
            send(client, sound(0.7), headers=key),
            send(client, sound()[:-1] + b"\1", headers=key),
            send(client, headers=key, name="b.wav"),
            send(client, headers=key, language="de"),
            send(client, headers=key, temperature="0.2"),
            send(client, headers=key, response_format="diarized_json"),
            client.post("/v1/audio/translations", files=FILES, headers=key),
        ):
            assert (other.status_code, other.json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED"), other.text
        assert either.keys() == [decode(first.headers["Location"].rpartition("/")[2])]
        client.delete(first.headers["Location"]).raise_for_status()
        assert send(client, headers=key).raise_for_status().json()["text"] == TEXT
        assert len(either.keys()) == 1
