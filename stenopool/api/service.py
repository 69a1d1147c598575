"""What the routes share: the two stores, Prefect, the keys; and the few things that are done with all of them."""

import asyncio
import hashlib
import json
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, cast
from urllib.parse import unquote

from fastapi import Depends, Request
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from pydantic import ValidationError

from stenopool.api import ids
from stenopool.api.callbacks.addresses import AddressError
from stenopool.api.callbacks.outbox import Callback, Outbox
from stenopool.api.callbacks.sending import Sender
from stenopool.api.ingest_runs import IngestRuns, is_over
from stenopool.api.keys import Keys, require_file
from stenopool.api.limits import Limiter
from stenopool.api.problems import Problem, field_errors, invalid, not_found
from stenopool.errors import ErrorCode, KeyUnusable, ObjectNotFound, SetupError
from stenopool.options import TranscriptionOptions
from stenopool.orchestration.blocks.locations import absolute_location, open_location
from stenopool.orchestration.names import PREFIX_TAG, RECORDING_TAG
from stenopool.pipeline import receipts
from stenopool.pipeline.recordings import Recording, fingerprint
from stenopool.settings import ApiSettings, CallbackSettings
from stenopool.storage import ObjectInfo, ObjectStore

_LATEST = 2**48 - 1  # milliseconds


class Service:
    """One installation's API. ``keys`` is None where everybody on this machine may do all."""

    def __init__(
        self,
        settings: ApiSettings,
        source: ObjectStore,
        destination: ObjectStore,
        runs: IngestRuns,
        keys: Keys | None,
        sender: Sender,
    ) -> None:
        self.settings = settings
        self.source = source
        self.destination = destination
        self.runs = runs
        self.keys = keys
        self.limiter = Limiter(settings.rate)
        # What waits for its turn is not read, so that its time-out does not run.
        self.room = asyncio.Semaphore(settings.uploads_at_once)
        self.sender = sender
        self.outbox = Outbox(destination)

    def new_key(self, filename: str, token: str | None = None) -> str:
        """The key of an upload: a folder of its own, so that equal names do not meet. Checked against both stores.

        Tokens count down with time: a listing, which is in key order, has the newest first.
        """
        token = token or f"{_LATEST - int(time.time() * 1000):012x}{secrets.token_hex(10)}"
        key = f"{token}/{filename}"
        if "/" in filename:
            raise Problem(422, ErrorCode.KEY_UNUSABLE, "A file's name has no folders.", "Send the name alone.")
        self.check_key(key)
        return key

    def check_key(self, key: str) -> None:
        """`RecordingError` KEY_UNUSABLE if no recording, or nothing that is written for it, can be called so."""
        ids.check(key)
        self.source.uri_of(key)
        self.destination.uri_of(receipts.receipt_key(key, "0" * 32, "quarantined"))
        self.destination.uri_of(receipts.output_key(key, "json"))

    def key_of(self, uri: str) -> str:
        """The key of an address below the source; the problem 422 for any other. Nothing is asked of anybody."""
        key = self._below(uri)
        self.check_key(key)
        if self.source.uri_of(key) != uri:
            raise _elsewhere()
        return key

    def prefix_of(self, uri: str) -> str:
        """The prefix of an address that ends with "/"; the problem 422 if it does not lie below the source."""
        prefix = self._below(uri)
        if prefix:
            ids.check(f"{prefix}a")  # as a recording's key that begins so
            if f"{self.source.uri_of(prefix.rstrip('/'))}/" != uri:
                raise _elsewhere()
        return prefix

    def _below(self, uri: str) -> str:
        below = uri.removeprefix(f"{self.source.uri}/")
        if below == uri:
            raise _elsewhere()
        return unquote(below) if self.source.uri.startswith("file:") else below

    async def head(self, key: str) -> ObjectInfo:
        """What the source says of a recording; the problem 404 if it is not there."""
        try:
            return await asyncio.to_thread(self.source.head, key)
        except (ObjectNotFound, KeyUnusable):  # or a key that this kind of store cannot hold
            raise not_found("There is no such recording.") from None

    async def require_recordings(self, prefix: str) -> None:
        """The problem 404 if nothing lies below the prefix."""
        if await asyncio.to_thread(next, self.source.list(prefix), None) is None:
            raise not_found("There is nothing below this address.")

    def fingerprint(self, info: ObjectInfo, options: TranscriptionOptions) -> str:
        """The name of this item of work."""
        recording = Recording(
            uri=self.source.uri_of(info.key), key=info.key, size=info.size, etag=info.etag, modified=info.modified
        )
        return fingerprint(recording, options)

    async def receipts_of(self, key: str) -> list[receipts.ReceiptName]:
        """A recording's receipts by name: one listing."""
        stem = receipts.receipt_stem(key)
        return await asyncio.to_thread(lambda: list(receipts.list_receipts(self.destination, prefix=stem)))

    async def submit(self, info: ObjectInfo, options: TranscriptionOptions, *, again: bool = False) -> FlowRun | None:
        """Have a recording transcribed: the run, or None if it is already, or was tried with these options.

        ``again``: also if it was tried and failed, or was cancelled.
        """
        work = self.fingerprint(info, options)
        there = await asyncio.to_thread(receipts.find_receipts, self.destination, info.key, work)
        if any(name.status == "done" for name in there) or (there and not again):
            return None
        parameters = self._parameters(options, {"only": [info.key]})
        if again:
            parameters["retry"] = []
        return await self._start(info.key, f"api-{work}", parameters)

    async def _start(self, key: str, name: str, parameters: dict[str, Any]) -> FlowRun:
        """The run of this name that is not over: the one that somebody has asked for already, or a new one.

        Prefect gives the same run for the same idempotency key, also when that has ended. A further one is named after
        it, so that two people who ask at the same time start one run.
        """
        tags = [f"{RECORDING_TAG}{ids.encode(key)}"]
        run = await self.runs.start(self.settings.deployment, parameters, name, tags)
        if is_over(run):
            last = (await self.runs.last_runs([key])).get(key)
            run = last if last and (last.idempotency_key or "").startswith(name) else run
        while is_over(run):
            run = await self.runs.start(self.settings.deployment, parameters, f"{name}-{run.id}", tags)
        return run

    async def submit_all(self, prefix: str, options: TranscriptionOptions, idempotency_key: str | None) -> FlowRun:
        """Have everything below a prefix transcribed that has not been: one run, behind all single recordings.

        While it waits or runs, asking for the same again gives the same run.
        """
        chosen = options.model_dump(mode="json", exclude_defaults=True)
        digest = hashlib.sha256(json.dumps([prefix, chosen], sort_keys=True).encode()).hexdigest()[:32]
        if idempotency_key is None and (run := await self.runs.unfinished_run(f"{PREFIX_TAG}{digest}")):
            return run
        parameters = self._parameters(options, {"prefix": prefix})
        key = f"api-{idempotency_key or secrets.token_hex(16)}-{digest}"
        return await self.runs.start(self.settings.bulk_deployment, parameters, key, [f"{PREFIX_TAG}{digest}"])

    async def check_callback(self, url: str | None) -> None:
        """The problem 422 if this address will not be called."""
        if url is None:
            return
        if not self.sender.can_sign:
            raise Problem(
                422, "CALLBACK_REFUSED", "No callbacks are sent from here.", "Set STENOPOOL_CALLBACKS__SECRETS."
            )
        try:
            await self.sender.allowed.check(url)
        except AddressError:
            message = "The callback's address is not known, not public, or not https."
            raise Problem(
                422, "CALLBACK_REFUSED", message, "Use another, or set STENOPOOL_CALLBACKS__ALLOW to its network."
            ) from None

    async def add_callback(self, url: str | None, **about: Any) -> None:
        """Keep a callback, which is sent when its recording or run is over; see `Callback`."""
        if url is not None:
            await asyncio.to_thread(self.outbox.put, Callback(url=url, **about))

    def _parameters(self, options: TranscriptionOptions, selection: dict[str, Any]) -> dict[str, Any]:
        return {
            "source": self.settings.source,
            "destination": self.settings.destination,
            "options": options.model_dump(mode="json", exclude_defaults=True),
            "selection": selection,
        }

    def options(self, given: Any) -> TranscriptionOptions:
        """A request's options; the problem 422, naming the fields, for those that cannot be honoured."""
        try:
            options = TranscriptionOptions.model_validate({"model": self.settings.model, **(given or {})})
        except ValidationError as error:
            raise invalid("The options cannot be honoured.", errors=field_errors(error.errors())) from None
        except TypeError:
            raise invalid("Options are an object.") from None
        if "/" in options.model or options.model.startswith((".", "~")):
            # A folder of the workers' machines must not be named from outside.
            raise invalid("The model is named, not given as a folder.")
        return options


