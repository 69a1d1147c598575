"""multipart/form-data read as it arrives: fields into memory, the file into the store."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from stenopool.api.problems import Problem, invalid
from stenopool.api.sniff import HEAD, may_be_media
from stenopool.api.upload_writer import UploadWriter
from stenopool.errors import ErrorCode

_LONGEST_FIELD = 64 * 1024
_MOST_FIELDS = 64

Opener = Callable[[str], UploadWriter | None]


@dataclass
class Form:
    """A form: its fields, each with all its values, and its file. ``file`` is None if there is no need to write it."""

    fields: dict[str, list[str]] = field(default_factory=dict)
    filename: str | None = None
    file: UploadWriter | None = None

    def value(self, name: str) -> str | None:
        """A field's value; None where it is missing or empty."""
        return self.fields.get(name, [""])[-1] or None


@asynccontextmanager
async def receive_form(request: Request, opener: Opener, max_bytes: int) -> AsyncIterator[Form]:
    """Read a form whose file is called ``file``. Whatever is not committed inside the block leaves nothing behind.

    ``opener`` gives, for the file's name, where it is written to. Refuses: 400 no form, 413, 415, 422.
    """
    reader = _Reader(request, opener, max_bytes)
    try:
        await reader.read()
        yield reader.form
    finally:
        if reader.form.file:
            await reader.form.file.abort()


class _Reader:
    def __init__(self, request: Request, opener: Opener, max_bytes: int) -> None:
        kind, options = parse_options_header(request.headers.get("content-type"))
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise Problem(415, "UNSUPPORTED_MEDIA_TYPE", "This is no form.", "Send multipart/form-data.")
        self.form = Form()
        self._request = request
        self._opener = opener
        self._max_bytes = max_bytes
        self._events: list[tuple[str, bytes]] = []
        self._parser = MultipartParser(
            options[b"boundary"],
            {
                "on_part_begin": lambda: self._events.append(("begin", b"")),
                "on_header_field": lambda data, start, end: self._events.append(("header", data[start:end])),
                "on_header_value": lambda data, start, end: self._events.append(("value", data[start:end])),
                "on_header_end": lambda: self._events.append(("header end", b"")),
                "on_headers_finished": lambda: self._events.append(("headers", b"")),
                "on_part_data": lambda data, start, end: self._events.append(("data", data[start:end])),
                "on_part_end": lambda: self._events.append(("end", b"")),
                "on_end": lambda: self._events.append(("over", b"")),
            },
        )
        self._over = False
        self._headers: dict[bytes, bytes] = {}
        self._header, self._value = b"", b""
        self._name = ""
        self._is_file = False
        self._text = bytearray()
        self._head = bytearray()
        self._size = 0

    async def read(self) -> None:
        try:
            async for chunk in self._request.stream():
                self._parser.write(chunk)
                events, self._events = self._events, []
                for event, data in events:
                    await self._handle(event, data)
        except (FormParserError, UnicodeDecodeError, ClientDisconnect):
            raise _broken() from None
        if not self._over:
            raise _broken()
        if self.form.filename is None:
            raise invalid("The form has no file.", errors=[{"field": "file", "message": "Field required"}])

    async def _handle(self, event: str, data: bytes) -> None:
        match event:
            case "begin":
                self._headers, self._header, self._value = {}, b"", b""
            case "header":
                self._header += data
            case "value":
                self._value += data
            case "header end":
                self._headers[self._header.lower()] = self._value
                self._header, self._value = b"", b""
            case "headers":
                self._begin()
            case "data" if self._is_file:
                await self._more(data)
            case "data":
                self._text += data
                if len(self._text) > _LONGEST_FIELD:
                    raise Problem(413, "TOO_LARGE", f"The field {self._name} is too long.", "Shorten it.")
            case "end" if self._is_file:
                await self._end()
            case "end":
                self.form.fields.setdefault(self._name, []).append(self._text.decode())
                if sum(map(len, self.form.fields.values())) > _MOST_FIELDS:
                    raise Problem(413, "TOO_LARGE", f"The form has more than {_MOST_FIELDS} fields.", "Send fewer.")
            case "over":
                self._over = True

    def _begin(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = options.get(b"name", b"").decode()
        self._is_file = b"filename" in options
        self._text.clear()
        if not self._is_file:
            return
        if self._name != "file" or self.form.filename is not None:
            raise invalid("One file is taken, in the field `file`.")
        self.form.filename = options[b"filename"].decode()
        self.form.file = self._opener(self.form.filename)

    async def _more(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._max_bytes:
            remedy = "Split or compress the file, or raise STENOPOOL_API__MAX_BYTES."
            raise Problem(413, "TOO_LARGE", f"The file exceeds {self._max_bytes:,} bytes.", remedy)
        if len(self._head) < HEAD:
            self._head += data[: HEAD - len(self._head)]
            if len(self._head) == HEAD:
                self._sniff()
        if self.form.file:
            await self.form.file.write(data)

    async def _end(self) -> None:
        if not self._size:
            raise Problem(422, "EMPTY_FILE", "The file holds no bytes.", "Send it again.")
        if len(self._head) < HEAD:
            self._sniff()

    def _sniff(self) -> None:
        if not may_be_media(bytes(self._head)):
            code = ErrorCode.NOT_AUDIO
            raise Problem(415, code, "The file does not begin as audio or video does.", code.remedy)


def _broken() -> Problem:
    return Problem(400, "BAD_REQUEST", "The form is broken, or ends too early.", "Send it again.")
