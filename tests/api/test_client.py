"""Stenopool's client against a real API. The OpenAPI document has everything that it expects."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from docs.render_docs import render_document
from stenopool import client as module
from stenopool.client import About, ApiError, AsyncClient, Batch, Callback, CallbackOutcome, Client, Recording, Run
from stenopool.options import TranscriptionOptions
from tests.support.api_server import Api, secret, sound

COMPONENTS: dict[type[BaseModel], tuple[str, ...]] = {
    About: ("About",),
    Batch: ("BatchState",),
    Callback: ("CallbackState",),
    CallbackOutcome: ("CallbackOutcome",),
    Recording: ("RecordingState", "Accepted"),
    Run: ("QueueEntry",),
}


def test_both_clients_have_the_same_methods() -> None:
    public = {name for name in vars(Client) if not name.startswith("_")}
    assert public - {name for name in vars(AsyncClient) if not name.startswith("_")} == {"is_alive"}


def test_requests_and_models_match_the_document() -> None:
    document = render_document()
    calls = [
        module._send(b"", "a.wav"),
        module._submit("s3://a/b"),
        module._get_recording("a"),
        module._retry("a"),
        module._delete("a"),
        module._get_transcript("a"),
        module._render("a", "srt"),
        module._get_speakers("a"),
        module._name_speakers("a", {}),
        module._start_batch("a/"),
        module._get_batch("a"),
        module._cancel("a"),
        module._pause_queue(),
        module._test_callback("https://a"),
        module._about(),
        *(module._page(f"/v1/{name}", Recording, None, {}) for name in ("recordings", "queue", "callbacks")),
    ]
    for call in calls:
        path = "/".join("{id}" if part == "a" else part for part in call.path.split("/"))
        assert call.method.lower() in document["paths"].get(path, {}), call.path
        assert not document["paths"][path][call.method.lower()].get("deprecated")
    for model, names in COMPONENTS.items():
        there: dict[str, Any] = {}
        for name in names:
            there |= document["components"]["schemas"][name]["properties"]
        assert set(model.model_fields) - set(there) == set(), model
        needed = {name for name, field in model.model_fields.items() if field.is_required()}
        assert needed <= set(document["components"]["schemas"][names[0]]["required"]), model


def test_the_client_from_file_to_transcript(api: Api, tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    path.write_bytes(sound())
    with Client(api.url, secret("boss")) as client:
        assert client.is_alive()
        assert "admin" in client.about().scopes
        client.pause_queue()
        sent = client.send(path, options=TranscriptionOptions(language="en"), external_id="4711", metadata={"a": "b"})
        again = client.send(sound(), "other.wav", idempotency_key="k")
        assert client.send(sound(), "other.wav", idempotency_key="k").id == again.id
        assert [run.recording for run in client.queue(limit=1)] == [sent.id, again.id]
        assert {one.id for one in client.recordings(limit=1)} == {sent.id, again.id}
        with pytest.raises(TimeoutError):
            client.wait(sent.id, timeout=0.1)
        api.finish(sent.id, TranscriptionOptions(language="en"))
        for run in client.queue():
            client.cancel(run.id)
        over = client.wait(sent.id, timeout=20)
        assert (over.state, over.external_id, over.metadata) == ("completed", "4711", {"a": "b"})
        assert client.transcript(sent.id).text
        assert client.render(sent.id, "srt", max_line_width=20).startswith("1\n")
        names = client.name_speakers(sent.id, {"SPEAKER_00": "Ann"})
        assert names == client.speakers(sent.id)
        assert client.retry(again.id).state == "queued"
        client.delete(sent.id)
        with pytest.raises(ApiError) as refused:
            client.recording(sent.id)
        assert (refused.value.status, refused.value.code) == (404, "OBJECT_NOT_FOUND")
        assert refused.value.remedy
        assert client.start_batch("2026/", dry_run=True).state == "planned"
        assert list(client.callbacks()) == []
        client.pause_queue(False)
    with Client(api.url, "wrong") as stranger, pytest.raises(ApiError, match="401 UNAUTHENTICATED"):
        stranger.about()


def test_the_asyncio_client_from_file_to_transcript(api: Api) -> None:
    async def use() -> None:
        async with AsyncClient(api.url, secret("boss")) as client:
            recordings = await asyncio.gather(*(client.send(sound(), f"{number}.wav") for number in range(3)))
            assert {one.id async for one in client.recordings(limit=1)} == {one.id for one in recordings}
            first = recordings[0].id
            api.finish(first)
            async for run in client.queue():
                await client.cancel(run.id)
            assert (await client.wait(first, timeout=20)).state == "completed"
            assert (await client.transcript(first)).text
            with pytest.raises(ApiError, match="NOT_COMPLETED"):
                await client.transcript(recordings[1].id)

    asyncio.run(use())


def test_a_key_without_read_gets_id_and_state(api: Api) -> None:
    with Client(api.url, secret("writer")) as client:
        sent = client.send(sound(), "a.wav")
        assert (bool(sent.id), sent.state, sent.key) == (True, "queued", None)


def test_retries_have_the_same_idempotency_key(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"12345")
    answers: list[tuple[int, dict[str, str]] | None] = [
        None,
        *((status, {"Retry-After": "0"}) for status in (503, 429, 202)),
    ]
    with answering(answers) as (url, asked), Client(url, "key") as client:
        assert client.send(path).id == "a"
    assert len(asked) == 4
    assert len({headers["idempotency-key"] for headers, _ in asked}) == 1
    assert all(b"12345" in body for _, body in asked)


def test_unsafe_or_late_retries_are_not_made(tmp_path: Path) -> None:
    with answering([None, None]) as (url, asked), Client(url) as client, pytest.raises(httpx.TransportError):
        client.delete("a")
    assert len(asked) == 1
    with answering([(503, {"Retry-After": "600"})]) as (url, asked), Client(url) as client, pytest.raises(ApiError):
        client.about()
    with answering([(503, {"Retry-After": "0"})] * 5) as (url, asked), Client(url, retries=2) as client:
        with pytest.raises(ApiError) as refused:
            client.about()
        assert (len(asked), refused.value.retry_after) == (3, 0)


@contextmanager
def answering(
    answers: list[tuple[int, dict[str, str]] | None],
) -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """A server that returns these responses, one after another; None breaks the connection. Yields the requests."""
    asked: list[tuple[dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            asked.append(({name.lower(): value for name, value in self.headers.items()}, body))
            planned = answers[len(asked) - 1]
            if planned is None:
                self.connection.close()
                return
            content = json.dumps({"id": "a", "state": "queued", "code": "BUSY"}).encode()
            self.send_response(planned[0])
            for name, value in {**planned[1], "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = answer

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
