"""Receipts: the small objects that say "this fingerprint is done" or "quarantined, and why". Receipts are the truth.

Everything that a listing must tell stands in the receipt's own key, so that planning reads no receipt:

    .receipts/<encoded key>!<fingerprint>.json                  done, in all formats
    .receipts/<encoded key>!<fingerprint>.jsv.json              done, in the formats of these letters
    .receipts/<encoded key>!<fingerprint>.quarantined.json      quarantined

A done receipt never changes. Formats that are rendered later get another receipt, and what is there is what all of
a fingerprint's receipts say together: no order of writing, and no kill in between, makes one claim a file that is not.

The encoded key is the recording's key with every byte below "0" (0x30) as %XX, so receipts sort as their recordings
do: "!" and "%" are below every other byte that can follow. A "/" goes in after each 200 bytes or a little more,
because a file name on a disk ends at 255; where it goes depends only on what stands before it, so order is kept.
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
# Names spelled out would make file names longer than a disk can hold.
_LETTERS: dict[Format, str] = {"json": "j", "srt": "s", "vtt": "v", "txt": "t", "tsv": "c", "rttm": "r", "html": "h"}
# What a key without letters says, for ever: a format that is added later gets a letter, and no place here.
_ALL = "jsvtcrh"
_RECEIPT = re.compile(rf"\.receipts/([^!]+)!([0-9a-f]{{32}})(?:\.(quarantined|[{''.join(_LETTERS.values())}]+))?\.json")


class Receipt(BaseModel, frozen=True):
    """What is kept of one item of work, written when everything else is.

    ``duration`` is seconds of audio; ``language`` is spoken most, and unknown in receipts of older versions.
    ``formats`` are those written; JSON always is. ``batch``: the batch that made it. ``flags``: the transcript's and
    those of its segments, each once. ``options``: of a quarantined recording, for `stenopool retry`; receipts of older
    versions have none, and a transcript says its own.
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
            raise ValueError("a quarantined recording has a failure, a done one has none")
        return self


class ReceiptName(NamedTuple):
    """What a receipt's own key says."""

    key: str
    fingerprint: str
    status: ReceiptStatus
    formats: frozenset[Format] = frozenset()


def output_key(recording_key: str, format: Format) -> str:
    """Where a transcript goes: below the whole source key, so that equal base names do not collide."""
    return f"{recording_key}/transcript.{format}"


def work_key(fingerprint: str, name: str) -> str:
    """Where a checkpoint between stages goes."""
    return f"{WORK}{fingerprint}/{name}"


@lru_cache(maxsize=8)  # a listing asks twice for each of its recordings
def receipt_stem(recording_key: str) -> str:
    """What the keys of all receipts of one recording begin with; no other recording's do."""
    encoded = recording_key.translate(_ESCAPES)
    if len(encoded.encode()) >= _PART:
        encoded = "".join(_split_long(encoded))
    return f"{RECEIPTS}{encoded}!"


def _split_long(encoded: str) -> Iterator[str]:
    size = 0
    for character in encoded:
        yield character
        size += len(character.encode())
        # Decided after a character, not before the next one: two keys that differ there are parted alike. And at the
        # very end too: SeaweedFS lists the folder "x" before the file "x!...".
        if size >= _PART:
            yield "/"
            size = 0


def receipt_key(
    recording_key: str, fingerprint: str, status: ReceiptStatus = "done", formats: Collection[Format] = FORMATS
) -> str:
    """The receipt's key in the destination.

    `RecordingError` KEY_UNUSABLE if it would exceed 1,024 bytes, or the recording's own key is none.
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

    ``recording_key``: whose it is, where that is known; decoding it takes most of the time.
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
    """All receipts by name, sorted by recording key, one page in memory; the receipts themselves are not read.

    Several done receipts of one fingerprint are told as one, with the formats of all.
    """
    return _merge(destination.list(prefix, start_after=start_after, page_size=page_size))


def find_receipts(destination: ObjectStore, recording_key: str, fingerprint: str) -> list[ReceiptName]:
    """The receipts of one item of work, as `list_receipts` gives them; its cost does not grow with their number."""
    return list(_merge(_of_item(destination, recording_key, fingerprint)))


def delete(destination: ObjectStore, recording_key: str, fingerprint: str) -> None:
    """Delete all receipts of one item of work."""
    for info in list(_of_item(destination, recording_key, fingerprint)):
        destination.delete(info.key)


def _of_item(destination: ObjectStore, recording_key: str, fingerprint: str) -> Iterator[ObjectInfo]:
    return destination.list(f"{receipt_stem(recording_key)}{fingerprint}", endings=_endings())


@cache
def _endings() -> frozenset[str]:
    """What can follow the fingerprint in a receipt's key."""
    chosen = product(*(("", letter) for format, letter in _LETTERS.items() if format != "json"))
    return frozenset((".json", ".quarantined.json", *(f".{_LETTERS['json']}{''.join(one)}.json" for one in chosen)))


def _merge(listed: Iterable[ObjectInfo]) -> Iterator[ReceiptName]:
    names = filter(None, (parse_receipt_key(info.key) for info in listed))
    for _, group in groupby(names, itemgetter(0, 1, 2)):
        alike = list(group)
        yield alike[0]._replace(formats=frozenset().union(*(name.formats for name in alike)))


def write(destination: ObjectStore, receipt: Receipt) -> bool:
    """Write a receipt, as the last thing of an item of work. False if another run has written the same already.

    A done receipt is written if-absent, and ends the quarantine that an earlier attempt, or the rendering of one more
    format, left; a quarantine's receipt replaces the one before, whose attempts it counts on.
    """
    key = receipt_key(receipt.key, receipt.fingerprint, receipt.status, receipt.formats)
    data = receipt.model_dump_json(indent=1).encode()
    done = receipt.status == "done"
    written = destination.put_bytes(key, data, content_type="application/json", if_absent=done)
    if done:
        destination.delete(receipt_key(receipt.key, receipt.fingerprint, "quarantined"))
    return written


def read(destination: ObjectStore, name: ReceiptName) -> Receipt | None:
    """A receipt that was listed; of several done ones the first, with the formats and outputs of all.

    None if it is gone by now or, with a warning, if it cannot be read: one receipt must not stand between a person
    and all the others.
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
        message = f"{destination.uri_of(key)} is not a receipt: {error.error_count()} of its values are wrong."
        logger.warning("%s", ReceiptCorrupt(message))
    except (AccessDenied, RecordingError) as error:  # this receipt alone, since it was listed
        logger.warning("%s", error)
    return None


# -- other small JSON objects: one that cannot be read must not stand between a person and all the others -------------


def read_model(store: ObjectStore, key: str, kind: type[M]) -> M | None:
    """An object's content; None if there is no such object or, with a warning, if it cannot be read."""
    try:
        data = store.get_bytes(key, None)
        return None if data is None else kind.model_validate_json(data)
    except ValidationError as error:
        warn_skipped(store, key, error)
    except RecordingError as error:  # archived with old objects, for example
        logger.warning("%s is skipped: %s", store.uri_of(key), error)
    return None


def warn_skipped(store: ObjectStore, key: str, error: ValidationError) -> None:
    """Log that an object is left out."""
    logger.warning("%s is skipped: %d of its values are wrong.", store.uri_of(key), error.error_count())
