"""Ranges, conditional requests and HEAD: the same for all content, and none of them leaves files behind."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from stenopool.api.contents import make_etag, require_match
from stenopool.api.ids import encode
from stenopool.api.problems import Problem
from stenopool.pipeline.receipts import output_key
from tests.support.api_server import Api, secret, sound

SOUND = sound()
KEY = "calls/a b.wav"
ADDRESS = f"/v1/recordings/{encode(KEY)}"
PAGE = b'<audio id="audio" controls src="data:audio/webm;base64,' + b"SUQz" * 5000 + b'">'
# A stored file, a rendered one, audio from a page, the recording, and rendered JSON.
PATHS = {
    "stored": f"{ADDRESS}/transcript?format=srt",
    "styled": f"{ADDRESS}/transcript?format=vtt&max_line_width=20",
    "playback": f"{ADDRESS}/playback",
    "audio": f"{ADDRESS}/audio",
    "view": f"{ADDRESS}/view",
    "speakers": f"{ADDRESS}/speakers",
}
DOCUMENTS = [
    ADDRESS,
    "/v1/recordings",
    "/v1/recordings?q=calls",
    "/v1/queue",
    "/v1/options",
    "/v1/about",
    "/health/live",
]
RANGES = [
    *("bytes=abc", "bytes=99999999-", "items=0-1", "bytes=5-2", "bytes=-0", "bytes=0-1,5-6", "bytes=", "bytes=--1"),
    *("bytes=0-1,99999999-", "bytes=-5", "bytes=3-7", "bytes", "=", "bytes=" + "0-1," * 500 + "2-3", "bytes=0x1-2"),
    f"bytes={'9' * 300}-",
]


def finished(api: Api) -> str:
    """A completed recording that is not in the queue; returns its address."""
    api.source.put_bytes(KEY, SOUND)
    api.finish(encode(KEY))
    api.destination.put_bytes(output_key(KEY, "html"), PAGE)
    return ADDRESS


@contextmanager
def watched(folder: Path) -> Iterator[list[str]]:
    """Yields the names and modes of all files that appear in a folder meanwhile."""
    seen: set[str] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            for path in folder.rglob("*"):
                with suppress(FileNotFoundError):
                    seen.add(f"{path.name} {path.stat().st_mode:o}")
            time.sleep(0.001)

    found: list[str] = []
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()
        found += sorted(seen)


@pytest.mark.parametrize("path", PATHS)
def test_ranges_leave_and_show_no_files(either: Api, path: str, tmp_path: Path) -> None:
    finished(either)
    scratch = tmp_path / "scratch"
    with either.client("reader") as client, watched(scratch) as seen:
        whole = client.get(PATHS[path]).raise_for_status().content
        for asked in RANGES:
            answer = client.get(PATHS[path], headers={"Range": asked})
            assert answer.status_code in (200, 206, 416), asked
            if answer.status_code == 200:
                assert answer.content == whole, asked
            if answer.status_code == 416:
                assert answer.headers["content-type"] == "application/problem+json", asked
                assert answer.headers["Content-Range"] == f"bytes */{len(whole)}"
                assert answer.json()["code"] == "RANGE_NOT_SATISFIABLE"
        for asked, part in (("bytes=3-7", whole[3:8]), ("bytes=-5", whole[-5:]), ("bytes=9-", whole[9:])):
            answer = client.get(PATHS[path], headers={"Range": asked})
            assert (answer.status_code, answer.content) == (206, part)
        for asked in ("bytes=99999999-", "bytes=5-2", "bytes=-0"):
            assert client.get(PATHS[path], headers={"Range": asked}).status_code == 416
    assert seen == []
    assert not scratch.exists() or list(scratch.iterdir()) == []


def test_slow_and_disconnected_clients_leave_no_files(api: Api, tmp_path: Path) -> None:
    finished(api)
    api.destination.put_bytes(f"{KEY}/transcript.json", _long_transcript())
    where = urlsplit(api.url)
    path = f"{ADDRESS}/transcript?format=vtt&highlight_words=true"
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret('reader')}\r\n\r\n".encode()
    with watched(tmp_path / "scratch") as seen:
        for _ in range(5):
            with socket.create_connection((str(where.hostname), int(where.port or 0))) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.sendall(request)
                assert client.recv(1000).startswith(b"HTTP/1.1 200")
                time.sleep(0.1)
        # A client that disconnects before the response.
        with socket.create_connection((str(where.hostname), int(where.port or 0))) as client:
            client.sendall(request.replace(b"format=vtt", b"format=vtt&max_line_width=30"))
    assert seen == []
    with api.client("reader") as client:
        assert client.get(path).raise_for_status().text.startswith("WEBVTT")


def _long_transcript() -> bytes:
    from tests.speech.renderers.samples import conversation

    one = conversation()
    segments = [one.segments[0].model_copy(update={"id": number}) for number in range(20_000)]
    return one.model_copy(update={"segments": segments}).model_dump_json().encode()


def test_a_long_transcript_is_rendered_once_in_another_process(api: Api) -> None:
    import resource

    finished(api)
    api.destination.put_bytes(f"{KEY}/transcript.json", _long_transcript())
    paths = [f"{ADDRESS}/transcript?format=srt&max_line_width=30"] * 8
    waits: list[float] = []
    over = threading.Event()

    def look() -> None:
        with api.client(None) as client:
            while not over.is_set():
                begin = time.monotonic()
                client.get("/health/live").raise_for_status()
                waits.append(time.monotonic() - begin)

    watcher = threading.Thread(target=look)
    watcher.start()
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    with api.client("reader") as client, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(client.get, paths))
        begin = time.monotonic()
        again = client.get(paths[0])
        kept = time.monotonic() - begin
    over.set()
    watcher.join()
    took = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - children
    assert {answer.status_code for answer in (*answers, again)} == {200}
    assert len({answer.content for answer in (*answers, again)}) == 1
    assert 0.2 < took < 8  # once: each rendering takes one to two seconds
    assert kept < took / 2
    assert max(waits) < 1, "the loop was blocked"


@pytest.mark.parametrize("path", [*PATHS.values(), *DOCUMENTS])
def test_unchanged_content_is_not_sent_again(api: Api, path: str) -> None:
    finished(api)
    with api.client() as client:
        whole = client.get(path).raise_for_status()
        etag = whole.headers["ETag"]
        assert etag.startswith('"'), "strong"
        assert client.get(path).headers["ETag"] == etag
        for named in (etag, f'"x", {etag}', f"W/{etag}", "*"):
            known = client.get(path, headers={"If-None-Match": named})
            assert (known.status_code, known.content, known.headers["ETag"]) == (304, b"", etag), named
        assert client.get(path, headers={"If-None-Match": '"x"'}).content == whole.content
        head = client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        same = ("content-length", "content-type", "etag", "vary", "content-disposition", "accept-ranges")
        assert {name: head.headers.get(name) for name in same} == {name: whole.headers.get(name) for name in same}
        assert client.head(path, headers={"If-None-Match": etag}).status_code == 304


def test_head_is_allowed_exactly_where_get_is(api: Api) -> None:
    finished(api)
    with api.client() as client:
        for path in client.get("/openapi.json").json()["paths"]:
            address = path.replace("{id}", encode(KEY) if "recordings" in path else "0" * 32)
            head = client.head(address)
            assert (head.status_code, head.content) == (client.get(address).status_code, b""), path
        assert client.head(f"{ADDRESS}/retry").status_code == 405
        for address in ("/", "/page/page.css", "/metrics", "/nothing"):
            assert client.head(address).status_code == client.get(address).status_code
        assert client.get(ADDRESS).json()["state"] == "completed"  # the connection remains usable
    with api.client("writer") as client:
        assert client.head(f"{ADDRESS}/audio").status_code == 403


@pytest.mark.parametrize("path", PATHS.values())
def test_a_range_of_changed_content_is_not_sent(api: Api, path: str) -> None:
    finished(api)
    with api.client() as client:
        whole = client.get(path)
        etag = whole.headers["ETag"]
        for condition, status in (
            (etag, 206),
            ('"x"', 200),
            (f"W/{etag}", 200),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 200),
        ):
            answer = client.get(path, headers={"Range": "bytes=0-3", "If-Range": condition})
            assert (answer.status_code, answer.content) == (status, whole.content[: 4 if status == 206 else None])
        stale = client.get(path, headers={"If-Match": '"x"'})
        assert (stale.status_code, stale.json()["code"]) == (412, "PRECONDITION_FAILED")
        assert client.get(path, headers={"If-Match": etag}).status_code == 200


def test_etags_change_with_the_names(either: Api) -> None:
    finished(either)
    paths = [PATHS[name] for name in ("stored", "styled", "view", "speakers")]
    with either.client() as client:
        seen = [[client.get(path).headers["ETag"] for path in paths]]
        for name in ("Ann", "Bea"):
            client.put(PATHS["speakers"], json={"names": {"SPEAKER_00": name}}).raise_for_status()
            seen.append([client.get(path).headers["ETag"] for path in paths])
            assert name in client.get(PATHS["styled"]).text
        audio = client.get(PATHS["audio"]).headers["ETag"]
        either.source.put_bytes(KEY, SOUND + b"more")
        assert client.get(PATHS["audio"]).headers["ETag"] != audio
    assert all(len(set(tags)) == 3 for tags in zip(*seen, strict=True))


def test_a_concurrent_change_of_names_is_detected(either: Api) -> None:
    finished(either)
    with either.client() as client:
        first = client.get(PATHS["speakers"]).headers["ETag"]

        def name(who: str, **headers: str) -> httpx.Response:
            return client.put(PATHS["speakers"], json={"names": {"SPEAKER_00": who}}, headers=headers)

        assert name("Ann", **{"If-Match": '"x"'}).status_code == 412
        assert name("Ann", **{"If-Match": f"W/{first}"}).status_code == 412
        assert client.get(PATHS["speakers"]).headers["ETag"] == first
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda who: name(who, **{"If-Match": first}), ("Ann", "Bea", "Cai", "Dan")))
        assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412]
        (done,) = [answer for answer in answers if answer.status_code == 200]
        now = client.get(PATHS["speakers"])
        assert (now.json(), now.headers["ETag"]) == (done.json(), done.headers["ETag"])
        assert answers[0].status_code == 200 or answers[0].headers["ETag"] == now.headers["ETag"]
        assert name("Eve", **{"If-Match": f'"x", {now.headers["ETag"]}'}).status_code == 200
        assert name("Fay", **{"If-Match": "*"}).status_code == 200
        assert name("Gus").status_code == 200


def test_an_empty_file_has_no_ranges(api: Api) -> None:
    finished(api)
    api.destination.put_bytes(output_key(KEY, "srt"), b"")
    with api.client() as client:
        assert client.get(PATHS["stored"]).content == b""
        assert client.head(PATHS["stored"]).headers["Content-Length"] == "0"
        refused = client.get(PATHS["stored"], headers={"Range": "bytes=0-"})
    assert (refused.status_code, refused.headers["Content-Range"]) == (416, "bytes */0")


@pytest.mark.parametrize("if_match", [None, "*", '"a"', '"b", "a"'])
def test_a_condition_that_holds(if_match: str | None) -> None:
    require_match(if_match, '"a"')


@pytest.mark.parametrize("if_match", ['"b"', 'W/"a"', "", "a"])
def test_a_condition_that_does_not_hold(if_match: str) -> None:
    with pytest.raises(Problem, match="changed"):
        require_match(if_match, '"a"')


def test_etags_differ_if_parts_differ() -> None:
    parts: list[tuple[Any, ...]] = [("a", "b"), ("ab",), ("a", None, "b"), ("a", "b", None), ("b", "a")]
    assert len({make_etag(*each) for each in parts}) == len(parts)
