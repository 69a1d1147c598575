"""S3 listings, several times faster than boto3's, and read one page ahead.

boto3 still signs, sends and retries requests; only the response's XML is parsed here. botocore builds dicts from its
service model, tries dates in five formats and so on, which takes 60 µs for each of possibly millions of objects.

A listing is complete or it fails: objects that are not listed would silently not be transcribed. If a truncated page
has no valid continuation token, the listing continues by other means. Every object is listed once.
"""

import re
import threading
from array import array
from binascii import a2b_qp
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from contextvars import ContextVar
from datetime import datetime
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import unquote_plus
from xml.parsers import expat

from stenopool.errors import LocationInvalid, StorageUnavailable
from stenopool.runtime.logs import logger
from stenopool.storage.base import ObjectInfo

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")

# Classes that must be restored before reading. Google's ARCHIVE and AWS's GLACIER_IR can be read immediately.
_ARCHIVED = frozenset(("GLACIER", "DEEP_ARCHIVE"))

# Set during calls of this module: the hook ignores other calls with the same client.
_cut: ContextVar["_Cut | None"] = ContextVar("stenopool_listing", default=None)
_PAGE = "StenopoolPage"
_STALE_PAGES = 3  # consecutive, without a new key: the tokens form a loop
_FAULTY = (
    "The store, or a proxy in front of it, returns invalid ListObjectsV2 responses. Update it, or bypass the proxy."
)


class _Cut(NamedTuple):
    """The required prefix of a listing's keys, and the number of characters to remove from each."""

    prefix: str
    skip: int


class Page(NamedTuple):
    """The response to one LIST request.

    ``last``: the last key listed, in full.
    ``token``: the continuation token, if any.
    ``old``: the response is that of ListObjects version 1: the server supports neither tokens nor StartAfter.
    """

    objects: list[ObjectInfo]
    truncated: bool
    token: str = ""
    last: str = ""
    old: bool = False


def read_listings_fast(client: "S3Client") -> None:
    """Prepare a client for `list_pages`; its other calls are not affected."""
    # With "*", it runs before botocore's hook "before-parse.s3.*", which parses the whole page only to detect errors.
    # The other order would also work, at half the speed.
    for operation in ("ListObjectsV2", "ListObjects"):
        client.meta.events.register(f"before-parse.*.{operation}", _read, unique_id=f"stenopool-{operation}")


def list_pages(client: "S3Client", *, skip: int = 0, **request: Any) -> Iterator[list[ObjectInfo]]:
    """The pages of a ListObjectsV2 request with a prepared client; every object once.

    ``skip``: number of characters to remove from the start of each key; shorter keys are omitted.

    From the second page on, the next page is requested while the current one is processed. Not for the first page, so
    that an existence check costs only one request.

    Raises botocore's errors, and `StorageUnavailable` if the server's responses never reach the end.
    """
    listing = _Listing(client, _Cut(request["Prefix"], skip), request)
    page, ahead = listing.begin(), False
    while True:
        fresh = listing.add(page)
        following = listing.following(page, fresh)
        coming = _begin(following) if following and ahead else None
        yield fresh
        if following is None:
            return
        page, ahead = coming.result() if coming else following(), True


class _Listing:
    """State of a listing: the keys listed so far, and the ways of continuing that have failed."""

    def __init__(self, client: "S3Client", cut: _Cut, request: dict[str, Any]) -> None:
        self._client, self._cut, self._request = client, cut, request
        self._where = f"s3://{request['Bucket']}/{cut.prefix}"
        self._last, self._reached = "", ""  # the greatest key; the last key of the last page with new objects
        self._tokens = set[str]()
        # Eight bytes per key. Converted to a set, ten times as large, only if a server lists out of order.
        self._hashes, self._known = array("q"), set[int]()
        self._stale, self._by_key, self._old, self._repeats = 0, False, False, False

    def begin(self) -> Page:
        """The first page."""
        page = self._fetch(self._request)
        self._old = page.old
        if page.old and (after := self._request.get("StartAfter")):  # which this server ignored
            page = self._fetch_old(after)
        return page

    def add(self, page: Page) -> list[ObjectInfo]:
        """The objects of a page that were not in an earlier page."""
        keys = [info.key for info in page.objects]
        hashes = array("q", map(hash, keys))
        in_order = all(one < other for one, other in pairwise([self._last, *keys])) or not keys
        if in_order and not self._known:
            fresh = page.objects
        else:
            known = self._known or set(self._hashes)
            fresh = []
            for info, digest in zip(page.objects, hashes, strict=True):
                if digest not in known:
                    known.add(digest)
                    fresh.append(info)
            self._known = known
            if len(fresh) < len(keys) and not self._repeats:
                logger.warning("%s: the store lists objects more than once; duplicates are ignored.", self._where)
                self._repeats = True
        self._hashes += hashes
        if keys:
            self._last = max(self._last, keys[-1])
        if fresh or not self._reached:
            self._reached = page.last
        self._stale = 0 if fresh or not keys else self._stale + 1
        return fresh

    def following(self, page: Page, fresh: list[ObjectInfo]) -> Callable[[], Page] | None:
        """The request for the next page; None after the last one."""
        if not page.truncated:
            return None
        if page.token and page.token not in self._tokens and self._stale < _STALE_PAGES and not self._old:
            self._tokens.add(page.token)
            return partial(self._fetch, {**self._request, "ContinuationToken": page.token})
        if not self._reached:
            raise self._endless("A page without objects is marked as truncated but has no continuation token.")
        if self._by_key and not fresh:
            if self._old:
                raise self._endless("The same page is returned repeatedly.")
            self._old = True  # version 1 servers use only Marker
        if not self._by_key:
            logger.warning("%s: a truncated page has no usable token; the listing continues by key.", self._where)
        self._by_key = True
        return partial(self._fetch_old if self._old else self._fetch_after, self._reached)

    def _fetch_after(self, key: str) -> Page:
        return self._fetch({**self._request, "StartAfter": key})

    def _fetch_old(self, key: str) -> Page:
        plain = {name: value for name, value in self._request.items() if name != "StartAfter"}
        return _page(self._client.list_objects, self._cut, {**plain, "Marker": key})

    def _fetch(self, request: dict[str, Any]) -> Page:
        return _page(self._client.list_objects_v2, self._cut, request)

    def _endless(self, what: str) -> StorageUnavailable:
        return StorageUnavailable(f"The listing of {self._where} is incomplete. {what}", remedy=_FAULTY)


