"""Reads multipart/form-data as it arrives: fields into memory, the file into the store."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from stenopool.api.part_names import parse_disposition
from stenopool.api.problems import Problem, invalid, too_large
from stenopool.errors import ErrorCode
from stenopool.options import TranscriptionOptions
from stenopool.speech.audio.sniffing import HEAD, find_refusal
from stenopool.storage import ObjectStore, Writer

_LONGEST_FIELD = 64 * 1024
_MOST_FIELDS = 64
_LONGEST_NAME = 100  # characters of an unknown field's name that messages quote
_WRITE = 1024 * 1024  # bytes per write, so that not every 64 KiB from the network costs a call to a thread
_PATIENCE = 10.0  # seconds to wait for a slot
_ITEM = re.compile(r"\[\d{0,3}\]$")  # what follows the name of a list


class UploadSlots:
    """Allows ``total`` uploads at a time, and a third of them for one key, so that no key blocks the others."""

    def __init__(self, total: int) -> None:
        self._all = asyncio.Semaphore(total)
        self._share = max(1, total // 3)
        self._shares: dict[str, asyncio.Semaphore] = {}

    @asynccontextmanager
    async def take(self, caller: str) -> AsyncIterator[None]:
        """Hold a slot. Raises the problem 503 after ten seconds; while waiting, nothing is read and no timeout runs."""
        share = self._shares.setdefault(caller, asyncio.Semaphore(self._share))
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(_PATIENCE):
                    await held.enter_async_context(share)
                    await held.enter_async_context(self._all)
            except TimeoutError:
                raise Problem(
                    503,
                    "TOO_MANY_UPLOADS",
                    "Too many uploads are in progress.",
                    "Try again later.",
                    {"Retry-After": "10"},
                ) from None
            yield


class UploadWriter:
    """Writes one object and computes its SHA-256: `add` data, `flush`, then `commit`; `abort` leaves nothing behind.

    Without a store it only computes the SHA-256, because the object exists.
    """

    def __init__(self, store: ObjectStore | None, key: str) -> None:
        if store:
            store.uri_of(key)  # refuses a name that no object can have
        self.store = store
        self.size = 0
        self._key = key
        self._digest = hashlib.sha256()
        self._buffer = bytearray()
        self._writer: Writer | None = None

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def add(self, data: bytes) -> None:
        self._digest.update(data)
        self.size += len(data)
        if self.store:
            self._buffer += data

    async def flush(self) -> None:
        """Write the added data if it is at least a megabyte."""
        if self.store and len(self._buffer) >= _WRITE:
            await asyncio.to_thread(self._write, self.store)

    async def commit(self) -> None:
        if self.store:
            writer = await asyncio.to_thread(self._write, self.store)
            await asyncio.to_thread(writer.commit)

    async def abort(self) -> None:
        if self._writer:
            await asyncio.to_thread(self._writer.abort)

    def _write(self, store: ObjectStore) -> Writer:
        data, self._buffer = self._buffer, bytearray()
        self._writer = self._writer or store.writer(self._key)
        self._writer.write(data)
        return self._writer


@dataclass
class Form:
    """A parsed form: its fields, each with all its values, and its file."""

    fields: dict[str, list[str]] = field(default_factory=dict)
    filename: str | None = None
    file: UploadWriter | None = None

    def value(self, name: str) -> str | None:
        """Return a field's value; None if it is missing or empty."""
        return self.fields.get(name, [""])[-1] or None


Opener = Callable[[Form], UploadWriter]


