"""What is to be done: the source's listing joined with the receipts' listing.

Both stream, one page of each in memory, and neither a recording nor a receipt is touched. The join walks two sorted
listings. It does not rely on the source being sorted, though: SeaweedFS lists "a/b" before "a b", S3 Express lists in
any order. Where a key comes out of order the receipts are listed again from there, one more request.
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

# What is surely no recording. Everything else is looked at, whatever its name: recorders and messengers write names
# without extension and wrong ones, and a recording that is passed over silently is worse than one quarantined.
IGNORED_EXTENSIONS = frozenset(
    """
    txt md rst rtf pdf doc docx odt xls xlsx ods ppt pptx csv tsv json jsonl xml yaml yml toml html htm css js log
    srt vtt ass ssa lrc rttm ctm stm textgrid eaf trs cue m3u m3u8 pls nfo
    jpg jpeg png gif bmp webp tif tiff svg ico heic psd
    zip tar gz tgz bz2 xz zst 7z rar md5 sha1 sha256 sha512 sfv sig asc npy npz parquet pkl db sqlite
    py sh bat exe dll so ini cfg conf lnk url lock bak
    part partial filepart crdownload download aria2 tmp temp swp
    """.split()  # noqa: SIM905 (a hundred quoted words would not be read by anybody)
)

_OURS = (receipts.API, receipts.BATCHES, receipts.CALLBACKS, receipts.METRICS, receipts.RECEIPTS, receipts.WORK)
_OUTPUTS = ("transcript.", "audio.", "speakers.json")
_json = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode
_WILDCARD = re.compile(r"[*?\[]")
_ASKED_TOGETHER, _ASKED_AT_A_TIME = 1000, 16  # about archived objects
_MARKERS = ("/", "_$folder$")  # of folders: consoles write the first, Hadoop the second
# A part that begins with a dot; not "." or "..", which no store can hold: these keys are reported.
_HIDDEN = re.compile(r"(?:^|/)\.(?!\.?(?:/|\Z))")
_BEYOND = "\U0010ffff"  # sorts after whatever real keys go on with


class Recording(BaseModel, frozen=True):
    """One audio or video object in the source, as a listing gives it.

    ``key`` is relative to the source; ``uri`` is the whole address. ``etag`` tells one content from another: the
    store's own, or size and modification time for a folder.
    """

    uri: str
    key: str
    size: int
    etag: str
    modified: float


def fingerprint(recording: Recording | ObjectInfo, options: TranscriptionOptions) -> str:
    """Digest of recording identity + options + stage versions: 32 hex digits, the name of one item of work.

    Options at their default are left out, so a release that adds an option makes nothing pending again; engine,
    model and diarization always stand in it.
    """
    return fingerprinter(options)(recording)


def fingerprinter(options: TranscriptionOptions) -> Callable[[Recording | ObjectInfo], str]:
    """`fingerprint` for many recordings: what the options add is worked out once."""
    chosen: dict[str, Any] = options.model_dump(mode="json", exclude_defaults=True)
    chosen |= {"engine": options.engine, "model": options.model, "diarization": options.diarization}
    options_text, stages_text = _json(chosen), _json(STAGE_VERSIONS)

    def digest(recording: Recording | ObjectInfo) -> str:
        # JSON with its keys sorted, put together by hand: a million times over, that is most of what planning takes.
        text = (
            f'{{"etag":{_json(recording.etag)},"key":{_json(recording.key)},"options":{options_text},'
            f'"size":{recording.size},"stages":{stages_text}}}'
        )
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    return digest


class Selection(BaseModel, frozen=True, extra="forbid", use_attribute_docstrings=True):
    """Which objects of the source are transcribed."""

    prefix: str = ""
    """Only keys with this prefix; nothing else is listed."""
    include: tuple[str, ...] = ()
    """Key patterns to include, e.g. calls/*.wav (* matches / too); empty: all but hidden ones and other file types."""
    exclude: tuple[str, ...] = ()
    """Key patterns to exclude; takes precedence over include."""
    modified_since: AwareDatetime | None = None
    """Only objects written at or after this time (with time zone)."""
    max_count: Annotated[int | None, Field(ge=1)] = None
    """Stop after this many recordings, new and retried ones together."""
    only: tuple[str, ...] = ()
    """Only these keys or addresses, if the other rules allow them; nothing is listed."""

    def takes(self, key: str, modified: float) -> bool:
        """Whether an object of this key and Unix time is wanted. Objects without content are: they get reported."""
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
        """Whether a folder, whose key ends in "/", is walked: not if all in it is excluded, or nothing is included.

        Hidden ones are: a destination is known by what it hides.
        """
        # Only a pattern that ends in "*" and takes the folder's key takes all keys below it.
        if any(pattern.endswith("*") and fnmatchcase(folder, pattern) for pattern in self.exclude):
            return False
        beginnings = [_WILDCARD.split(pattern, maxsplit=1)[0] for pattern in self.include]
        return (
            _is_hidden(folder)
            or not beginnings
            or any(one.startswith(folder) or folder.startswith(one) for one in beginnings)
        )

    def reports(self, key: str) -> bool:
        """Whether something that cannot be read, or is not a file, might be a wanted recording, or hold some."""
        if not key.endswith("/"):
            return self.takes(key, inf)
        # Who excludes the folder's own name means it, though no key in it matches.
        named = any(fnmatchcase(key.rstrip("/"), pattern) for pattern in self.exclude)
        return self.enters(key) and not named and not _is_hidden(key)


def _is_hidden(key: str) -> bool:
    return (key.startswith(".") or "/." in key) and _HIDDEN.search(key) is not None


_DEFAULT = Selection()


class CatalogEntry(NamedTuple):
    """One recording and how things stand with it.

    ``missing``, in the state "render": the formats asked for that the finished transcript has not been rendered to.
    ``outlived``: there is a quarantine's receipt as well, although everything is done by now.
    ``failure`` is set where the listing says it: the key is too long for its receipt or transcripts, the object is
    archived, a folder cannot be read. No receipt is written: every listing says it again, at no cost, and nothing is
    lost sight of. The state is "waiting" where the next run may find it otherwise. ``superseded``: fingerprints
    of other options or contents that have receipts; these end when the new transcript overwrites theirs.
    """

    recording: Recording
    fingerprint: str
    state: Literal["new", "done", "quarantined", "waiting", "render"]
    failure: Failure | None = None
    missing: tuple[Format, ...] = ()
    outlived: bool = False
    superseded: tuple[str, ...] = ()
    archived: str = ""
    """The storage class that it has to be restored from."""


def list_entries(
    source: ObjectStore,
    destination: ObjectStore,
    options: TranscriptionOptions,
    selection: Selection = _DEFAULT,
    formats: tuple[Format, ...] = (),
) -> Iterator[CatalogEntry]:
    """Every recording selected, in the source's order, with its state; ``selection.max_count`` is the plan's business.

    Done or quarantined is only what has a receipt for exactly this content, these options and these stage versions;
    all else is new. What is done, but not in all of ``formats``, is to "render": the transcript is there, as JSON.
    Our own outputs are never taken as input, wherever source and destination lie.

    A key of ``selection.only`` that cannot be read has a failure, and the others are listed all the same.

    Raises `LocationInvalid` if both are the same folder (a file cannot also be a folder of transcripts),
    and what the stores raise.
    """
    found: Iterator[tuple[ObjectInfo, Failure | None, Iterator[receipts.ReceiptName]]]
    outputs = _Outputs(source, destination)
    if selection.only:  # one request for each one's receipts
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
        elif entry and entry.state == "new" and info.archived:  # where finished ones are does not matter
            archived.append((info, entry))
            if len(archived) == _ASKED_TOGETHER:
                yield from _ask_for_restored(source, archived)
                archived = []
        elif entry:
            yield entry
    yield from _ask_for_restored(source, archived)


def _ask_for_restored(source: ObjectStore, archived: list[tuple[ObjectInfo, CatalogEntry]]) -> Iterator[CatalogEntry]:
    """Recordings in a storage class that cannot be read, each with that failure unless it has been restored.

    A listing tells the class of restored ones too. Asking is a request for each, which reads nothing.
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
    """A listing, and what it met on the way that might be recordings or hold some, but cannot be read."""
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
    """Those of some keys that a listing would take too, as far as names can tell, each once; no recording is read.

    Left out are keys that the selection excludes, and what Stenopool itself wrote. Raises as `list_entries`.
    """
    own, outputs = _own_prefixes(source, destination), _Outputs(source, destination)
    for key in sorted({relative_key(source, key) for key in keys}):
        if selection.takes(key, inf) and not key.startswith(own) and not outputs.has(key, ask=True):
            yield key
        else:
            logger.debug("%s is left out: a listing would not take it either.", key)


def selects_nothing(source: ObjectStore, destination: ObjectStore, selection: Selection) -> bool:
    """Whether recordings are named and all are left out. A run that selects nothing must write nothing.

    A trigger that names what was written would start the next run for what the run before has written, for ever.
    """
    return bool(selection.only) and next(select_keys(source, destination, selection.only, selection), None) is None


def relative_key(source: ObjectStore, name: str) -> str:
    """The key that somebody means who names a recording by its key, its address or, in a folder, its path."""
    key = name.removeprefix(f"{source.uri}/")
    if source.uri.startswith("file:"):
        root = unquote(source.uri.removeprefix("file://"))
        key = name.removeprefix(f"{root}/").removeprefix("./") if key == name else unquote(key)
    return key


def _look_up(source: ObjectStore, key: str) -> tuple[ObjectInfo, Failure | None]:
    """What a listing would say of an object, or why this one cannot be read. What concerns all of them is raised."""
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
    """A listed object as a recording, and why it can't be one if its key can't be read or written to."""
    uri, failure = f"{source.uri}/{info.key}", None
    try:
        uri = source.uri_of(info.key)
        # The longest names that are going to be written for this recording, whatever its fingerprint.
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
    if done:  # and perhaps quarantined too: a rendering failed, or a run was killed right after it wrote the receipt
        missing = tuple(format for format in formats if not any(format in name.formats for name in done))
        outlived = not missing and len(done) < len(there)
        return CatalogEntry(recording, digest, "render" if missing else "done", missing=missing, outlived=outlived)
    superseded = tuple({name.fingerprint: None for name in listed if name.fingerprint != digest})
    return CatalogEntry(recording, digest, "quarantined" if there else "new", superseded=superseded)


class _ReceiptCursor:
    """A place in the receipts' listing that goes forward with the source's keys, and back only if it has to."""

    def __init__(self, destination: ObjectStore) -> None:
        self._destination = destination
        self._listing: Iterator[ObjectInfo] = iter(())
        self._next = ""  # a key of the listing
        self._reached = _BEYOND  # what the keys last asked for begin with

    def receipts_of(self, key: str) -> Iterator[receipts.ReceiptName]:
        """The receipts of one recording, of every fingerprint."""
        stem = receipts.receipt_stem(key)
        # Python compares text by code points, which is the order of its UTF-8 bytes.
        if stem < self._reached:
            self._listing = self._destination.list(receipts.RECEIPTS, start_after=stem)
            self._forward()
        self._reached = stem
        # Receipts sort as their recordings do, so nothing has to be decoded to know whose is passed by.
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
    """Prefixes of the source that hold what we wrote."""
    if source.uri == destination.uri:
        if source.uri.startswith("file:"):
            raise LocationInvalid(
                f"Source and destination are the same folder, {source.uri}.",
                remedy="Give the transcripts a folder of their own; it may lie inside the source.",
            )
        return _OURS
    return () if (below := _way_between(source, destination)) is None else (below,)


def _way_between(outer: ObjectStore, inner: ObjectStore) -> str | None:
    """The prefix of the keys of one store in the other, "" if they are the same; None if it is not inside."""
    below = f"{inner.uri}/".removeprefix(f"{outer.uri}/")
    if below == f"{inner.uri}/":
        return None
    return unquote(below) if outer.uri.startswith("file:") else below


class _Outputs:
    """Tells what was written for recordings, to our destination or to another one inside the source, from recordings.

    A long recording's page has its sound beside it, which would be transcribed in turn: by runs to two destinations
    inside one source, the output of each by the other, for ever.
    """

    def __init__(self, source: ObjectStore, destination: ObjectStore) -> None:
        self._source = source
        self._around = _way_between(destination, source)
        self._destinations: dict[str, bool] = {}  # prefixes of the source, and whether they are a destination's

    def learn(self, listing: Iterator[ObjectInfo], prefix: str) -> Iterator[ObjectInfo]:
        """A listing as it is. A destination's hidden folder, which is listed first, costs no request."""
        for folder in _parents(prefix) if prefix else ():
            self._is_destination(folder)
        for info in listing:
            before, hidden, _ = f"/{info.key}".partition(f"/{receipts.BATCHES}")
            if hidden:
                self._destinations[f"{before}/"[1:]] = True
            yield info

    def has(self, key: str, *, ask: bool = False) -> bool:
        """Whether an object is an output. ``ask``: also of a destination that no listing has shown."""
        folder, _, name = key.rpartition("/")
        if not (folder and name.startswith(_OUTPUTS)):
            return False
        if self._around and self._exists(self._around + folder):
            return True
        # A listing of the same place has left out ours already, without a request: `_without_outputs`.
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
        with suppress(AccessDenied, RecordingError):  # a folder that cannot be read is none of ours
            return any(self._source.list(prefix, page_size=1))
        return False

    def _exists(self, key: str) -> bool:
        with suppress(StenopoolError):
            return self._source.exists(key)
        return False


def _parents(key: str) -> Iterator[str]:
    """The prefixes of the folders that a key is in, from the outermost, which is ""."""
    yield ""
    for position, character in enumerate(key):
        if character == "/":
            yield key[: position + 1]


def _listing(source: ObjectStore, own: tuple[str, ...], prefix: str, walk: Walk) -> Iterator[ObjectInfo]:
    """The source below a prefix, without our own; jumped over, as those may hold more objects than all else."""
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
    """For a destination that is the source: leave out ``<key>/transcript.*`` and the other `_OUTPUTS` of a listed key.

    Whatever is listed between "a.wav" and "a.wav/..." begins with "a.wav", so it is enough to remember the keys that
    the present one begins with.
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
