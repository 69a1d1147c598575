"""What the routes share: the two stores, Prefect and the keys, and what needs several of them."""

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
    """One installation's API, as ``caller`` may see it. ``keys`` is None without authentication.

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
        """This service for one request: other recordings than those below the key's prefix do not exist."""
        seen = copy(self)
        seen.caller, seen.notes = caller, notes
        return seen

    @property
    def uri(self) -> str:
        """The address that the caller's recordings are below."""
        return self.source.uri_of(self.caller.prefix.rstrip("/")) if self.caller.prefix else self.source.uri

    async def queue(self) -> QueueSnapshot:
        """The queue, without the runs over recordings that the caller may not see."""
        return (await self.runs.queue()).below(self.caller.prefix)

    async def run(self, id: UUID) -> QueueEntry:
        """One run that was submitted here, in the queue or ended; the problem 404 for any other."""
        for entry in (await self.queue()).entries:
            if entry.id == id:
                return entry
        run = await self.runs.run(id)
        if run is None or not (entry := entry_of(run)).is_below(self.caller.prefix):
            raise not_found("Unknown run.")
        return entry

    def renaming(self, key: str) -> asyncio.Lock:
        """Held while the speakers of a recording are renamed, so that of two changes one is the second."""
        return self._renaming.setdefault(key, asyncio.Lock())

    def new_key(self, filename: str) -> str:
        """The key of an upload: in its own folder, so that equal names do not collide. Checked against both stores.

        Its folder's name counts down with time: a listing, which is in key order, has the newest first.
        """
        token = f"{_LATEST - int(time.time() * 1000):012x}{secrets.token_hex(10)}"
        if "/" in filename:
            raise Problem(422, ErrorCode.KEY_UNUSABLE, "A file name cannot contain folders.", "Send the name alone.")
        if unsafe := find_unsafe(filename):
            message = f"A file name cannot contain the invisible character U+{ord(unsafe):04X}."
            raise Problem(422, ErrorCode.KEY_UNUSABLE, message, "Rename the file.")
        if self.settings.neutral_names:  # ids and addresses are made of keys, and are in everybody's logs
            ending = _ENDING.search(filename)
            filename = f"recording{ending[0] if ending else ''}"
        key = f"{self.caller.prefix}{token}/{filename}"
        self.check_key(key)
        self.notes.recording = key
        return key

    def check_key(self, key: str) -> None:
        """`RecordingError` KEY_UNUSABLE if a recording, or a file that is written for it, cannot have this name."""
        ids.check(key)
        self.source.uri_of(key)
        self.destination.uri_of(receipts.receipt_key(key, "0" * 32, "quarantined"))
        self.destination.uri_of(receipts.output_key(key, "json"))

    def key_of(self, uri: str) -> str:
        """The key of an address below the source; the problem 422 for any other. Makes no request."""
        key = self._below(uri)
        self.check_key(key)
        if self.source.uri_of(key) != uri:
            raise _elsewhere()
        return key

    def prefix_of(self, uri: str) -> str:
        """The prefix of an address that ends with "/"; the problem 422 if it is not below the source."""
        prefix = self.check_prefix(self._below(uri))
        if prefix and f"{self.source.uri_of(prefix.rstrip('/'))}/" != uri:
            raise _elsewhere()
        return prefix

    def check_prefix(self, prefix: str) -> str:
        """The prefix; `RecordingError` KEY_UNUSABLE if no recording can have it."""
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
        """A recording as the source lists it; the problem 404 if it does not exist, or not for the caller."""
        self.notes.recording = key
        if not key.startswith(self.caller.prefix):
            raise not_found("Unknown recording.")
        try:
            return await asyncio.to_thread(self.source.head, key)
        except (ObjectNotFound, KeyUnusable):  # or a key that this kind of store cannot hold
            raise not_found("Unknown recording.") from None

    async def require_recordings(self, prefix: str) -> None:
        """The problem 404 if nothing is below the prefix."""
        if await asyncio.to_thread(next, self.source.list(prefix, walk=Walk()), None) is None:
            raise not_found("Nothing is below this address.")

    async def receipts_of(self, key: str) -> list[receipts.ReceiptName]:
        """A recording's receipts by name: one listing."""
        stem = receipts.receipt_stem(key)
        return await asyncio.to_thread(lambda: list(receipts.list_receipts(self.destination, prefix=stem)))

    async def submit(self, info: ObjectInfo, options: TranscriptionOptions, *, again: bool = False) -> FlowRun | None:
        """Submit a recording: returns the run, or None if these options were used for it already.

        ``again``: submit it also if it failed or was cancelled. The problem 403 if another transcript would be
        overwritten, and the caller's key lacks the scope ``edit``.
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
        """The unfinished run with this idempotency key, or a new one.

        Prefect returns the same run for the same key, also when it has ended. The next run's key is made from that one,
        so two simultaneous requests start one run.
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
        """Submit everything below a prefix, as one run that is queued behind all single recordings.

        Until it has ended, the same request returns the same run. ``nonce``: of a request with an idempotency key; the
        same one returns the same run, also when that has ended.
        """
        chosen = options.model_dump(mode="json", exclude_defaults=True)
        digest = hashlib.sha256(json.dumps([prefix, chosen], sort_keys=True).encode()).hexdigest()[:32]
        if nonce is None and (run := await self.runs.unfinished_run(f"{PREFIX_TAG}{digest}")):
            return run
        parameters = self._parameters(options, {"prefix": prefix})
        key = f"api-{nonce or secrets.token_hex(16)}-{digest}"
        return await self.runs.start(self.settings.bulk_deployment, parameters, key, [f"{PREFIX_TAG}{digest}"])

    async def check_callback(self, url: str | None) -> None:
        """The problem 422 for an address that callbacks may not be sent to, 429 if the key waits for too many."""
        if url is not None:
            await self.check_address(url)
            with refusing_too_many():
                self.outbox.require_room(Callback(url=url, owner=self.caller.name))

    async def check_address(self, url: str) -> None:
        """The problem 422 for an address that callbacks may not be sent to."""
        if not self.sender.can_sign:
            raise Problem(422, "CALLBACK_REFUSED", "This API sends no callbacks.", "Set STENOPOOL_CALLBACKS__SECRETS.")
        try:
            await self.sender.allowed.check(url)
        except AddressError:
            message = "The callback's address cannot be resolved, is not public, or is not https."
            raise Problem(
                422, "CALLBACK_REFUSED", message, "Use another, or set STENOPOOL_CALLBACKS__ALLOW to its network."
            ) from None

    async def add_callback(self, url: str | None, **about: Any) -> None:
        """Store a callback, which is sent when its recording or run has ended; see `Callback`."""
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
        """A request's options; the problem 422, naming fields, for those that cannot be honoured or are not allowed.

        ``context``: `STORED` for options of an earlier request, which may be allowed no more.
        """
        try:
            options = TranscriptionOptions.model_validate(
                {**self.allow_lists.defaults, **(given or {})}, context=context
            )
        except ValidationError as error:
            errors = field_errors(error.errors())
            raise invalid("The options cannot be honoured.", ErrorCode.OPTIONS_INVALID, errors=errors) from None
        except TypeError:
            raise invalid("Options must be an object.", ErrorCode.OPTIONS_INVALID) from None
        if context is None:
            self.allow_lists.check(options)
            check_options(options)
        return options