@asynccontextmanager
async def receive_form(
    request: Request, opener: Opener, fields: Collection[str], max_bytes: int
) -> AsyncIterator[Form]:
    """Read a form with a file called ``file``. Unless the file is committed inside the block, it leaves nothing behind.

    ``opener`` returns the writer for the file. It gets the form with what arrived before the content: the file's name,
    and the fields before it. ``fields``: the names of all other fields. Those that end with ``[]`` may be repeated, and
    may be written without the brackets or with a number in them. Raises the problems 400 (malformed), 413, 415 and 422.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise Problem(415, "UNSUPPORTED_MEDIA_TYPE", "Expected multipart/form-data.", "Send a form.")
    try:
        reader = _Reader(options[b"boundary"], opener, fields, max_bytes)
    except FormParserError:  # the boundary is too long
        raise Problem(400, "BAD_REQUEST", "The boundary of the form is invalid.", "Send a shorter one.") from None
    try:
        await reader.read(request)
        yield reader.form
    finally:
        if reader.form.file:
            await reader.form.file.abort()


class _Reader:
    """The parser's callbacks, in the order in which a part arrives."""

    def __init__(self, boundary: bytes, opener: Opener, fields: Collection[str], max_bytes: int) -> None:
        self.form = Form()
        self._opener = opener
        self._fields = fields
        self._max_bytes = max_bytes
        self._complete = False
        self._header = self._value = self._disposition = b""
        self._name, self._is_file = "", False
        self._data = bytearray()  # a field's value, or the file's first bytes
        self._size = 0
        self._parser = MultipartParser(
            boundary,
            {
                "on_header_field": self._add_header,
                "on_header_value": self._add_header_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._begin,
                "on_part_data": self._add_data,
                "on_part_end": self._end,
                "on_end": self._end_form,
            },
        )

    async def read(self, request: Request) -> None:
        try:
            async for chunk in request.stream():
                self._parser.write(chunk)
                if self.form.file:
                    await self.form.file.flush()
        except (FormParserError, UnicodeDecodeError, ClientDisconnect):
            self._complete = False
        if not self._complete:
            raise Problem(400, "BAD_REQUEST", "The form is malformed, or ends too early.", "Send it again.")
        if self.form.filename is None:
            raise invalid("The form has no file.", errors=[{"field": "file", "message": "Field required"}])

    def _add_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _begin(self) -> None:
        try:
            name, filename = parse_disposition(self._disposition)
        except ValueError as error:
            raise FormParserError from error
        self._disposition = b""
        self._data.clear()
        listed = f"{_ITEM.sub('', name)}[]"
        self._name, self._is_file = listed if listed in self._fields else name, filename is not None
        if filename is None:
            self._check_field()
            return
        if name != "file" or self.form.filename is not None:
            raise invalid("Send one file, in the field `file`.")
        self.form.filename = filename
        self.form.file = self._opener(self.form)

    def _check_field(self) -> None:
        name = self._name
        if name not in self._fields:
            shown = name[:_LONGEST_NAME]
            remedy = f"Known fields: file, {', '.join(self._fields)}."
            if name in TranscriptionOptions.model_fields:
                remedy = f'It is an option: send it in options={{"{name}": ...}} (POST /v1/recordings). {remedy}'
            errors = [{"field": shown, "message": "Unknown field"}]
            raise Problem(422, "UNKNOWN_FIELD", f"The form has an unknown field, {shown!a}.", remedy, errors=errors)
        if name in self.form.fields and not name.endswith("[]"):
            raise invalid(
                f"The form contains the field {name} twice.", errors=[{"field": name, "message": "Repeated field"}]
            )

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        data = data[start:end]
        if not self._is_file:
            self._data += data
            if len(self._data) > _LONGEST_FIELD:
                raise Problem(413, "TOO_LARGE", f"The field {self._name} is too long.", "Shorten it.")
            return
        self._size += len(data)
        if self._size > self._max_bytes:
            raise too_large("The file", self._max_bytes)
        if len(self._data) < HEAD:
            self._data += data[: HEAD - len(self._data)]
            if len(self._data) == HEAD:
                self._check_media()
        if self.form.file:
            self.form.file.add(data)

    def _end(self) -> None:
        if not self._is_file:
            self.form.fields.setdefault(self._name, []).append(self._data.decode())
            if sum(map(len, self.form.fields.values())) > _MOST_FIELDS:
                raise Problem(413, "TOO_LARGE", f"The form has more than {_MOST_FIELDS} fields.", "Send fewer.")
        elif not self._size:
            raise Problem(422, "EMPTY_FILE", "The file is empty.", "Send it again.")
        elif len(self._data) < HEAD:
            self._check_media()

    def _end_form(self) -> None:
        self._complete = True

    def _check_media(self) -> None:
        match find_refusal(bytes(self._data)):
            case "NOT_AUDIO":
                raise Problem(415, ErrorCode.NOT_AUDIO, "The file does not start like audio or video.")
            case "EXTERNAL_REFERENCE":
                raise invalid("The file is a list of other files.", ErrorCode.EXTERNAL_REFERENCE)