def _elsewhere() -> Problem:
    return Problem(
        422, ErrorCode.LOCATION_INVALID, "The address does not lie below the source.", "Upload the file instead."
    )


def token_of(caller: str, idempotency_key: str) -> str:
    """The folder of an upload with an Idempotency-Key: made of the caller and the key, and of nothing else."""
    return hashlib.sha256(f"{caller}\0{idempotency_key}".encode()).hexdigest()[:32]


@asynccontextmanager
async def open_service(
    settings: ApiSettings, callbacks: CallbackSettings, *, authenticated: bool
) -> AsyncIterator[Service]:
    """Open stores and keys and find Prefect. Raises `SetupError` for settings that cannot work."""
    settings = settings.model_copy(
        update={"source": _location(settings, "source"), "destination": _location(settings, "destination")}
    )
    source = await asyncio.to_thread(open_location, cast("str", settings.source))
    destination = await asyncio.to_thread(open_location, cast("str", settings.destination))
    if f"{source.uri}/".startswith(f"{destination.uri}/") or f"{destination.uri}/".startswith(f"{source.uri}/"):
        raise SetupError(
            ErrorCode.LOCATION_INVALID,
            "The API's source and destination lie inside each other.",
            remedy="Give each a prefix or folder of its own: uploads must never overwrite transcripts.",
        )
    sender = Sender(callbacks)
    keys = Keys.read(require_file(settings.keys)) if authenticated else None
    async with get_client() as client:
        yield Service(settings, source, destination, IngestRuns(client), keys, sender)


def _location(settings: ApiSettings, name: str) -> str:
    """A location as workers need it: they run in other folders."""
    location: str | None = getattr(settings, name)
    if not location:
        raise SetupError(
            ErrorCode.OPTIONS_INVALID,
            f"The API does not know its {name}.",
            remedy=f"Set STENOPOOL_API__{name.upper()} to a folder, s3://bucket/prefix or a saved block.",
        )
    return absolute_location(location)


async def _get_service(request: Request) -> Service:
    """Dependency: the app's service. Async, as all dependencies are: others cost a thread each."""
    return cast("Service", request.app.state.service)


CurrentService = Annotated[Service, Depends(_get_service)]