@contextmanager
def refusing_too_many() -> Iterator[None]:
    """The problem 429 for a callback too many."""
    try:
        yield
    except TooManyPending:
        message, remedy = "This key waits for too many callbacks.", "Wait, or look at GET /v1/callbacks."
        raise Problem(429, "CALLBACKS_PENDING", message, remedy, {"Retry-After": "60"}) from None


def _elsewhere() -> Problem:
    return Problem(422, ErrorCode.LOCATION_INVALID, "The address is not below the source.", "Upload the file instead.")


@asynccontextmanager
async def open_service(
    settings: ApiSettings, callbacks: CallbackSettings, *, authenticated: bool
) -> AsyncIterator[Service]:
    """Open stores and keys and find Prefect. Raises `SetupError` for settings that cannot work."""
    locations = {name: _location(settings, name) for name in ("source", "destination")}
    settings = settings.model_copy(update=locations)
    source, destination = [await asyncio.to_thread(open_location, each) for each in locations.values()]
    if f"{source.uri}/".startswith(f"{destination.uri}/") or f"{destination.uri}/".startswith(f"{source.uri}/"):
        raise LocationInvalid(
            "The API's source and destination are inside each other.",
            remedy="Use two separate prefixes or folders: uploads must never overwrite transcripts.",
        )
    sender = Sender(callbacks)
    keys = Keys.read(require_file(settings.keys)) if authenticated else None
    async with get_client() as client:
        yield Service(settings, source, destination, IngestRuns(client), keys, sender)


def _location(settings: ApiSettings, name: str) -> str:
    """A location in absolute form: workers run in other folders."""
    location: str | None = getattr(settings, name)
    if not location:
        raise OptionsInvalid(
            f"The API does not know its {name}.",
            remedy=f"Set STENOPOOL_API__{name.upper()} to a folder, s3://bucket/prefix or a saved block.",
        )
    return absolute_location(location)


async def _get_service(request: Request, caller: AnyCaller) -> Service:
    """Dependency: the app's service for the caller, so no route has it without a key.

    It is async because a plain function costs a thread.
    """
    return cast("Service", request.app.state.service).seen_by(caller, request.state)


CurrentService = Annotated[Service, Depends(_get_service)]
