"""The real API service on a real port, in this process."""

import asyncio
import contextvars
import io
import socket
import threading
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from stenopool.api.app import create_app
from stenopool.api.ids import decode
from stenopool.api.keys import line
from stenopool.options import FORMATS, TranscriptionOptions
from stenopool.pipeline import receipts
from stenopool.pipeline.catalog import Recording, fingerprint
from stenopool.pipeline.receipts import Receipt
from stenopool.runtime.http_server import server_options
from stenopool.settings import ApiSettings, CallbackSettings
from stenopool.speech.renderers import render
from stenopool.storage import ObjectStore, open_store
from tests.speech.renderers.samples import conversation
from tests.support.contract import Contract

KEYS = {
    "reader": "read",
    "writer": "write",
    "deleter": "delete",
    "batcher": "batch",
    "editor": "edit",
    "sender": "read,write",
    "clerk": "read,write,delete,batch,edit",
    "boss": "admin",
    "tenant": "read,write,delete,batch,edit prefix=tenant/",
}


class Api:
    """An API under test: its clients, and direct access to its stores."""

    def __init__(self, url: str, source: str, destination: str) -> None:
        self.url = url
        self.source: ObjectStore = open_store(source)
        self.destination: ObjectStore = open_store(destination)

    def client(self, who: str | None = "boss", **options: Any) -> httpx.Client:
        """A client with one of KEYS; None sends no key."""
        headers = {"Authorization": f"Bearer {secret(who)}"} if who else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60, **options)

    def keys(self) -> list[str]:
        """The keys of all objects in the source."""
        return [info.key for info in self.source.list()]

    def finish(self, id: str, options: TranscriptionOptions | None = None) -> None:
        """Write the output that a worker would create for a recording."""
        key = decode(id)
        info = self.source.head(key)
        recording = Recording(
            uri=self.source.uri_of(key), key=key, size=info.size, etag=info.etag, modified=info.modified
        )
        options = options or TranscriptionOptions()
        work = fingerprint(recording, options)
        transcript = conversation()
        if options.task == "translate":
            assert transcript.provenance
            transcript.provenance.options["task"] = "translate"
        for format in FORMATS:
            content = render(transcript, format)
            self.destination.put_bytes(receipts.output_key(key, format), content.encode())
        done = Receipt(key=key, fingerprint=work, status="done", formats=FORMATS, duration=9.5, language="en")
        receipts.write(self.destination, done)


@contextmanager
def working(api: Api) -> Iterator[None]:
    """A stand-in for a worker: all that is queued meanwhile is finished, with the options of its run."""
    from prefect.client.orchestration import get_client

    stop, failed = threading.Event(), list[BaseException]()

    def work() -> None:
        done = set[str]()
        with api.client() as client, get_client(sync_client=True) as prefect:
            while not stop.wait(0.05):
                for entry in client.get("/v1/queue").raise_for_status().json()["data"]:
                    if entry["id"] not in done:
                        options = prefect.read_flow_run(entry["id"]).parameters["options"]
                        api.finish(entry["recording"], TranscriptionOptions.model_validate(options))
                        done.add(entry["id"])

    def work_and_tell() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    context = contextvars.copy_context()
    thread = threading.Thread(target=lambda: context.run(work_and_tell), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)
    assert not failed, failed


def secret(who: str) -> str:
    """A test's key."""
    return f"steno_{who}-{'x' * 32}"


def keys_file(folder: Path) -> Path:
    """A file with all of KEYS."""
    path = folder / "keys"
    path.write_text("# name scopes digest\n" + "".join(f"{key_line(who, may)}\n" for who, may in KEYS.items()))
    return path


def key_line(who: str, may: str) -> str:
    """A test's key as a line of its file; ``may``: the scopes, and the optional columns."""
    scopes, *columns = may.split()
    return line(who, scopes, secret(who), *columns)


@contextmanager
def serving(
    settings: ApiSettings, callbacks: CallbackSettings | None = None, *, authenticated: bool = True
) -> Iterator[Api]:
    """Start it, wait until it answers, and stop it at the end. All its responses must match its OpenAPI document."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        options = server_options(settings.connections, settings.header_timeout, settings.forwarded_allow_ips)
        contract = Contract(create_app(settings, callbacks, authenticated=authenticated))
        config = uvicorn.Config(contract, lifespan="on", **(options | {"log_config": None}))
        server = uvicorn.Server(config)
        # A context variable selects the Prefect server.
        context = contextvars.copy_context()
        thread = threading.Thread(target=lambda: context.run(asyncio.run, server.serve([listening])), daemon=True)
        thread.start()
        deadline = time.monotonic() + 60
        while not server.started:
            assert thread.is_alive(), "the API did not start"
            assert time.monotonic() < deadline, "the API did not start in time"
            time.sleep(0.02)
        try:
            yield Api(url, str(settings.source), str(settings.destination))
        finally:
            server.should_exit = True
            thread.join(30)
        assert not contract.broken, "\n".join(contract.broken)


def sound(seconds: float = 0.5) -> bytes:
    """A WAV file of silence."""
    file = io.BytesIO()
    with wave.open(file, "wb") as target:
        target.setnchannels(1)
        target.setsampwidth(2)
        target.setframerate(16000)
        target.writeframes(bytes(2 * int(16000 * seconds)))
    return file.getvalue()