def archived_class(name: str) -> str:
    """The storage class if objects in it must be restored before reading, otherwise empty."""
    return name if name in _ARCHIVED else ""


def _begin(work: Callable[[], T]) -> "Future[T]":
    """Start work in a daemon thread: a pool's thread would keep the process alive while a server hangs."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="stenopool-listing", daemon=True).start()
    return future


def _page(call: Callable[..., Any], cut: _Cut, request: dict[str, Any]) -> Page:
    reset = _cut.set(cut)
    try:
        answer = call(**request)
    finally:
        _cut.reset(reset)
    where = f"s3://{request['Bucket']}/{cut.prefix}"
    found = answer.get(_PAGE)
    if isinstance(found, Page):
        return found
    plain = re.sub("/+", "/", cut.prefix).lstrip("/")
    if found and plain != cut.prefix and str(found).startswith(plain):
        raise LocationInvalid(
            f"{where} cannot be listed: this store ignores leading and repeated slashes.",
            remedy=f"Use s3://{request['Bucket']}/{plain}, which the store lists instead.",
        )
    what = f"its keys do not start with the prefix: {found!r}" if found else "the response is not a listing"
    raise StorageUnavailable(f"{where} cannot be listed: {what}.", remedy=_FAULTY)


def _read(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> None:
    """botocore's hook before parsing. A response that is not a listing is left to botocore's parser and its errors."""
    cut = _cut.get()
    if cut is None or response_dict["status_code"] != 200:
        return
    with suppress(expat.ExpatError, ValueError):
        customized_response_dict[_PAGE] = _parse(response_dict["body"], cut)
        response_dict["body"] = b"<ListBucketResult/>"


def _parse(body: bytes, cut: _Cut) -> Page | str:
    """Parse a page, or return a key that is outside the prefix. Raises `ExpatError` or ValueError for other XML."""
    texts = _collect_texts(body)
    keys = _decode(texts["Key"]) if "url" in texts["EncodingType"] else texts["Key"]
    for key in keys:
        if not key.startswith(cut.prefix):
            return key
    names = ("Size", "ETag", "LastModified", "StorageClass")
    described = zip(keys, *(texts[name] for name in names), strict=True)
    objects = [
        ObjectInfo(
            key[cut.skip :],
            int(size),
            etag.strip('"'),
            datetime.fromisoformat(modified).timestamp(),
            archived_class(kind),
        )
        for key, size, etag, modified, kind in described
        if len(key) != cut.skip  # else the folder marker that consoles write
    ]
    truncated, token, most = ("".join(texts[name]) for name in ("IsTruncated", "NextContinuationToken", "MaxKeys"))
    return Page(
        objects,
        # A full page without IsTruncated may not be the last one.
        truncated=truncated.strip().lower() == "true" if truncated else bool(token) or len(keys) >= int(most or 1000),
        token=token.strip(),
        last=keys[-1] if keys else "",
        old=bool(texts["Marker"]) and not texts["KeyCount"],
    )


def _collect_texts(body: bytes) -> dict[str, list[str]]:
    """The texts of the relevant elements, in the order of the objects; each object has one of the first five.

    Not ElementTree, which parses as fast, but whose thousands of elements the garbage collector traverses repeatedly.
    """
    wanted = (
        *("Key", "Size", "ETag", "LastModified", "StorageClass"),
        *("EncodingType", "IsTruncated", "MaxKeys", "NextContinuationToken", "KeyCount", "Marker"),
    )
    texts: dict[str, list[str]] = {name: [] for name in wanted}
    text: list[str] = []
    root = ""

    def start(*_: object) -> None:
        text.clear()

    def end(name: str) -> None:
        nonlocal root
        root = name
        if name in texts:
            texts[name].append("".join(text))
        elif name == "Contents" and len(texts["StorageClass"]) < len(texts["Key"]):
            texts["StorageClass"].append("")  # not every server sends it
        text.clear()

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text.append
    parser.Parse(body, True)
    if root != "ListBucketResult":
        raise ValueError(f"{root} is not a listing")
    return texts


def _decode(keys: list[str]) -> list[str]:
    """URL-decode many keys at once.

    Quoted-printable is URL encoding with "=" in place of "%", and its decoder is written in C. Decoding each key with
    urllib would take as long as all other processing of a page.
    """
    if any("%00" in key for key in keys):
        return [unquote_plus(key, errors="surrogateescape") for key in keys]
    quoted = "\0".join(keys).replace("=", "%3D").replace("%", "=").replace("+", " ")
    return a2b_qp(quoted.encode()).decode(errors="surrogateescape").split("\0") if keys else []
