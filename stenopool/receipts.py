"""Receipts: the small objects that say "this fingerprint is done" or "quarantined, and why". Receipts are the truth.

Everything that a listing must tell stands in the receipt's own key, so that planning reads no receipt:

    .receipts/<encoded key>!<fingerprint>.json                  done
    .receipts/<encoded key>!<fingerprint>.quarantined.json      quarantined

The encoded key is the recording's key with every byte below "0" (0x30) as %XX, so receipts sort as their recordings
do: "!" and "%" are below every other byte that can follow. A "/" goes in after each 200 bytes or a little more,
because a file name on a disk ends at 255; where it goes depends only on what stands before it, so order is kept.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Literal, NamedTuple, Self
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field, model_validator

from stenopool import __version__
from stenopool.errors import Failure
from stenopool.options import Format
from stenopool.storage.base import ObjectStore, check_key

RECEIPTS = ".receipts/"
WORK = ".work/"
BATCHES = ".batches/"

Status = Literal["done", "quarantined"]

_ESCAPES = {code: f"%{code:02X}" for code in range(0x30)}
_PART = 200  # bytes
_ENDINGS: dict[Status, str] = {"done": ".json", "quarantined": ".quarantined.json"}
_RECEIPT = re.compile(r"\.receipts/([^!]+)!([0-9a-f]{32})(\.quarantined)?\.json")


class Receipt(BaseModel):
    """What is kept of one piece of work, written when everything else is. ``duration`` is seconds of audio."""

    model_config = ConfigDict(frozen=True)

    key: str
    fingerprint: str
    status: Status
    failure: Failure | None = None
    attempts: Annotated[int, Field(ge=1)] = 1
    formats: tuple[Format, ...] = ()
    outputs: tuple[str, ...] = ()
    duration: float | None = None
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    stenopool_version: str = __version__

    @model_validator(mode="after")
    def _failure_if_quarantined(self) -> Self:
        if (self.status == "quarantined") != (self.failure is not None):
            raise ValueError("a quarantined recording has a failure, a done one has none")
        return self


class ReceiptName(NamedTuple):
    """What a receipt's own key says."""

    key: str
    fingerprint: str
    status: Status


def output_key(recording_key: str, format: Format) -> str:
    """Where a transcript goes: below the whole source key, so that equal base names do not collide."""
    return f"{recording_key}/transcript.{format}"


def work_key(fingerprint: str, name: str) -> str:
    """Where a checkpoint between stages goes."""
    return f"{WORK}{fingerprint}/{name}"


def receipt_stem(recording_key: str) -> str:
    """What the keys of all receipts of one recording begin with; no other recording's do."""
    encoded = recording_key.translate(_ESCAPES)
    if len(encoded) * 4 >= _PART:  # else too short to be parted, whatever it is made of
        encoded = "".join(_parted(encoded))
    return f"{RECEIPTS}{encoded}!"


def _parted(encoded: str) -> Iterator[str]:
    size = 0
    for character in encoded:
        yield character
        size += len(character.encode())
        # Decided after a character, not before the next one: two keys that differ there are parted alike. And at the
        # very end too: SeaweedFS lists the folder "x" before the file "x!...".
        if size >= _PART:
            yield "/"
            size = 0


def receipt_key(recording_key: str, fingerprint: str, status: Status = "done") -> str:
    """The receipt's key in the destination. `RecordingError` KEY_UNUSABLE if it would exceed 1,024 bytes."""
    key = f"{receipt_stem(recording_key)}{fingerprint}{_ENDINGS[status]}"
    check_key(key)
    return key


def parse_receipt_key(key: str) -> ReceiptName | None:
    """The inverse of `receipt_key`; None for an object that is not a receipt."""
    match = _RECEIPT.fullmatch(key)
    if match is None:
        return None
    encoded, fingerprint, quarantined = match.groups()
    return ReceiptName(unquote(encoded.replace("/", "")), fingerprint, "quarantined" if quarantined else "done")


def names(destination: ObjectStore, *, prefix: str = RECEIPTS, start_after: str = "") -> Iterator[ReceiptName]:
    """All receipts by name, sorted by recording key, one page in memory; the receipts themselves are not read."""
    for info in destination.list(prefix, start_after=start_after):
        name = parse_receipt_key(info.key)
        if name:
            yield name


def write(destination: ObjectStore, receipt: Receipt, *, replace: bool = False) -> bool:
    """Write a receipt, as the last thing of a piece of work. False if the work was already receipted by another run.

    A done receipt is written if-absent (unless ``replace``: more formats were rendered) and ends the quarantine that
    earlier attempts left; a quarantine's receipt replaces the one before, whose attempts it counts on.
    """
    key = receipt_key(receipt.key, receipt.fingerprint, receipt.status)
    if_absent = receipt.status == "done" and not replace
    data = receipt.model_dump_json(indent=1).encode()
    written = destination.put_bytes(key, data, content_type="application/json", if_absent=if_absent)
    if receipt.status == "done" and receipt.attempts > 1:
        destination.delete(receipt_key(receipt.key, receipt.fingerprint, "quarantined"))
    return written


def read(destination: ObjectStore, recording_key: str, fingerprint: str, status: Status = "done") -> Receipt:
    """The receipt; `SetupError` OBJECT_NOT_FOUND if there is none."""
    return Receipt.model_validate_json(destination.get_bytes(receipt_key(recording_key, fingerprint, status)))
