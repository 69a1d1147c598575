"""A client for the API: `Client`, and `AsyncClient` with the same methods to await.

    with Client("https://stenopool.example.org", key) as client:
        recording = client.wait(client.send("call.wav", options={"language": "en"}).id)
        print(client.transcript(recording.id).text)

Responses are models. They keep unknown members, so newer servers are supported. An error response raises `ApiError`.
Requests that can be repeated are retried after a broken connection, and after 429 and 503 with a time to wait. Requests
that send something carry an Idempotency-Key, so that they can be repeated.
"""

import asyncio
import json
import math
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ConfigDict

from stenopool import __version__
from stenopool.errors import Failure
from stenopool.options import Format, TranscriptionOptions
from stenopool.speech.transcript import Transcript

T = TypeVar("T")
P = ParamSpec("P")
Options = TranscriptionOptions | Mapping[str, Any]
State = Literal["queued", "running", "completed", "failed", "cancelled", "skipped"]
_TRANSIENT = (429, 503)  # refused without any effect
_LONGEST_PAUSE = 30.0  # seconds
_POLLS = (0.5, 5.0)  # seconds: the first and the longest pause between checks of a recording


class ApiError(Exception):
    """An error response. ``problem`` is the whole document, if the response was one."""

    def __init__(self, status: int, problem: Mapping[str, Any], retry_after: float | None = None) -> None:
        self.status = status
        self.code = str(problem.get("code", "UNKNOWN"))
        self.detail = str(problem.get("detail", ""))
        self.remedy = str(problem.get("remedy", ""))
        self.problem = dict(problem)
        self.retry_after = retry_after
        super().__init__(" ".join(filter(None, (f"{status} {self.code}:", self.detail, self.remedy))))


