"""A recording's id: its key as base64url without padding, which fits in a segment of a URL path.

It is reversible, so no table of ids is needed. An id that does not decode to a recording's key is unknown.
"""

import base64

from stenopool.api.problems import not_found
from stenopool.errors import KeyUnusable
from stenopool.pipeline.catalog import Selection
from stenopool.storage.base import check_key

_ALL = Selection()


def encode(key: str) -> str:
    """Return the id of a key."""
    return base64.urlsafe_b64encode(key.encode()).rstrip(b"=").decode()


def decode(id: str) -> str:
    """Return the key of an id. Raises the problem 404 if the id is invalid."""
    try:
        key = text_of(id)
        check(key)
    except (ValueError, KeyUnusable):
        raise not_found("Unknown recording.") from None
    if encode(key) != id:  # one recording has one id
        raise not_found("Unknown recording.")
    return key


def text_of(id: str) -> str:
    """Decode an id. Raises `ValueError` if it is invalid."""
    return base64.urlsafe_b64decode(id + "=" * (-len(id) % 4)).decode()


def check(key: str) -> None:
    """Raises `RecordingError` KEY_UNUSABLE for keys that listings skip: hidden objects, Stenopool's, documents."""
    check_key(key)
    if "\\" in key or any(ord(character) < 32 for character in key) or not _ALL.takes(key, 0.0):
        raise KeyUnusable(f"{key!r} is not the key of a recording.")
