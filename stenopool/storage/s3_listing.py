"""S3 listings several times faster than boto3 gives them, and one page ahead of their reader.

boto3 still signs, sends and retries; only the answer is read by ourselves, straight from its XML. botocore builds
dicts by its model of the service, tries dates in five formats and so on: 60 µs per object, and there are millions.

A listing is complete, or it fails: what is not listed is not transcribed, and nobody would notice. So a truncated page
that says wrongly, or not at all, how to continue is followed by other means, and every object is listed once.
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

# Classes that have to be restored before they can be read. Google's ARCHIVE and AWS's GLACIER_IR can be read at once.
_ARCHIVED = frozenset(("GLACIER", "DEEP_ARCHIVE"))

# Set while a call is ours: the hook leaves calls that others make with the same client alone.
_cut: ContextVar["_Cut | None"] = ContextVar("stenopool_listing", default=None)
_PAGE = "StenopoolPage"
_STALE_PAGES = 3  # in a row, without a new key: a token leads in a circle
_FAULTY = "The store, or a proxy before it, answers ListObjectsV2 wrongly: update it, or address the store directly."


class _Cut(NamedTuple):
    """What keys of a listing must begin with, and how many of these characters are left out."""

    prefix: str
    skip: int


class Page(NamedTuple):
    """What one LIST request answers. ``last``: the last key listed, whole; ``token``: how to continue, if it says so.

    ``old``: the answer has the form of ListObjects, version 1: the server knows neither token nor StartAfter.
    """

    objects: list[ObjectInfo]
    truncated: bool
    token: str = ""
    last: str = ""
    old: bool = False


def read_listings_fast(client: "S3Client") -> None:
    """Prepare a client for `list_pages`; its other calls stay as they are."""
    # Named with "*", it comes before botocore's own hook "before-parse.s3.*", which parses the whole page for nothing
    # but to see whether it is an error. In another order it would work as well, at half the speed.
    for operation in ("ListObjectsV2", "ListObjects"):
        client.meta.events.register(f"before-parse.*.{operation}", _read, unique_id=f"stenopool-{operation}")


def list_pages(client: "S3Client", *, skip: int = 0, **request: Any) -> Iterator[list[ObjectInfo]]:
    """The pages of a ListObjectsV2 request, of a client that is prepared for it; every object once.

    ``skip``: characters left out of each key, for what the prefix adds; a key that has no more than those is left out.

    From the second page on, the next one is asked for while this one is worked on. The first stands alone: who only
    looks whether something is there pays for one request.

    Raises what botocore raises, and `StorageUnavailable` where the server's answers do not lead to the end.
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
    """What a listing remembers: whether keys were listed already, and which ways to continue have failed."""

    def __init__(self, client: "S3Client", cut: _Cut, request: dict[str, Any]) -> None:
        self._client, self._cut, self._request = client, cut, request
        self._where = f"s3://{request['Bucket']}/{cut.prefix}"
        self._last, self._reached = "", ""  # the greatest key; the last one of a page that brought something new
        self._tokens = set[str]()
        # Eight bytes for each key. They become a set, of ten times the size, only where a server lists out of order.
        self._hashes, self._known = array("q"), set[int]()
        self._stale, self._by_key, self._old, self._repeats = 0, False, False, False

    def begin(self) -> Page:
        """The first page."""
        page = self._fetch(self._request)
        self._old = page.old
        if page.old and (after := self._request.get("StartAfter")):  # which this server did not heed
            page = self._fetch_old(after)
        return page

    def add(self, page: Page) -> list[ObjectInfo]:
        """Those objects of a page that no page before had."""
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
                logger.warning("%s: the store lists objects twice; each is taken once.", self._where)
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
            raise self._endless("A page without objects says that more follow, and not how to get them.")
        if self._by_key and not fresh:
            if self._old:
                raise self._endless("The same page is sent again and again.")
            self._old = True  # servers of the first version look at Marker alone
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
        return StorageUnavailable(f"{self._where} cannot be listed completely. {what}", remedy=_FAULTY)


def archived_class(name: str) -> str:
    """The storage class if it has to be restored before it can be read, else empty."""
    return name if name in _ARCHIVED else ""


def _begin(work: Callable[[], T]) -> "Future[T]":
    """Start work in a thread that ends with the process: a pool's would keep it from stopping while a server hangs."""
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
            f"{where} cannot be listed: this store ignores slashes at the start and repeated ones.",
            remedy=f"Use s3://{request['Bucket']}/{plain}, which is what it lists.",
        )
    what = f"its keys do not begin with the prefix: {found!r}" if found else "the answer is not a listing"
    raise StorageUnavailable(f"{where} cannot be listed: {what}.", remedy=_FAULTY)


def _read(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> None:
    """botocore's hook between the answer and its parser. What is no listing is left to that parser to complain of."""
    cut = _cut.get()
    if cut is None or response_dict["status_code"] != 200:
        return
    with suppress(expat.ExpatError, ValueError):
        customized_response_dict[_PAGE] = _parse(response_dict["body"], cut)
        response_dict["body"] = b"<ListBucketResult/>"


def _parse(body: bytes, cut: _Cut) -> Page | str:
    """A page of its XML, or a key in it that is outside of the prefix. `ExpatError` or ValueError if it is none."""
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
        if len(key) != cut.skip  # else the marker that consoles write for the folder itself
    ]
    truncated, token, most = ("".join(texts[name]) for name in ("IsTruncated", "NextContinuationToken", "MaxKeys"))
    return Page(
        objects,
        # A full page that does not say whether it is the last one may not be.
        truncated=truncated.strip().lower() == "true" if truncated else bool(token) or len(keys) >= int(most or 1000),
        token=token.strip(),
        last=keys[-1] if keys else "",
        old=bool(texts["Marker"]) and not texts["KeyCount"],
    )


def _collect_texts(body: bytes) -> dict[str, list[str]]:
    """The texts of those elements that matter, in the order of the objects; each object has one of the first five.

    Not ElementTree, though it parses as fast: the garbage collector looks at its thousands of elements again and again.
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
        raise ValueError(f"{root} is no listing")
    return texts


def _decode(keys: list[str]) -> list[str]:
    """Url decoding of many keys at once.

    Quoted-printable is url encoding with "=" for "%", and its decoder is in C. urllib's, key by key, takes as long as
    all else that is done with a page.
    """
    if any("%00" in key for key in keys):
        return [unquote_plus(key, errors="surrogateescape") for key in keys]
    quoted = "\0".join(keys).replace("=", "%3D").replace("%", "=").replace("+", " ")
    return a2b_qp(quoted.encode()).decode(errors="surrogateescape").split("\0") if keys else []
