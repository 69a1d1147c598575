"""Shared by the routes: the two stores, Prefect, the keys, and operations that need several of them."""

import asyncio
import hashlib
import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from copy import copy
from dataclasses import dataclass, field
from typing import Annotated, Any, cast
from urllib.parse import unquote
from uuid import UUID
from weakref import WeakValueDictionary

from fastapi import Depends, Request
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from pydantic import ValidationError
from starlette.datastructures import State

from stenopool.api import ids
from stenopool.api.access import AnyCaller, require_scope
from stenopool.api.allow_lists import AllowLists
from stenopool.api.callbacks.outbox import Callback, Outbox, TooManyPending
from stenopool.api.callbacks.sending import AddressError, Sender
from stenopool.api.ingest_runs import IngestRuns, QueueEntry, QueueSnapshot, entry_of, is_over
from stenopool.api.keys import NOBODY, Key, Keys, Limiter, require_file
from stenopool.api.problems import Problem, field_errors, invalid, not_found
from stenopool.api.render_cache import RenderCache
from stenopool.api.uploads import UploadSlots
from stenopool.errors import ErrorCode, KeyUnusable, LocationInvalid, ObjectNotFound, OptionsInvalid
from stenopool.models.suitability import check_options
from stenopool.options import TranscriptionOptions
from stenopool.orchestration.blocks.locations import absolute_location, open_location
from stenopool.orchestration.names import PREFIX_TAG, RECORDING_TAG
from stenopool.pipeline import receipts
from stenopool.pipeline.catalog import fingerprint
from stenopool.runtime.characters import find_unsafe
from stenopool.runtime.health import Readiness
from stenopool.settings import ApiSettings, CallbackSettings
from stenopool.storage import ObjectInfo, ObjectStore
from stenopool.storage.base import Walk

_LATEST = 2**48 - 1  # milliseconds
_ENDING = re.compile(r"\.[A-Za-z0-9]{1,8}$")


