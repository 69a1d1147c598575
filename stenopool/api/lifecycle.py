"""What happens to a recording in the API: upload, submission, retries, removal."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from itertools import islice
from typing import Annotated, Any, NamedTuple

from fastapi import Request
from prefect.client.schemas.objects import FlowRun, StateType
from pydantic import ConfigDict, Field, ValidationError

from stenopool.api import ids, states
from stenopool.api.access import require_scope
from stenopool.api.client_data import ClientData, delete_client_data, read_client_data, write_client_data
from stenopool.api.guard import parse_json
from stenopool.api.idempotency import claimed, find_first, in_progress, remember, token_of
from stenopool.api.ingest_runs import entry_of
from stenopool.api.keys import Key
from stenopool.api.problems import Problem, field_errors, invalid, too_large
from stenopool.api.schema import Described, RequestedOptions
from stenopool.api.service import Service
from stenopool.api.states import StateName
from stenopool.api.uploads import Form, UploadWriter, receive_form
from stenopool.options import STORED, TranscriptionOptions
from stenopool.pipeline import receipts
from stenopool.pipeline.catalog import fingerprint
from stenopool.pipeline.quarantine import end_quarantine
from stenopool.pipeline.receipts import WORK
from stenopool.pipeline.speaker_names import names_key
from stenopool.storage import ObjectInfo

_AT_ONCE = 500  # maximum number of recordings that one request retries


Sha256 = Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")]
CallbackAddress = Annotated[str | None, Field(max_length=2000, repr=False)]


class FromSource(ClientData):
    """A recording below the source, or one that was uploaded to a presigned URL."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    uri: Annotated[str, Field(min_length=1, max_length=4096)]
    """The recording's address, below the API's source."""
    options: RequestedOptions = Field(default_factory=dict)
    """Options that differ from the defaults."""
    callback: CallbackAddress = None
    """URL that receives an event when the recording has ended."""
    sha256: Sha256 | None = None
    """The expected SHA-256; the API reads the recording to check it."""


class Accepted(Described):
    """A recording that was accepted."""

    id: str
    """The recording's id."""
    uri: str
    """The recording's address in the source."""
    state: StateName
    """The recording's state."""
    size: int
    """Size in bytes."""
    sha256: str | None = None
    """SHA-256 of an upload, as received."""


class ReceivedUpload(NamedTuple):
    """A parsed form, its file, the token of its idempotency key, and its recording's key."""

    form: Form
    file: UploadWriter
    token: str | None
    key: str


@asynccontextmanager
async def receive_upload(
    request: Request,
    service: Service,
    caller: Key,
    idempotency_key: str | None,
    fields: Collection[str],
    check: Callable[[Form], object] | None = None,
) -> AsyncIterator[ReceivedUpload]:
    """Read an upload. Unless it is accepted inside the block, it leaves nothing behind. ``fields``: see `receive_form`.

    ``check`` raises the problem with the fields that arrive before the file, so that it is not read in vain.

    If the idempotency key was used before, the file is only compared, because its recording exists.
    """
    await service.runs.deployment_id(service.settings.deployment)  # fail before gigabytes are read
    token, key, file = token_of(caller, idempotency_key), "", UploadWriter(None, "")
    first = await find_first(service.destination, token)
    first_key = first.key if first else ""
    is_stored = first_key != "" and await asyncio.to_thread(service.source.exists, first_key)

    def opener(form: Form) -> UploadWriter:
        nonlocal key, file
        if check:
            check(form)
        filename = str(form.filename)
        key = service.new_key(filename)
        # A different name is refused later; the same name gets the key that the first request would have used.
        if first_key.rpartition("/")[2] == filename:
            key = first_key
        file = UploadWriter(None if is_stored else service.source, key)
        return file

    async with (
        service.slots.take(caller.name),
        receive_form(request, opener, fields, service.settings.max_bytes) as form,
    ):
        yield ReceivedUpload(form, file, token, key)


async def accept_upload(service: Service, upload: ReceivedUpload, options: TranscriptionOptions) -> Accepted:
    """Store an upload in the source and submit it; if it cannot be submitted, it is not stored.

    The form's field ``callback`` is the URL that receives an event when the recording has ended.
    """
    form, file, key = upload.form, upload.file, upload.key
    callback, wanted, client = form.value("callback"), form.value("sha256"), _client_data(form)
    await service.check_callback(callback)
    if wanted and wanted.lower() != file.sha256:
        raise _other_content()
    same = {"filename": form.filename, "size": file.size, "sha256": file.sha256, **choices(options, client)}
    async with claimed(service.destination, upload.token, same, key) as first:
        is_stored = first.repeated and await asyncio.to_thread(service.source.exists, first.key)
        is_new = first.key == key and file.store is not None and not is_stored
        if is_new:
            await file.commit()
        elif not is_stored:
            raise in_progress()  # a simultaneous request with this idempotency key came first
        try:
            info = await service.head(first.key)
            waits = await _submit(service, info, options, callback, client, again=first.repeated and not is_new)
        except BaseException:
            if is_new:
                await asyncio.to_thread(service.source.delete, key)
                await asyncio.to_thread(delete_client_data, service.destination, key)
            raise
    # With two hundred simultaneous uploads, reading the queue for each would be slower than the uploads.
    state = "queued" if waits else (await states.read_state(service, info.key)).state
    return _accepted(service, info, state, file.sha256)


