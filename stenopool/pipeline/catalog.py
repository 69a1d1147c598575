"""Catalog of a source: its listing, joined with the listing of receipts, shows what remains to be done.

Both listings stream, with one page of each in memory; no recording and no receipt is read. The join walks two sorted
listings but does not require the source to be sorted: SeaweedFS lists "a/b" before "a b", and S3 Express lists in any
order. When a key is out of order, the receipts are listed again from that key, at the cost of one request.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from fnmatch import fnmatchcase
from itertools import chain
from math import inf
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import unquote

from pydantic import AwareDatetime, BaseModel, Field

from stenopool.errors import (
    AccessDenied,
    Failure,
    LocationInvalid,
    ObjectArchived,
    ObjectDenied,
    ObjectNotFound,
    ObjectUnreadable,
    RecordingError,
    StenopoolError,
    TransientError,
)
from stenopool.options import Format, TranscriptionOptions
from stenopool.pipeline import receipts
from stenopool.pipeline.checkpoints import STAGE_VERSIONS
from stenopool.runtime.logs import logger
from stenopool.storage.base import ObjectInfo, ObjectStore, Walk

# Files that are certainly not recordings. Everything else is inspected: recorders and messengers write names with a
# missing or wrong extension, and silently skipping a recording is worse than quarantining a file.
IGNORED_EXTENSIONS = frozenset(
    """
    txt md rst rtf pdf doc docx odt xls xlsx ods ppt pptx csv tsv json jsonl xml yaml yml toml html htm css js log
    srt vtt ass ssa lrc rttm ctm stm textgrid eaf trs cue m3u m3u8 pls nfo
    jpg jpeg png gif bmp webp tif tiff svg ico heic psd
    zip tar gz tgz bz2 xz zst 7z rar md5 sha1 sha256 sha512 sfv sig asc npy npz parquet pkl db sqlite
    py sh bat exe dll so ini cfg conf lnk url lock bak
    part partial filepart crdownload download aria2 tmp temp swp
    """.split()  # noqa: SIM905 (a hundred quoted words are hard to read)
)

_OURS = (receipts.API, receipts.BATCHES, receipts.CALLBACKS, receipts.METRICS, receipts.RECEIPTS, receipts.WORK)
_OUTPUTS = ("transcript.", "audio.", "speakers.json")
_json = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode
_WILDCARD = re.compile(r"[*?\[]")
_ASKED_TOGETHER, _ASKED_AT_A_TIME = 1000, 16  # requests about archived objects
_MARKERS = ("/", "_$folder$")  # folder markers: consoles write the first, Hadoop the second
# A path component that starts with a dot, except "." and "..", which no store can hold; such keys are reported.
_HIDDEN = re.compile(r"(?:^|/)\.(?!\.?(?:/|\Z))")
_BEYOND = "\U0010ffff"  # sorts after every real key with the same beginning


class Recording(BaseModel, frozen=True):
    """One audio or video object in the source, as listed.

    ``key`` is relative to the source; ``uri`` is the full address. ``etag`` identifies the content: the store's ETag,
    or size and modification time for a folder.
    """

    uri: str
    key: str
    size: int
    etag: str
    modified: float


def fingerprint(recording: Recording | ObjectInfo, options: TranscriptionOptions) -> str:
    """Digest of recording identity, options and stage versions: 32 hex digits that identify a work item.

    Options with their default value are omitted, so a release that adds an option does not make recordings pending
    again. Engine, model and diarization are always included.
    """
    return fingerprinter(options)(recording)


def fingerprinter(options: TranscriptionOptions) -> Callable[[Recording | ObjectInfo], str]:
    """Like `fingerprint`, for many recordings with the same options, which are encoded once."""
    chosen: dict[str, Any] = options.model_dump(mode="json", exclude_defaults=True)
    chosen |= {"engine": options.engine, "model": options.model, "diarization": options.diarization}
    options_text, stages_text = _json(chosen), _json(STAGE_VERSIONS)

    def digest(recording: Recording | ObjectInfo) -> str:
        # JSON with sorted keys, assembled by hand: for a million recordings, this is most of the planning time.
        text = (
            f'{{"etag":{_json(recording.etag)},"key":{_json(recording.key)},"options":{options_text},'
            f'"size":{recording.size},"stages":{stages_text}}}'
        )
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    return digest


class Selection(BaseModel, frozen=True, extra="forbid", use_attribute_docstrings=True):
    """Rules for selecting objects of the source."""

    prefix: str = ""
    """Only keys with this prefix are listed."""
    include: tuple[str, ...] = ()
    """Key patterns to include, e.g. calls/*.wav (* matches / too); empty: all but hidden ones and other file types."""
    exclude: tuple[str, ...] = ()
    """Key patterns to exclude; takes precedence over include."""
    modified_since: AwareDatetime | None = None
    """Only objects written at or after this time (with time zone)."""
    max_count: Annotated[int | None, Field(ge=1)] = None
    """Maximum number of recordings, new and retried ones together."""
    only: tuple[str, ...] = ()
    """Process exactly these keys or addresses, if the other rules allow them; the source is not listed."""

    def takes(self, key: str, modified: float) -> bool:
        """Whether to select an object with this key and Unix time. Empty objects are selected, to be reported."""
        if not key or key.endswith(_MARKERS) or _is_hidden(key):
            return False
        if not key.startswith(self.prefix):
            return False
        if self.modified_since and modified < self.modified_since.timestamp():
            return False
        if any(fnmatchcase(key, pattern) for pattern in self.exclude):
            return False
        if self.include:
            return any(fnmatchcase(key, pattern) for pattern in self.include)
        _, dot, extension = key.rpartition("/")[2].rpartition(".")
        return not dot or extension.lower() not in IGNORED_EXTENSIONS

    def enters(self, folder: str) -> bool:
        """Whether to walk a folder (its key ends in "/"): not if everything in it is excluded or nothing is included.

        Hidden folders are walked, because a destination is recognized by its hidden folders.
        """
        # A pattern that ends in "*" and matches the folder's key matches all keys below it; no other pattern does.
        if any(pattern.endswith("*") and fnmatchcase(folder, pattern) for pattern in self.exclude):
            return False
        beginnings = [_WILDCARD.split(pattern, maxsplit=1)[0] for pattern in self.include]
        return (
            _is_hidden(folder)
            or not beginnings
            or any(one.startswith(folder) or folder.startswith(one) for one in beginnings)
        )

    def reports(self, key: str) -> bool:
        """Whether to report an unreadable object or a non-file: it might be a selected recording or contain some."""
        if not key.endswith("/"):
            return self.takes(key, inf)
        # A pattern for the folder's own name excludes the folder, although it matches no key in it.
        named = any(fnmatchcase(key.rstrip("/"), pattern) for pattern in self.exclude)
        return self.enters(key) and not named and not _is_hidden(key)


def _is_hidden(key: str) -> bool:
    return (key.startswith(".") or "/." in key) and _HIDDEN.search(key) is not None


_DEFAULT = Selection()


class CatalogEntry(NamedTuple):
    """One recording and its state.

    ``failure`` is set if the listing itself shows a fault: the key is too long for its receipt or transcripts, the
    object is archived, a folder cannot be read. No receipt is written for it, because every listing shows it again at
    no cost. The state is "waiting" if the fault may be gone in the next run.

    ``missing``: in the state "render", the requested formats that have not been rendered yet.
    ``outlived``: a quarantine receipt still exists, although everything is done.
    ``superseded``: fingerprints of other options or contents that have receipts; they are deleted when the new
    transcript overwrites the old one.
    """

    recording: Recording
    fingerprint: str
    state: Literal["new", "done", "quarantined", "waiting", "render"]
    failure: Failure | None = None
    missing: tuple[Format, ...] = ()
    outlived: bool = False
    superseded: tuple[str, ...] = ()
    archived: str = ""
    """The storage class from which it must be restored."""


def list_entries(
    source: ObjectStore,
    destination: ObjectStore,
    options: TranscriptionOptions,
    selection: Selection = _DEFAULT,
    formats: tuple[Format, ...] = (),
) -> Iterator[CatalogEntry]:
    """All selected recordings with their states, in the source's order; ``selection.max_count`` is left to the plan.

    A recording is done or quarantined only if it has a receipt for exactly this content, these options and these stage
    versions; otherwise it is new. A recording that is done but lacks some of ``formats`` is in the state "render": its
    transcript exists as JSON. Stenopool's outputs are never used as input, wherever source and destination are.

    A key of ``selection.only`` that cannot be read gets a failure; the others are listed as usual.

    Raises `LocationInvalid` if both are the same folder (a file cannot also be a folder of transcripts), and the
    stores' errors.
    """
    found: Iterator[tuple[ObjectInfo, Failure | None, Iterator[receipts.ReceiptName]]]
    outputs = _Outputs(source, destination)
    if selection.only:  # one request per key for its receipts
        keys = select_keys(source, destination, selection.only, selection)
        found = (
            (*_look_up(source, key), receipts.list_receipts(destination, prefix=receipts.receipt_stem(key)))
            for key in keys
        )
    else:
        walk = Walk(selection.enters)
        listing = _listing(source, _own_prefixes(source, destination), selection.prefix, walk)
        if source.uri == destination.uri:
            listing = _without_outputs(listing)
        cursor = _ReceiptCursor(destination)
        found = (
            (info, failure, iter(()) if failure else cursor.receipts_of(info.key))
            for info, failure in _with_unreadable(outputs.learn(listing, selection.prefix), walk, selection)
        )
    digest_of = fingerprinter(options)
    archived = list[tuple[ObjectInfo, CatalogEntry]]()
    for info, unreadable, names in found:
        if not unreadable and (not selection.takes(info.key, info.modified) or outputs.has(info.key)):
            continue
        recording, unusable = _recording(source, destination, info)
        digest = digest_of(recording)
        failure = unreadable or unusable
        entry = None if failure else _entry(recording, digest, names, formats)
        if failure:
            state: Literal["waiting", "quarantined"] = "waiting" if failure.code.retryable else "quarantined"
            yield CatalogEntry(recording, digest, state, failure)
        elif entry and entry.state == "new" and info.archived:  # irrelevant for finished recordings
            archived.append((info, entry))
            if len(archived) == _ASKED_TOGETHER:
                yield from _ask_for_restored(source, archived)
                archived = []
        elif entry:
            yield entry
    yield from _ask_for_restored(source, archived)


def _ask_for_restored(source: ObjectStore, archived: list[tuple[ObjectInfo, CatalogEntry]]) -> Iterator[CatalogEntry]:
    """Recordings in an archive storage class; those that have not been restored get a failure.

    A listing shows the class of restored objects too, so this sends one request per object; no content is read.
    """

    def ask(key: str) -> bool:
        with suppress(StenopoolError):
            return source.is_restored(key)
        return False

    if not archived:
        return
    with ThreadPoolExecutor(_ASKED_AT_A_TIME) as pool:
        restored = pool.map(ask, [info.key for info, _ in archived])
        for (info, entry), is_restored in zip(archived, restored, strict=True):
            if not is_restored:
                message = f"{info.key} is in the storage class {info.archived}."
                failure = ObjectArchived(message).failure("catalog")
                entry = entry._replace(state="waiting", failure=failure, archived=info.archived)
            yield entry


def _with_unreadable(
    listing: Iterator[ObjectInfo], walk: Walk, selection: Selection
) -> Iterator[tuple[ObjectInfo, Failure | None]]:
    """A listing, interleaved with unreadable entries that might be recordings or contain some."""
    end = ObjectInfo("", 0, "", 0.0)
    for info in chain(listing, [end]):
        while walk.unreadable:
            key = next(iter(walk.unreadable))
            error = walk.unreadable.pop(key)
            if selection.reports(key):
                yield ObjectInfo(key, 0, "", 0.0), error.failure("catalog")
        if info is not end:
            yield info, None


def select_keys(
    source: ObjectStore, destination: ObjectStore, keys: Iterable[str], selection: Selection = _DEFAULT
) -> Iterator[str]:
    """The keys that a listing would select too, as far as names show, without duplicates; no recording is read.

    Keys that the selection excludes and Stenopool's own outputs are omitted. Raises the same errors as `list_entries`.
    """
    own, outputs = _own_prefixes(source, destination), _Outputs(source, destination)
    for key in sorted({relative_key(source, key) for key in keys}):
        if selection.takes(key, inf) and not key.startswith(own) and not outputs.has(key, ask=True):
            yield key
        else:
            logger.debug("Skipped %s: a listing would not select it either.", key)


def selects_nothing(source: ObjectStore, destination: ObjectStore, selection: Selection) -> bool:
    """Whether keys were given and none is selected. A run that selects nothing must write nothing.

    Otherwise a trigger that reports written objects would start another run for the objects of each run, forever.
    """
    return bool(selection.only) and next(select_keys(source, destination, selection.only, selection), None) is None


def relative_key(source: ObjectStore, name: str) -> str:
    """The key of a recording that is given by its key, its address or, in a folder, its path."""
    key = name.removeprefix(f"{source.uri}/")
    if source.uri.startswith("file:"):
        root = unquote(source.uri.removeprefix("file://"))
        key = name.removeprefix(f"{root}/").removeprefix("./") if key == name else unquote(key)
    return key


def _look_up(source: ObjectStore, key: str) -> tuple[ObjectInfo, Failure | None]:
    """An object as a listing would show it, or why it cannot be read. Raises errors that concern the whole store."""
    try:
        return source.head(key), None
    except ObjectNotFound:
        source.check_root()
        remedy = "It was deleted or renamed, or its key is misspelled."
        failure = ObjectNotFound(f"The source has no object {key}.", remedy=remedy).failure("catalog")
    except AccessDenied as error:
        source.check_root()
        failure = ObjectDenied(error.message).failure("catalog")
    except TransientError as error:
        source.check_root()
        failure = ObjectUnreadable(error.message).failure("catalog")
    except RecordingError as error:
        failure = error.failure("catalog")
    return ObjectInfo(key, 0, "", 0.0), failure


def _recording(source: ObjectStore, destination: ObjectStore, info: ObjectInfo) -> tuple[Recording, Failure | None]:
    """A listed object as a recording, with a failure if its key cannot be read or used at the destination."""
    uri, failure = f"{source.uri}/{info.key}", None
    try:
        uri = source.uri_of(info.key)
        # The longest keys that will be written for this recording, whatever its fingerprint.
        destination.uri_of(receipts.receipt_key(info.key, "0" * 32, "quarantined"))
        destination.uri_of(receipts.output_key(info.key, "json"))
    except RecordingError as error:
        failure = error.failure("catalog")
    recording = Recording(uri=uri, key=info.key, size=info.size, etag=info.etag, modified=info.modified)
    return recording, failure


def _entry(
    recording: Recording, digest: str, names: Iterable[receipts.ReceiptName], formats: tuple[Format, ...]
) -> CatalogEntry:
    listed = list(names)
    there = [name for name in listed if name.fingerprint == digest]
    done = [name for name in there if name.status == "done"]
    if done:  # perhaps quarantined too: rendering failed, or a run was killed right after writing the receipt
        missing = tuple(format for format in formats if not any(format in name.formats for name in done))
        outlived = not missing and len(done) < len(there)
        return CatalogEntry(recording, digest, "render" if missing else "done", missing=missing, outlived=outlived)
    superseded = tuple({name.fingerprint: None for name in listed if name.fingerprint != digest})
    return CatalogEntry(recording, digest, "quarantined" if there else "new", superseded=superseded)


class _ReceiptCursor:
    """A position in the listing of receipts that follows the source's keys and moves back only if necessary."""

    def __init__(self, destination: ObjectStore) -> None:
        self._destination = destination
        self._listing: Iterator[ObjectInfo] = iter(())
        self._next = ""  # a key of the listing
        self._reached = _BEYOND  # prefix of the receipts requested last

    def receipts_of(self, key: str) -> Iterator[receipts.ReceiptName]:
        """All receipts of one recording, for any fingerprint."""
        stem = receipts.receipt_stem(key)
        # Python compares text by code points, which is the order of its UTF-8 bytes.
        if stem < self._reached:
            self._listing = self._destination.list(receipts.RECEIPTS, start_after=stem)
            self._forward()
        self._reached = stem
        # Receipts sort like their recordings, so earlier ones can be skipped without decoding their keys.
        while self._next < stem:
            self._forward()
        while self._next.startswith(stem):
            if name := receipts.parse_receipt_key(self._next, key):
                yield name
            self._forward()

    def _forward(self) -> None:
        info = next(self._listing, None)
        self._next = info.key if info else _BEYOND


def _own_prefixes(source: ObjectStore, destination: ObjectStore) -> tuple[str, ...]:
    """Prefixes of the source that contain Stenopool's own objects."""
    if source.uri == destination.uri:
        if source.uri.startswith("file:"):
            raise LocationInvalid(
                f"Source and destination are the same folder, {source.uri}.",
                remedy="Use a separate folder for the transcripts; it may be inside the source.",
            )
        return _OURS
    return () if (below := _way_between(source, destination)) is None else (below,)


def _way_between(outer: ObjectStore, inner: ObjectStore) -> str | None:
    """The prefix of the inner store's keys in the outer store, "" if they are the same; None if it is not inside."""
    below = f"{inner.uri}/".removeprefix(f"{outer.uri}/")
    if below == f"{inner.uri}/":
        return None
    return unquote(below) if outer.uri.startswith("file:") else below


class _Outputs:
    """Distinguishes recordings from outputs, in this destination or in another one inside the source.

    The page of a long recording comes with an audio file. Without this check, runs with two destinations inside one
    source would transcribe each other's audio files forever.
    """

    def __init__(self, source: ObjectStore, destination: ObjectStore) -> None:
        self._source = source
        self._around = _way_between(destination, source)
        self._destinations: dict[str, bool] = {}  # prefixes of the source, and whether each is a destination

    def learn(self, listing: Iterator[ObjectInfo], prefix: str) -> Iterator[ObjectInfo]:
        """Pass on a listing. Destinations are recognized by their hidden folders, which are listed first, without a
        request.
        """
        for folder in _parents(prefix) if prefix else ():
            self._is_destination(folder)
        for info in listing:
            before, hidden, _ = f"/{info.key}".partition(f"/{receipts.BATCHES}")
            if hidden:
                self._destinations[f"{before}/"[1:]] = True
            yield info

    def has(self, key: str, *, ask: bool = False) -> bool:
        """Whether an object is an output. ``ask``: check also for destinations that no listing has shown."""
        folder, _, name = key.rpartition("/")
        if not (folder and name.startswith(_OUTPUTS)):
            return False
        if self._around and self._exists(self._around + folder):
            return True
        # If source and destination are the same, `_without_outputs` has already removed the outputs, without a request.
        prefixes = (prefix for prefix in _parents(folder) if prefix or ask or self._around is None)
        return any(
            self._exists(folder.removeprefix(prefix)) or self._exists(folder) or self._has_receipt(prefix, folder)
            for prefix in prefixes
            if (self._is_destination(prefix) if ask else self._destinations.get(prefix))
        )

    def _is_destination(self, prefix: str) -> bool:
        if prefix not in self._destinations:
            self._destinations[prefix] = self._holds(prefix + receipts.BATCHES)
        return self._destinations[prefix]

    def _has_receipt(self, prefix: str, folder: str) -> bool:
        stem = prefix + receipts.receipt_stem(folder.removeprefix(prefix))
        return self._holds(stem)

    def _holds(self, prefix: str) -> bool:
        with suppress(AccessDenied, RecordingError):  # a folder that cannot be read is not a destination
            return any(self._source.list(prefix, page_size=1))
        return False

    def _exists(self, key: str) -> bool:
        with suppress(StenopoolError):
            return self._source.exists(key)
        return False


def _parents(key: str) -> Iterator[str]:
    """The prefixes of the folders that contain a key, starting with the outermost, ""."""
    yield ""
    for position, character in enumerate(key):
        if character == "/":
            yield key[: position + 1]


def _listing(source: ObjectStore, own: tuple[str, ...], prefix: str, walk: Walk) -> Iterator[ObjectInfo]:
    """The source below a prefix. Stenopool's own prefixes are not listed, as they may contain most of the objects."""
    start_after = ""
    while True:
        for info in source.list(prefix, start_after=start_after, walk=walk):
            if not info.key.startswith(own):
                yield info
                continue
            inside = next(one for one in own if info.key.startswith(one))
            if start_after != inside + _BEYOND:
                start_after = inside + _BEYOND
                break
        else:
            return


def _without_outputs(listing: Iterator[ObjectInfo]) -> Iterator[ObjectInfo]:
    """If the destination is the source: omit ``<key>/transcript.*`` and the other `_OUTPUTS` of each listed key.

    All keys listed between "a.wav" and "a.wav/..." start with "a.wav", so only keys that are a prefix of the current
    key need to be remembered.
    """
    beginnings: list[str] = []
    for info in listing:
        while beginnings and not info.key.startswith(beginnings[-1]):
            beginnings.pop()
        parent, _, name = info.key.rpartition("/")
        if parent in beginnings and name.startswith(_OUTPUTS):
            continue
        beginnings.append(info.key)
        yield info