@dataclass
class Service:
    """The API of one installation, as ``caller`` may see it. ``keys`` is None without authentication.

    ``notes``: the state of the caller's request; its ``recording`` appears in the audit log.
    """

    settings: ApiSettings
    source: ObjectStore
    destination: ObjectStore
    runs: IngestRuns
    keys: Keys | None
    sender: Sender
    caller: Key = NOBODY
    notes: State = field(default_factory=State)

    def __post_init__(self) -> None:
        self.limiter = Limiter(self.settings.rate)
        self.slots = UploadSlots(self.settings.uploads_at_once)
        self.allow_lists = AllowLists(self.settings)
        self.outbox = Outbox(self.destination, self.sender.cipher, self.sender.most)
        self.renders = RenderCache()
        self._renaming: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.readiness = Readiness(
            {
                "source": lambda: asyncio.to_thread(next, self.source.list(walk=Walk()), None),
                "destination": lambda: asyncio.to_thread(next, self.destination.list(walk=Walk()), None),
                "prefect": lambda: self.runs.check_health(self.settings.deployment),
            }
        )

    def seen_by(self, caller: Key, notes: State) -> "Service":
        """Return this service for one request. Recordings outside the key's prefix do not exist for it."""
        seen = copy(self)
        seen.caller, seen.notes = caller, notes
        return seen

    @property
    def uri(self) -> str:
        """The address that contains the caller's recordings."""
        return self.source.uri_of(self.caller.prefix.rstrip("/")) if self.caller.prefix else self.source.uri

    async def queue(self) -> QueueSnapshot:
        """Return the queue, without runs over recordings that the caller may not see."""
        return (await self.runs.queue()).below(self.caller.prefix)

    async def run(self, id: UUID) -> QueueEntry:
        """Return a run that was submitted here, also one that has ended. Raises the problem 404 for any other."""
        for entry in (await self.queue()).entries:
            if entry.id == id:
                return entry
        run = await self.runs.run(id)
        if run is None or not (entry := entry_of(run)).is_below(self.caller.prefix):
            raise not_found("Unknown run.")
        return entry

    def renaming(self, key: str) -> asyncio.Lock:
        """Return the lock for renaming the speakers of a recording, so that changes are made one after another."""
        return self._renaming.setdefault(key, asyncio.Lock())

    def new_key(self, filename: str) -> str:
        """Return the key of an upload, in its own folder so that equal names do not collide.

        Checked against both stores. The folder's name counts down with time: listings are in key order, so they have
        the newest first.
        """
        token = f"{_LATEST - int(time.time() * 1000):012x}{secrets.token_hex(10)}"
        if "/" in filename:
            raise Problem(422, ErrorCode.KEY_UNUSABLE, "A file name cannot contain folders.", "Send only the name.")
        if unsafe := find_unsafe(filename):
            message = f"A file name cannot contain the invisible character U+{ord(unsafe):04X}."
            raise Problem(422, ErrorCode.KEY_UNUSABLE, message, "Rename the file.")
        if self.settings.neutral_names:  # ids and addresses contain keys, and appear in logs
            ending = _ENDING.search(filename)
            filename = f"recording{ending[0] if ending else ''}"
        key = f"{self.caller.prefix}{token}/{filename}"
        self.check_key(key)
        self.notes.recording = key
        return key

    def check_key(self, key: str) -> None:
        """Raises `RecordingError` KEY_UNUSABLE if a recording, or a file written for it, cannot have this name."""
        ids.check(key)
        self.source.uri_of(key)
        self.destination.uri_of(receipts.receipt_key(key, "0" * 32, "quarantined"))
        self.destination.uri_of(receipts.output_key(key, "json"))

    def key_of(self, uri: str) -> str:
        """Return the key of an address below the source. Raises the problem 422 for any other. Makes no request."""
        key = self._below(uri)
        self.check_key(key)
        if self.source.uri_of(key) != uri:
            raise _elsewhere()
        return key

    def prefix_of(self, uri: str) -> str:
        """Return the prefix of an address that ends with "/". Raises the problem 422 if it is not below the source."""
        prefix = self.check_prefix(self._below(uri))
        if prefix and f"{self.source.uri_of(prefix.rstrip('/'))}/" != uri:
            raise _elsewhere()
        return prefix

    def check_prefix(self, prefix: str) -> str:
        """Return the prefix. Raises `RecordingError` KEY_UNUSABLE if no recording can have it."""
        if prefix:
            ids.check(f"{prefix}a")
        if not prefix.startswith(self.caller.prefix):
            raise _elsewhere()
        self.notes.recording = prefix
        return prefix

    def _below(self, uri: str) -> str:
        below = uri.removeprefix(f"{self.source.uri}/")
        if below == uri:
            raise _elsewhere()
        below = unquote(below) if self.source.uri.startswith("file:") else below
        if not below.startswith(self.caller.prefix):
            raise _elsewhere()
        return below

    async def head(self, key: str) -> ObjectInfo:
        """Return a recording as the source lists it. Raises the problem 404 if it does not exist for the caller."""
        self.notes.recording = key
        if not key.startswith(self.caller.prefix):
            raise not_found("Unknown recording.")
        try:
            return await asyncio.to_thread(self.source.head, key)
        except (ObjectNotFound, KeyUnusable):  # or a key that this kind of store cannot hold
            raise not_found("Unknown recording.") from None

    async def require_recordings(self, prefix: str) -> None:
        """Raises the problem 404 if nothing is below the prefix."""
        if await asyncio.to_thread(next, self.source.list(prefix, walk=Walk()), None) is None:
            raise not_found("No recording is below this address.")

    async def receipts_of(self, key: str) -> list[receipts.ReceiptName]:
        """Return a recording's receipts by name, with one listing."""
        stem = receipts.receipt_stem(key)
        return await asyncio.to_thread(lambda: list(receipts.list_receipts(self.destination, prefix=stem)))

    async def submit(self, info: ObjectInfo, options: TranscriptionOptions, *, again: bool = False) -> FlowRun | None:
        """Submit a recording. Returns the run, or None if these options were used for it already.

        ``again``: submit it also if it failed or was cancelled. Raises the problem 403 if the transcript of other
        options would be overwritten, and the caller's key lacks the scope ``edit``.
        """
        work = fingerprint(info, options)
        names = await self.receipts_of(info.key)
        there = [name for name in names if name.fingerprint == work]
        if any(name.status == "done" for name in there) or (there and not again):
            return None
        if not self.caller.may("edit"):
            last = (await self.runs.last_runs([info.key])).get(info.key)
            is_other = last and not is_over(last) and not (last.idempotency_key or "").startswith(f"api-{work}")
            if is_other or any(name.status == "done" for name in names):
                require_scope(self.caller, "edit")
        parameters = self._parameters(options, {"only": [info.key]})
        if again:
            parameters["retry"] = []
        return await self._start(info.key, f"api-{work}", parameters)

    async def _start(self, key: str, name: str, parameters: dict[str, Any]) -> FlowRun:
        """Return the unfinished run with this idempotency key, or start one.

        Prefect returns the same run for the same key, even after it has ended. The next run's key is derived from that
        run, so two simultaneous requests start one run.
        """
        tags = [f"{RECORDING_TAG}{ids.encode(key)}"]
        run = await self.runs.start(self.settings.deployment, parameters, name, tags)
        if is_over(run):
            last = (await self.runs.last_runs([key])).get(key)
            run = last if last and (last.idempotency_key or "").startswith(name) else run
        while is_over(run):
            run = await self.runs.start(self.settings.deployment, parameters, f"{name}-{run.id}", tags)
        return run

    async def submit_all(self, prefix: str, options: TranscriptionOptions, nonce: str | None) -> FlowRun:
        """Submit everything below a prefix as one run, queued behind all single recordings.

        Until it has ended, the same request returns the same run. ``nonce``: of a request with an idempotency key; the
        same nonce returns the same run, even after it has ended.
        """
        chosen = options.model_dump(mode="json", exclude_defaults=True)
        digest = hashlib.sha256(json.dumps([prefix, chosen], sort_keys=True).encode()).hexdigest()[:32]
        if nonce is None and (run := await self.runs.unfinished_run(f"{PREFIX_TAG}{digest}")):
            return run
        parameters = self._parameters(options, {"prefix": prefix})
        key = f"api-{nonce or secrets.token_hex(16)}-{digest}"
        return await self.runs.start(self.settings.bulk_deployment, parameters, key, [f"{PREFIX_TAG}{digest}"])

    async def check_callback(self, url: str | None) -> None:
        """Raises the problem 422 if callbacks to this URL are not allowed, 429 if the key has too many pending."""
        if url is not None:
            await self.check_address(url)
            with refusing_too_many():
                self.outbox.require_room(Callback(url=url, owner=self.caller.name))

    async def check_address(self, url: str) -> None:
        """Raises the problem 422 if callbacks to this URL are not allowed."""
        if not self.sender.can_sign:
            raise Problem(422, "CALLBACK_REFUSED", "Callbacks are disabled.", "Set STENOPOOL_CALLBACKS__SECRETS.")
        try:
            await self.sender.allowed.check(url)
        except AddressError:
            message = "The callback address cannot be resolved, is not public, or is not https."
            raise Problem(
                422, "CALLBACK_REFUSED", message, "Use another, or allow its network in STENOPOOL_CALLBACKS__ALLOW."
            ) from None

    async def add_callback(self, url: str | None, **about: Any) -> None:
        """Store a callback, to be sent when its recording or run has ended; see `Callback`."""
        if url is not None:
            caller = self.caller
            callback = Callback(url=url, brief=not caller.may("read"), owner=caller.name, **about)
            with refusing_too_many():
                await asyncio.to_thread(self.outbox.put, callback)

    def _parameters(self, options: TranscriptionOptions, selection: dict[str, Any]) -> dict[str, Any]:
        return {
            "source": self.settings.source,
            "destination": self.settings.destination,
            "options": options.model_dump(mode="json", exclude_defaults=True),
            "selection": selection,
        }

    def options(self, given: Any, context: Any = None) -> TranscriptionOptions:
        """Return a request's options. Raises the problem 422, listing the fields, if they are invalid or not allowed.

        ``context``: `STORED` for options of an earlier request, which may no longer be allowed.
        """
        try:
            options = TranscriptionOptions.model_validate(
                {**self.allow_lists.defaults, **(given or {})}, context=context
            )
        except ValidationError as error:
            errors = field_errors(error.errors())
            raise invalid("The options are invalid.", ErrorCode.OPTIONS_INVALID, errors=errors) from None
        except TypeError:
            raise invalid("Options must be an object.", ErrorCode.OPTIONS_INVALID) from None
        if context is None:
            self.allow_lists.check(options)
            check_options(options)
        return options