class _Answer(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


M = TypeVar("M", bound=BaseModel)


class Run(_Answer):
    """A run in the queue, over one recording or over everything below a prefix."""

    id: str
    state: str
    name: str | None = None
    recording: str | None = None
    prefix: str | None = None
    stage: str | None = None
    progress: float | None = None
    position: int | None = None
    queued_at: datetime | None = None


class Recording(_Answer):
    """A recording. A key without the scope ``read`` gets only the id and the state."""

    id: str
    state: State
    key: str | None = None
    name: str | None = None
    uri: str | None = None
    size: int | None = None
    sha256: str | None = None
    modified: datetime | None = None
    formats: tuple[str, ...] = ()
    queue: Run | None = None
    failure: Failure | None = None
    external_id: str | None = None
    metadata: dict[str, str] = {}

    @property
    def is_over(self) -> bool:
        """Whether it is neither queued nor running."""
        return self.state not in ("queued", "running")


class Batch(_Answer):
    """A run over everything below a prefix; ``recordings`` has its counts."""

    id: str | None
    state: str
    prefix: str | None = None
    queued_at: datetime | None = None
    recordings: dict[str, int | None] = {}
    failures: dict[str, int] = {}
    audio_seconds: float = 0.0


class About(_Answer):
    """The program, and the permissions of the key."""

    version: str
    name: str
    scopes: tuple[str, ...]


class Callback(_Answer):
    """A callback that has not been delivered."""

    id: str
    event: str
    host: str
    state: str
    recording: str | None
    run: str | None
    tries: int
    failure: str | None


class CallbackOutcome(_Answer):
    """The result of a test."""

    delivered: bool
    failure: str | None
    seconds: float


@dataclass(frozen=True)
class _Call(Generic[T]):
    """A request, and how to parse its response. ``file``: of a form, as path, or as name and content.

    ``repeatable``: also if it is unknown whether the request arrived.
    """

    method: str
    path: str
    parse: Callable[[httpx.Response], T]
    options: dict[str, Any] = field(default_factory=dict)
    file: Path | tuple[str, bytes] | None = None
    repeatable: bool = True


class _Attempt(Generic[T]):
    """One attempt of a call: a context with httpx's arguments, which suppresses errors that a retry may fix."""

    def __init__(self, call: _Call[T], pause: float | None) -> None:
        self.pause = 0.0
        self.done = False
        self.result: T
        self._call = call
        self._next = pause  # seconds until the next attempt; None for the last
        self._files = ExitStack()

    def __enter__(self) -> dict[str, Any]:
        sent: dict[str, Any] = {"method": self._call.method, "url": self._call.path, **self._call.options}
        if isinstance(self._call.file, Path):
            sent["files"] = {"file": (self._call.file.name, self._files.enter_context(self._call.file.open("rb")))}
        elif self._call.file:
            sent["files"] = {"file": self._call.file}
        return sent

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        self._files.close()
        if not isinstance(error, httpx.TransportError) or not self._call.repeatable or self._next is None:
            return False
        self.pause = self._next
        return True

    def read(self, answer: httpx.Response) -> None:
        """Parse the response. Raises `ApiError`, unless a retry may help."""
        if answer.is_success:
            self.result, self.done = self._call.parse(answer), True
            return
        error = _error_of(answer)
        wanted = error.retry_after if error.retry_after is not None else self._next
        if answer.status_code not in _TRANSIENT or self._next is None or wanted is None or wanted > _LONGEST_PAUSE:
            raise error
        self.pause = wanted


def _attempts(call: _Call[T], retries: int) -> Iterator[_Attempt[T]]:
    for number in range(retries + 1):
        pause = min(_LONGEST_PAUSE, 0.5 * 2**number) * random.uniform(0.5, 1)  # noqa: S311 (spreads the retries of many clients)
        attempt = _Attempt(call, pause if number < retries else None)
        yield attempt
        if attempt.done:
            return


def _error_of(answer: httpx.Response) -> ApiError:
    try:
        problem = answer.json()
    except ValueError:
        problem = {"detail": answer.text[:500]}
    after = answer.headers.get("retry-after", "")
    known = problem if isinstance(problem, dict) else {}
    return ApiError(answer.status_code, known, float(after) if after.isdecimal() else None)


def _as(model: type[M]) -> Callable[[httpx.Response], M]:
    return lambda answer: model.model_validate_json(answer.content)


def _nothing(_: httpx.Response) -> None:
    return None


def _names_of(answer: httpx.Response) -> dict[str, str | None]:
    return dict(answer.json()["names"])


def _chosen(options: Options | None) -> dict[str, Any]:
    if isinstance(options, TranscriptionOptions):
        return options.model_dump(mode="json", exclude_unset=True)
    return dict(options or {})


def _once(idempotency_key: str | None) -> dict[str, str]:
    return {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}


def _at(collection: str, id: str, *parts: str) -> str:
    return "/".join(("/v1", collection, quote(id, safe=""), *parts))


# The requests, shared by both clients.


def _send(
    file: str | Path | bytes,
    name: str | None = None,
    *,
    options: Options | None = None,
    metadata: Mapping[str, str] | None = None,
    idempotency_key: str | None = None,
    **more: str,
) -> _Call[Recording]:
    """Send a file: its path, or its content with a name. ``more``: callback, sha256, external_id."""
    fields = {"options": json.dumps(_chosen(options)), **more}
    if metadata:
        fields["metadata"] = json.dumps(dict(metadata))
    content = (name or "recording", file) if isinstance(file, bytes) else Path(file)
    sent = {"data": fields, "headers": _once(idempotency_key)}
    return _Call("POST", "/v1/recordings", _as(Recording), sent, content)


def _submit(
    uri: str, *, options: Options | None = None, idempotency_key: str | None = None, **more: Any
) -> _Call[Recording]:
    """Transcribe a recording that is below the API's source. ``more``: callback, sha256, external_id, metadata."""
    body = {"uri": uri, "options": _chosen(options), **more}
    return _Call("POST", "/v1/recordings", _as(Recording), {"json": body, "headers": _once(idempotency_key)})


def _get_recording(id: str) -> _Call[Recording]:
    """Return a recording's state; if it failed, also the reason."""
    return _Call("GET", _at("recordings", id), _as(Recording))


def _retry(id: str) -> _Call[Recording]:
    """Transcribe a recording that failed, was cancelled or was never submitted."""
    return _Call("POST", _at("recordings", id, "retry"), _as(Recording))


def _delete(id: str) -> _Call[None]:
    """Delete a recording with everything that was made from it."""
    return _Call("DELETE", _at("recordings", id), _nothing, repeatable=False)


def _get_transcript(id: str) -> _Call[Transcript]:
    """Return the transcript. Raises `ApiError` NOT_COMPLETED if there is none."""
    return _Call("GET", _at("recordings", id, "transcript"), _as(Transcript), {"params": {"format": "json"}})


def _render(id: str, format: Format, **style: Any) -> _Call[str]:
    """Return the transcript in a format. ``style``: of subtitles, e.g. ``max_line_width=32``."""
    sent = {"params": {"format": format, **style}}
    return _Call("GET", _at("recordings", id, "transcript"), lambda answer: answer.content.decode(), sent)


def _get_speakers(id: str) -> _Call[dict[str, str | None]]:
    """Return the names of the speakers, by label."""
    return _Call("GET", _at("recordings", id, "speakers"), _names_of)


def _name_speakers(id: str, names: Mapping[str, str]) -> _Call[dict[str, str | None]]:
    """Name the speakers; labels that are left out lose their name."""
    return _Call("PUT", _at("recordings", id, "speakers"), _names_of, {"json": {"names": dict(names)}})


def _start_batch(
    prefix: str, *, options: Options | None = None, idempotency_key: str | None = None, **more: Any
) -> _Call[Batch]:
    """Transcribe everything below a prefix. ``more``: callback, external_id, metadata, dry_run."""
    body = {"prefix": prefix, "options": _chosen(options), **more}
    return _Call("POST", "/v1/batches", _as(Batch), {"json": body, "headers": _once(idempotency_key)})


def _get_batch(id: str) -> _Call[Batch]:
    """Return a batch with its counts."""
    return _Call("GET", _at("batches", id), _as(Batch))


def _cancel(run: str) -> _Call[None]:
    """Cancel a run, and keep its recordings."""
    return _Call("DELETE", _at("queue", run), _nothing, repeatable=False)


def _pause_queue(paused: bool = True) -> _Call[None]:
    """Pause the queue, or resume it with False."""
    return _Call("PATCH", "/v1/queue", _nothing, {"json": {"paused": paused}})


def _test_callback(url: str) -> _Call[CallbackOutcome]:
    """Send a test event to a URL."""
    return _Call("POST", "/v1/callbacks/test", _as(CallbackOutcome), {"json": {"url": url}}, repeatable=False)


def _about() -> _Call[About]:
    """Return the version of the program, and the permissions of the key."""
    return _Call("GET", "/v1/about", _as(About))


def _page(path: str, model: type[M], cursor: str | None, filters: dict[str, Any]) -> _Call[tuple[list[M], str | None]]:
    def parse(answer: httpx.Response) -> tuple[list[M], str | None]:
        page = answer.json()
        return [model.model_validate(one) for one in page["data"]], page["next_cursor"]

    return _Call("GET", path, parse, {"params": filters | ({"cursor": cursor} if cursor else {})})


def _polls(timeout: float | None) -> Iterator[float]:
    """Yield the pauses between checks. Raises `TimeoutError` after ``timeout`` seconds."""
    deadline, pause = (math.inf if timeout is None else time.monotonic() + timeout), _POLLS[0]
    while time.monotonic() < deadline:
        yield pause
        pause = min(1.3 * pause, _POLLS[1])
    raise TimeoutError("The recording did not end in time.")


def _http_options(url: str, key: str | None, timeout: float, more: dict[str, Any]) -> dict[str, Any]:
    headers = {"User-Agent": f"stenopool-client/{__version__}"} | ({"Authorization": f"Bearer {key}"} if key else {})
    return {"base_url": url, "headers": headers, "timeout": timeout, **more}


def _sync(make: Callable[P, _Call[T]]) -> Callable[Concatenate["Client", P], T]:
    @wraps(make)
    def method(self: "Client", /, *arguments: P.args, **named: P.kwargs) -> T:
        return self._do(make(*arguments, **named))

    return method


def _async(make: Callable[P, _Call[T]]) -> Callable[Concatenate["AsyncClient", P], Coroutine[Any, Any, T]]:
    @wraps(make)
    async def method(self: "AsyncClient", /, *arguments: P.args, **named: P.kwargs) -> T:
        return await self._do(make(*arguments, **named))

    return method


class Client:
    """A client. ``url``: of the API. ``key``: omit with `--no-auth`. ``retries``: per call. ``more``: for httpx."""

    def __init__(
        self, url: str, key: str | None = None, *, retries: int = 4, timeout: float = 60.0, **more: Any
    ) -> None:
        self._http = httpx.Client(**_http_options(url, key, timeout, more))
        self._retries = retries

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    send = _sync(_send)
    submit = _sync(_submit)
    recording = _sync(_get_recording)
    retry = _sync(_retry)
    delete = _sync(_delete)
    transcript = _sync(_get_transcript)
    render = _sync(_render)
    speakers = _sync(_get_speakers)
    name_speakers = _sync(_name_speakers)
    start_batch = _sync(_start_batch)
    batch = _sync(_get_batch)
    cancel = _sync(_cancel)
    pause_queue = _sync(_pause_queue)
    test_callback = _sync(_test_callback)
    about = _sync(_about)

    def recordings(self, **filters: Any) -> Iterator[Recording]:
        """Yield all recordings, newest upload first. ``filters``: state, q, modified_since, modified_before, limit."""
        return self._all("/v1/recordings", Recording, filters)

    def queue(self, **filters: Any) -> Iterator[Run]:
        """Yield all unfinished runs in order. ``filters``: state, limit."""
        return self._all("/v1/queue", Run, filters)

    def callbacks(self) -> Iterator[Callback]:
        """Yield this key's callbacks that have not been delivered."""
        return self._all("/v1/callbacks", Callback, {})

    def wait(self, id: str, timeout: float | None = None) -> Recording:
        """Return the recording when it has ended, successfully or not. Raises `TimeoutError`."""
        for pause in _polls(timeout):
            if (recording := self.recording(id)).is_over:
                return recording
            time.sleep(pause)
        raise AssertionError

    def is_alive(self) -> bool:
        """Whether the API responds. Makes one attempt, and raises nothing."""
        try:
            return self._http.get("/health/live").is_success
        except httpx.HTTPError:
            return False

    def _do(self, call: _Call[T]) -> T:
        for attempt in _attempts(call, self._retries):
            with attempt as request:
                attempt.read(self._http.request(**request))
            if attempt.pause:
                time.sleep(attempt.pause)
        return attempt.result

    def _all(self, path: str, model: type[M], filters: dict[str, Any]) -> Iterator[M]:
        cursor: str | None = None
        while True:
            found, cursor = self._do(_page(path, model, cursor, filters))
            yield from found
            if cursor is None:
                return


class AsyncClient:
    """`Client` for asyncio: await its methods, and iterate over its lists with ``async for``."""

    def __init__(
        self, url: str, key: str | None = None, *, retries: int = 4, timeout: float = 60.0, **more: Any
    ) -> None:
        self._http = httpx.AsyncClient(**_http_options(url, key, timeout, more))
        self._retries = retries

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    send = _async(_send)
    submit = _async(_submit)
    recording = _async(_get_recording)
    retry = _async(_retry)
    delete = _async(_delete)
    transcript = _async(_get_transcript)
    render = _async(_render)
    speakers = _async(_get_speakers)
    name_speakers = _async(_name_speakers)
    start_batch = _async(_start_batch)
    batch = _async(_get_batch)
    cancel = _async(_cancel)
    pause_queue = _async(_pause_queue)
    test_callback = _async(_test_callback)
    about = _async(_about)

    def recordings(self, **filters: Any) -> AsyncIterator[Recording]:
        """As in `Client`."""
        return self._all("/v1/recordings", Recording, filters)

    def queue(self, **filters: Any) -> AsyncIterator[Run]:
        """As in `Client`."""
        return self._all("/v1/queue", Run, filters)

    def callbacks(self) -> AsyncIterator[Callback]:
        """As in `Client`."""
        return self._all("/v1/callbacks", Callback, {})

    async def wait(self, id: str, timeout: float | None = None) -> Recording:
        """As in `Client`."""
        for pause in _polls(timeout):
            if (recording := await self.recording(id)).is_over:
                return recording
            await asyncio.sleep(pause)
        raise AssertionError

    async def _do(self, call: _Call[T]) -> T:
        for attempt in _attempts(call, self._retries):
            with attempt as request:
                attempt.read(await self._http.request(**request))
            if attempt.pause:
                await asyncio.sleep(attempt.pause)
        return attempt.result

    async def _all(self, path: str, model: type[M], filters: dict[str, Any]) -> AsyncIterator[M]:
        cursor: str | None = None
        while True:
            found, cursor = await self._do(_page(path, model, cursor, filters))
            for one in found:
                yield one
            if cursor is None:
                return