async def find_same_upload(service: Service, upload: ReceivedUpload, options: TranscriptionOptions) -> Accepted | None:
    """Find the recording that the caller sent with the same bytes and options in the last 7 days, if it can be reused.

    It can be reused if it has a transcript or is quarantined, or if submitting it would not replace another transcript.
    Requests with an idempotency key, a callback or client data always make a new recording.
    """
    form, sha256 = upload.form, upload.file.sha256
    wanted = (form.value("sha256") or sha256).lower()
    if upload.token or wanted != sha256 or any(map(form.value, ("callback", "external_id", "metadata"))):
        return None
    first = await find_first(service.destination, _content_token(service, sha256, options))
    if first is None:
        return None
    try:
        info = await service.head(first.key)
        work, names = fingerprint(info, options), await service.receipts_of(first.key)
        if not any(name.fingerprint == work for name in names):
            if any(name.status == "done" for name in names):
                return None
            await service.submit(info, options)
        state = await states.read_state(service, info.key, work)
    except Problem as problem:
        if problem.status_code not in (403, 404):  # deleted, or in use by another run
            raise
        return None
    return _accepted(service, info, state.state, sha256)


async def remember_upload(service: Service, accepted: Accepted, options: TranscriptionOptions) -> None:
    """Record an upload for `find_same_upload`."""
    token = _content_token(service, str(accepted.sha256), options)
    await remember(service.destination, token, ids.decode(accepted.id))


def _content_token(service: Service, sha256: str, options: TranscriptionOptions) -> str | None:
    # A header cannot contain a zero byte, so this is never a client's idempotency key.
    chosen = json.dumps(choices(options, ClientData()), sort_keys=True)
    return token_of(service.caller, f"\0{sha256}\0{chosen}")


async def accept_uri(service: Service, asked: FromSource, caller: Key, idempotency_key: str | None) -> Accepted:
    """Submit a recording that is in the source."""
    options = service.options(asked.options)
    info = await service.head(service.key_of(asked.uri))
    check_size(service, info.size)
    await service.check_callback(asked.callback)
    wanted = asked.sha256 and asked.sha256.lower()
    if wanted and await _digest(service, info) != wanted:
        raise _other_content()
    if asked.is_given and not service.caller.may("edit"):
        there = await asyncio.to_thread(read_client_data, service.destination, info.key)
        if there.is_given and (there.external_id, there.metadata) != (asked.external_id, asked.metadata):
            require_scope(service.caller, "edit")
    same = {"key": info.key, "sha256": wanted, **choices(options, asked)}
    async with claimed(service.destination, token_of(caller, idempotency_key), same, info.key) as first:
        await _submit(service, info, options, asked.callback, asked, again=first.repeated)
    state = await states.read_state(service, info.key)
    return _accepted(service, info, state.state, wanted)


async def _submit(
    service: Service,
    info: ObjectInfo,
    options: TranscriptionOptions,
    callback: str | None,
    client: ClientData,
    *,
    again: bool,
) -> bool:
    """Submit a recording with its callback and client data; returns whether its run is queued.

    ``again``: the same request was sent before, so only what it left undone is done.
    """
    await service.add_callback(callback, key=info.key, work=fingerprint(info, options))
    is_known = again and await service.runs.last_runs([info.key])
    run = None if is_known else await service.submit(info, options)
    await asyncio.to_thread(write_client_data, service.destination, info.key, client)
    return run is not None and run.state_type is StateType.SCHEDULED


def _accepted(service: Service, info: ObjectInfo, state: StateName, sha256: str | None) -> Accepted:
    uri = service.source.uri_of(info.key)
    return Accepted(id=ids.encode(info.key), uri=uri, state=state, size=info.size, sha256=sha256)


def _client_data(form: Form) -> ClientData:
    given = {"external_id": form.value("external_id"), "metadata": parse_field(form, "metadata")}
    try:
        return ClientData.model_validate(given)
    except ValidationError as error:
        raise invalid("The form has invalid fields.", errors=field_errors(error.errors())) from None