@contextmanager
def refusing_too_many() -> Iterator[None]:
    """Turns `TooManyPending` into the problem 429."""
    try:
        yield
    except TooManyPending:
        message, remedy = "This key has too many pending callbacks.", "Wait, or delete some (GET /v1/callbacks)."
        raise Problem(429, "CALLBACKS_PENDING", message, remedy, {"Retry-After": "60"}) from None


def _elsewhere() -> Problem:
    return Problem(422, ErrorCode.LOCATION_INVALID, "The address is not below the source.", "Upload the file instead.")


@asynccontextmanager
async def open_service(
    settings: ApiSettings, callbacks: CallbackSettings, *, authenticated: bool
) -> AsyncIterator[Service]:
    """Open the stores and keys, and connect to Prefect. Raises `SetupError` for settings that cannot work."""
    locations = {name: _location(settings, name) for name in ("source", "destination")}
    settings = settings.model_copy(update=locations)
    source, destination = [await asyncio.to_thread(open_location, each) for each in locations.values()]
    if f"{source.uri}/".startswith(f"{destination.uri}/") or f"{destination.uri}/".startswith(f"{source.uri}/"):
        raise LocationInvalid(
            "The API's source and destination overlap.",
            remedy="Use two separate prefixes or folders: uploads must never overwrite transcripts.",
        )
    sender = Sender(callbacks)
    keys = Keys.read(require_file(settings.keys)) if authenticated else None
    async with get_client() as client:
        yield Service(settings, source, destination, IngestRuns(client), keys, sender)


def _location(settings: ApiSettings, name: str) -> str:
    """Return a location in absolute form, because workers run in other folders."""
    location: str | None = getattr(settings, name)
    if not location:
        raise OptionsInvalid(
            f"The {name} of the API is not set.",
            remedy=f"Set STENOPOOL_API__{name.upper()} to a folder, s3://bucket/prefix or a saved block.",
        )
    return absolute_location(location)


async def _get_service(request: Request, caller: AnyCaller) -> Service:
    """Dependency: the service for the caller, so that no route has it without a key.

    It is async because a plain function takes a thread.
    """
    return cast("Service", request.app.state.service).seen_by(caller, request.state)


CurrentService = Annotated[Service, Depends(_get_service)]
