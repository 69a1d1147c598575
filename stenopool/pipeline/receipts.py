"""Receipts: small objects that record that a fingerprint is done, or quarantined and why. They are authoritative.

A receipt's key contains everything that planning needs, so no receipt has to be read:

    .receipts/<encoded key>!<fingerprint>.json                  done, in all formats
    .receipts/<encoded key>!<fingerprint>.jsv.json              done, in the formats of these letters
    .receipts/<encoded key>!<fingerprint>.quarantined.json      quarantined

A done receipt never changes. Formats that are rendered later get another receipt; the existing formats are those of all
of a fingerprint's receipts together. So no receipt ever claims a file that does not exist, whatever the order of
writing and even if a run is killed.

The encoded key is the recording's key with every byte below "0" (0x30) as %XX, so receipts sort like their recordings:
"!" and "%" are lower than every other byte that can follow. A "/" is inserted after every 200 bytes or slightly more,
because file names are limited to 255 bytes. Its position depends only on the preceding bytes, so the order is kept.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from itertools import groupby, product
from operator import itemgetter
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar
from urllib.parse import unquote

from pydantic import BaseModel, Field, ValidationError, model_validator

from stenopool import __version__
from stenopool.errors import AccessDenied, Failure, ReceiptCorrupt, RecordingError
from stenopool.options import FORMATS, Format
from stenopool.runtime.logs import logger
from stenopool.storage.base import ObjectInfo, ObjectStore, check_key

API = ".api/"
REQUESTS = f"{API}requests/"
REQUESTS_KEPT = timedelta(days=7)  # how long an idempotency key is remembered
RECEIPTS = ".receipts/"
WORK = ".work/"
BATCHES = ".batches/"
METRICS = ".metrics/"
CALLBACKS = ".callbacks/"

ReceiptStatus = Literal["done", "quarantined"]
M = TypeVar("M", bound=BaseModel)

_ESCAPES = {code: f"%{code:02X}" for code in range(0x30)}
_PART = 200  # bytes
# Letters, because full names would exceed the maximum length of a file name.
_LETTERS: dict[Format, str] = {"json": "j", "srt": "s", "vtt": "v", "txt": "t", "tsv": "c", "rttm": "r", "html": "h"}
# The meaning of a key without letters. Never change it: a format added later gets a letter but is not added here.
_ALL = "jsvtcrh"
_RECEIPT = re.compile(rf"\.receipts/([^!]+)!([0-9a-f]{{32}})(?:\.(quarantined|[{''.join(_LETTERS.values())}]+))?\.json")


class Receipt(BaseModel, frozen=True):
    """The record of one work item, written after all its other objects.

    ``duration``: seconds of audio.
    ``language``: the main language; missing in receipts of older versions.
    ``formats``: the formats written, always including JSON.
    ``batch``: the batch that wrote it.
    ``flags``: of the transcript and its segments, without duplicates.
    ``options``: for quarantined recordings only, used by `stenopool retry`; missing in receipts of older versions. A
    transcript contains its own options.
    """

    key: str
    fingerprint: str
    status: ReceiptStatus
    failure: Failure | None = None
    attempts: Annotated[int, Field(ge=1)] = 1
    formats: tuple[Format, ...] = ()
    outputs: tuple[str, ...] = ()
    duration: float | None = None
    language: str | None = None
    batch: str | None = None
    flags: tuple[str, ...] = ()
    options: dict[str, Any] | None = None
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    stenopool_version: str = __version__

    @model_validator(mode="after")
    def _check_failure(self) -> Self:
        if (self.status == "quarantined") != (self.failure is not None):
            raise ValueError("a quarantined recording must have a failure, a done one must not")
        return self


class ReceiptName(NamedTuple):
    """The information in a receipt's key."""

    key: str
    fingerprint: str
    status: ReceiptStatus
    formats: frozenset[Format] = frozenset()


def output_key(recording_key: str, format: Format) -> str:
    """The key of a transcript: below the full source key, so that equal base names do not collide."""
    return f"{recording_key}/transcript.{format}"


def work_key(fingerprint: str, name: str) -> str:
    """The key of a stage's checkpoint."""
    return f"{WORK}{fingerprint}/{name}"


@lru_cache(maxsize=8)  # a listing calls it twice for each recording
def receipt_stem(recording_key: str) -> str:
    """The prefix of all receipts of one recording, and of no other."""
    encoded = recording_key.translate(_ESCAPES)
    if len(encoded.encode()) >= _PART:
        encoded = "".join(_split_long(encoded))
    return f"{RECEIPTS}{encoded}!"


def _split_long(encoded: str) -> Iterator[str]:
    size = 0
    for character in encoded:
        yield character
        size += len(character.encode())
        # Split after a character, not before the next one, so that two keys that differ there are split alike. Split at
        # the very end too: SeaweedFS lists the folder "x" before the file "x!...".
        if size >= _PART:
            yield "/"
            size = 0


def receipt_key(
    recording_key: str, fingerprint: str, status: ReceiptStatus = "done", formats: Collection[Format] = FORMATS
) -> str:
    """The receipt's key in the destination.

    Raises `KeyUnusable` if it would exceed 1,024 bytes, or if the recording's key is not valid.
    """
    check_key(recording_key)
    said = "quarantined"
    if status == "done":
        said = "".join(letter for format, letter in _LETTERS.items() if format in formats or format == "json")
    key = f"{receipt_stem(recording_key)}{fingerprint}{'' if said == _ALL else '.' + said}.json"
    check_key(key)
    return key