def parse_field(form: Form, name: str) -> Any:
    """Parse a form's field as JSON; an empty object if it is missing. Raises the problem 422 if it is invalid."""
    try:
        return parse_json(form.value(name) or "{}")
    except ValueError:
        raise invalid(f"The field {name} is not JSON.", errors=[{"field": name, "message": "Invalid JSON"}]) from None


def choices(options: TranscriptionOptions, client: ClientData) -> dict[str, Any]:
    """Return what makes two requests for a recording the same request."""
    chosen = options.model_dump(mode="json", exclude_defaults=True)
    return {"options": chosen, "external_id": client.external_id, "metadata": client.metadata}


async def _digest(service: Service, info: ObjectInfo) -> str:
    """Read an object, and return its SHA-256."""

    def read() -> str:
        digest = hashlib.sha256()
        for part in service.source.stream(info.key, etag=info.etag):
            digest.update(part)
        return digest.hexdigest()

    async with service.slots.take(service.caller.name):
        return await asyncio.to_thread(read)


def _other_content() -> Problem:
    return Problem(422, "CHECKSUM_MISMATCH", "The file does not match its SHA-256.", "Send the file again.")


def check_size(service: Service, size: int) -> None:
    """Raises the problem 413 for a file that is larger than the API accepts."""
    if size > service.settings.max_bytes:
        raise too_large("The file", service.settings.max_bytes)


async def retry(service: Service, key: str) -> FlowRun | None:
    """Submit a recording again, unless it is in the queue; returns its run, or None if it is done."""
    info = await service.head(key)
    last = await options_of(service, key)
    # Options that an earlier version stored may lack limits.
    options = service.options(last.model_dump(mode="json", exclude_unset=True))
    return await service.submit(info, options, again=True)


async def retry_failed(service: Service) -> int:
    """Submit quarantined recordings and those whose run was lost; returns how many (a few hundred at a time)."""
    named = (name.key for name in receipts.list_receipts(service.destination) if name.status == "quarantined")
    found = await asyncio.to_thread(lambda: list(islice(named, _AT_ONCE)))
    lost = await service.runs.last_runs(await service.runs.failed_keys())
    queue = await service.runs.queue()
    submitted = 0
    for key in dict.fromkeys([*found, *(key for key, run in lost.items() if entry_of(run).state == "failed")]):
        if queue.run_for(key):
            continue
        try:
            await retry(service, key)
        except Problem as problem:
            if problem.status_code not in (404, 422):  # removed meanwhile, or its options are no longer allowed
                raise
            if problem.status_code == 404 and key.startswith(service.caller.prefix):
                await asyncio.to_thread(end_quarantine, service.destination, key)
            continue
        submitted += 1
    service.notes.recording = ""  # not just the last of them
    return submitted


async def options_of(service: Service, key: str) -> TranscriptionOptions:
    """Return the options of the recording's last run, as they are stored; the defaults if Prefect has none."""
    last = (await service.runs.last_runs([key])).get(key)
    return service.options(last.parameters.get("options") if last else None, STORED)


async def remove(service: Service, key: str) -> None:
    """Remove a recording with its transcripts, receipts and checkpoints. If interrupted, it can be repeated.

    Raises the problem 404 if it does not exist, 409 while it is being transcribed: the worker would write the removed
    files again.
    """
    info = await service.head(key)
    service.runs.forget_queue()
    queue = await service.runs.queue()
    active, others = queue.run_for(key), queue.run_covering(key)
    if busy := next((entry for entry in (active, others) if entry and entry.state == "running"), None):
        others_run = not busy.is_below(service.caller.prefix)
        remedy = "Try again when it is done." if others_run else f"DELETE /v1/queue/{busy.id}, then try again."
        raise Problem(409, "RECORDING_BUSY", "The recording is being transcribed.", remedy)
    if active:
        await service.runs.cancel(active.id)
    # Failed and cancelled runs leave checkpoints, but no receipt that names them.
    works: set[str] = set()
    with suppress(Problem):  # options that this version does not know
        works.add(fingerprint(info, await options_of(service, key)))
    await asyncio.to_thread(_remove, service, key, works)


def _remove(service: Service, key: str, works: set[str]) -> None:
    named = [info.key for info in service.destination.list(receipts.receipt_stem(key))]
    works |= {name.fingerprint for name in map(receipts.parse_receipt_key, named) if name}
    for prefix in (f"{key}/transcript.", f"{key}/audio.", names_key(key)):
        for info in list(service.destination.list(prefix)):
            # Below "a/" there may be files made from "a/b".
            if "/" not in info.key[len(prefix) :]:
                service.destination.delete(info.key)
    for work in works:
        for info in list(service.destination.list(f"{WORK}{work}/")):
            service.destination.delete(info.key)
    for receipt in named:
        service.destination.delete(receipt)
    delete_client_data(service.destination, key)
    # The source comes last, because a repeated request checks for it.
    service.source.delete(key)
