"""Parses the names of form parts (Content-Disposition), as browsers, SDKs and mail libraries write them."""

import re
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from email.utils import collapse_rfc2231_value
from typing import NamedTuple

UNNAMED = "recording"
"""The name of a file that was sent without one."""

_FILE = "file"  # the field that is a file, whether or not it has a file name


class PartNames(NamedTuple):
    """The names of a part. ``filename`` is None for a field that is not a file."""

    name: str
    filename: str | None


def parse_disposition(header: bytes) -> PartNames:
    """Return the names in a Content-Disposition header. Raises `ValueError` if it cannot be parsed.

    A file's name is its last part, without folders. `filename*` (RFC 8187) takes precedence over `filename`, whose
    RFC 2047 words are decoded. Both may be in UTF-8 or Latin-1.
    """
    message = Message()
    message["content-disposition"] = _to_text(header).replace("\r", " ").replace("\n", " ")
    found: dict[str, str] = {}
    for name, value in message.get_params([], "content-disposition"):
        is_extended = isinstance(value, tuple)
        text = collapse_rfc2231_value(value)
        # Python lists the plain form of a parameter before the extended one.
        if is_extended or name.lower() not in found:
            found[name.lower()] = text
    field = found.get("name", "")
    if "filename" not in found and field != _FILE:
        return PartNames(field, None)
    return PartNames(field, _base_name(_decode_words(found.get("filename", ""))))


def _to_text(header: bytes) -> str:
    try:
        return header.decode()
    except UnicodeDecodeError:
        return header.decode("latin-1")


def _decode_words(text: str) -> str:
    """Decode the RFC 2047 words of a text; invalid ones stay as they are."""
    if "=?" not in text:
        return text
    try:
        return str(make_header(decode_header(text)))
    except (HeaderParseError, LookupError, UnicodeError, ValueError):
        return text


def _base_name(path: str) -> str:
    # A quotation mark at the beginning was never closed. Browsers write one as %22, and encode nothing else that a name
    # can have (HTML).
    name = re.split(r"[\\/]", path.removeprefix('"').replace("%22", '"'))[-1].strip()
    return name or UNNAMED