def parse_receipt_key(key: str, recording_key: str | None = None) -> ReceiptName | None:
    """The inverse of `receipt_key`; None for an object that is not a receipt.

    ``recording_key``: the recording's key, if known; decoding it takes most of the time.
    """
    match = _RECEIPT.fullmatch(key)
    if match is None:
        return None
    encoded, fingerprint, said = match.groups()
    recording_key = recording_key or unquote(encoded.replace("/", ""))
    if said == "quarantined":
        return ReceiptName(recording_key, fingerprint, "quarantined")
    return ReceiptName(recording_key, fingerprint, "done", _formats(said or _ALL))


@cache
def _formats(letters: str) -> frozenset[Format]:
    return frozenset(format for format, letter in _LETTERS.items() if letter in letters)


def list_receipts(
    destination: ObjectStore, *, prefix: str = RECEIPTS, start_after: str = "", page_size: int | None = None
) -> Iterator[ReceiptName]:
    """All receipts by name, sorted by recording key, with one page in memory; the receipts themselves are not read.

    Multiple done receipts of one fingerprint are merged into one, with the formats of all.
    """
    return _merge(destination.list(prefix, start_after=start_after, page_size=page_size))


def find_receipts(destination: ObjectStore, recording_key: str, fingerprint: str) -> list[ReceiptName]:
    """The receipts of one work item, as in `list_receipts`, at a cost independent of the number of receipts."""
    return list(_merge(_of_item(destination, recording_key, fingerprint)))


def delete(destination: ObjectStore, recording_key: str, fingerprint: str) -> None:
    """Delete all receipts of one work item."""
    for info in list(_of_item(destination, recording_key, fingerprint)):
        destination.delete(info.key)


def _of_item(destination: ObjectStore, recording_key: str, fingerprint: str) -> Iterator[ObjectInfo]:
    return destination.list(f"{receipt_stem(recording_key)}{fingerprint}", endings=_endings())


@cache
def _endings() -> frozenset[str]:
    """Possible endings of a receipt's key, after the fingerprint."""
    chosen = product(*(("", letter) for format, letter in _LETTERS.items() if format != "json"))
    return frozenset((".json", ".quarantined.json", *(f".{_LETTERS['json']}{''.join(one)}.json" for one in chosen)))


def _merge(listed: Iterable[ObjectInfo]) -> Iterator[ReceiptName]:
    names = filter(None, (parse_receipt_key(info.key) for info in listed))
    for _, group in groupby(names, itemgetter(0, 1, 2)):
        alike = list(group)
        yield alike[0]._replace(formats=frozenset().union(*(name.formats for name in alike)))


def write(destination: ObjectStore, receipt: Receipt) -> bool:
    """Write a receipt, the last step of a work item. Returns False if another run has already written the same one.

    A done receipt is written only if absent. It deletes the quarantine receipt of an earlier attempt or of a failed
    rendering. A quarantine receipt replaces the previous one and continues its count of attempts.
    """
    key = receipt_key(receipt.key, receipt.fingerprint, receipt.status, receipt.formats)
    data = receipt.model_dump_json(indent=1).encode()
    done = receipt.status == "done"
    written = destination.put_bytes(key, data, content_type="application/json", if_absent=done)
    if done:
        destination.delete(receipt_key(receipt.key, receipt.fingerprint, "quarantined"))
    return written


def read(destination: ObjectStore, name: ReceiptName) -> Receipt | None:
    """Read a listed receipt; for multiple done receipts, the first, with the formats and outputs of all.

    Returns None if it no longer exists or, with a warning, if it cannot be read: one unreadable receipt must not block
    all others.
    """
    if name.status == "quarantined":
        return _read(destination, receipt_key(name.key, name.fingerprint, name.status))
    listed = _of_item(destination, name.key, name.fingerprint)
    keys = [info.key for info in listed if not info.key.endswith(".quarantined.json")]
    found = [receipt for key in keys if (receipt := _read(destination, key))]
    if not found:
        return None
    first = min(found, key=lambda receipt: receipt.created_at)
    formats = {format for receipt in found for format in receipt.formats}
    outputs = dict.fromkeys(output for receipt in found for output in receipt.outputs)
    return first.model_copy(
        update={"formats": tuple(format for format in FORMATS if format in formats), "outputs": tuple(outputs)}
    )


def _read(destination: ObjectStore, key: str) -> Receipt | None:
    try:
        data = destination.get_bytes(key, None)
        return None if data is None else Receipt.model_validate_json(data)
    except ValidationError as error:
        message = f"{destination.uri_of(key)} is not a valid receipt: {error.error_count()} of its values are invalid."
        logger.warning("%s", ReceiptCorrupt(message))
    except (AccessDenied, RecordingError) as error:  # concerns only this receipt, since it was listed
        logger.warning("%s", error)
    return None


# -- other small JSON objects: one that cannot be read must not block all others --------------------------------------


def read_model(store: ObjectStore, key: str, kind: type[M]) -> M | None:
    """An object's content; None if it does not exist or, with a warning, if it cannot be read."""
    try:
        data = store.get_bytes(key, None)
        return None if data is None else kind.model_validate_json(data)
    except ValidationError as error:
        warn_skipped(store, key, error)
    except RecordingError as error:  # archived with old objects, for example
        logger.warning("Skipped %s: %s", store.uri_of(key), error)
    return None


def warn_skipped(store: ObjectStore, key: str, error: ValidationError) -> None:
    """Log that an object is skipped."""
    logger.warning("Skipped %s: %d of its values are invalid.", store.uri_of(key), error.error_count())
