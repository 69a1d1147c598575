"""Listings over S3: accepted responses, the calls that are changed, and the number of requests."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from urllib.parse import quote, quote_plus

import boto3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stenopool.errors import ErrorCode, StorageUnavailable, TransientError
from stenopool.storage.base import Walk
from stenopool.storage.s3 import S3Store
from stenopool.storage.s3_listing import _decode
from tests.support.listing_server import Listed, ListingServer
from tests.support.waiting import wait_until

KEYS = [f"in/{number:03}.wav" for number in range(10)]


class Server(ListingServer):
    """Counts requests, and answers ``next_answer`` once, if set, after ``sound_before`` normal responses."""

    next_answer: str | None = None
    sound_before = 0
    requests = 0

    def page(self, bucket: str, query: dict[str, str]) -> str | None:
        self.requests += 1
        if self.next_answer is not None and self.sound_before:
            self.sound_before -= 1
            return super().page(bucket, query)
        answer, self.next_answer = self.next_answer, None
        return answer if answer is not None else super().page(bucket, query)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(bucket=[Listed(key, 7, "etag") for key in KEYS]) as server:
        yield server


@pytest.fixture
def store(server: Server) -> S3Store:
    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id="any",
        aws_secret_access_key="any",
        region_name="us-east-1",
    )
    return S3Store("bucket", "in", client=client, page_size=4)


def keys(store: S3Store) -> list[str]:
    return [f"in/{info.key}" for info in store.list()]


def test_a_listing_is_one_request_per_page(server: Server, store: S3Store) -> None:
    assert keys(store) == KEYS
    assert server.requests == 3


def test_reading_only_the_first_key_is_one_request(server: Server, store: S3Store) -> None:
    assert next(store.list()).key == "000.wav"
    time.sleep(0.5)  # a prefetch would come from a thread
    assert server.requests == 1


def test_other_calls_of_the_same_client_are_not_changed(server: Server, store: S3Store) -> None:
    assert keys(store) == KEYS
    found = store.client.list_objects_v2(Bucket="bucket")["Contents"]
    assert [item["Key"] for item in found] == KEYS
    assert found[0]["LastModified"].year == 2026


@pytest.mark.parametrize("namespace", ["", ' xmlns="http://doc.s3.amazonaws.com/2006-03-01"'])
def test_responses_of_other_servers_are_accepted(server: Server, store: S3Store, namespace: str) -> None:
    server.next_answer = (
        f"<ListBucketResult{namespace}><IsTruncated>false</IsTruncated><Contents><Key>in/</Key><ETag>x</ETag>"
        "<LastModified>2026-01-02T00:00:00Z</LastModified><Size>0</Size></Contents>\n  <Contents>\n"
        "<Size>5</Size><Owner><ID>x</ID></Owner><Key>in/a+b%41&amp;.wav</Key>"
        "<LastModified>2026-01-02T00:00:00Z</LastModified><ETag>&quot;e-2&quot;</ETag></Contents></ListBucketResult>"
    )
    (info,) = store.list()  # not URL-encoded, and without the folder's marker
    assert info == ("a+b%41&.wav", 5, "e-2", 1767312000.0, "")


@pytest.mark.parametrize(
    "answer",
    [
        "<html>Please log in</html>",
        "",
        "<ListBucketResult><Contents><Key>in/a</Key></Contents></ListBucketResult>",
    ],
)
def test_other_content_is_a_storage_error(server: Server, store: S3Store, answer: str) -> None:
    server.next_answer = answer
    with pytest.raises(TransientError) as caught:
        keys(store)
    assert caught.value.code is ErrorCode.STORAGE_UNAVAILABLE


@pytest.mark.parametrize(
    "answer",
    [
        "<Error><Code>InternalError</Code><Message>Try again.</Message></Error>",
        "<ListBucketResult><Contents><Key>in/a</Key>",
    ],
)
def test_errors_and_truncated_responses_with_status_200_are_retried(
    server: Server, store: S3Store, answer: str
) -> None:
    server.next_answer = answer
    assert keys(store) == KEYS
    assert server.requests == 4


def test_the_next_page_is_requested_in_advance_and_its_error_is_raised(server: Server, store: S3Store) -> None:
    listing = store.list()
    found = [next(listing).key for _ in range(4)]
    server.next_answer, server.sound_before = "<html>Please log in</html>", 1
    found.append(next(listing).key)  # the second page has arrived, and the third is requested
    wait_until(lambda: server.requests >= 3, "the third page's request", every=0.01)
    assert server.requests == 3
    found += [next(listing).key for _ in range(3)]
    assert [f"in/{key}" for key in found] == KEYS[:8]
    with pytest.raises(TransientError):
        next(listing)


# Observed and possible changes of a page by servers, gateways and caching proxies: (answer, query, number) -> answer.
Quirk = Callable[[str, dict[str, str], int], str]
TOKEN = re.compile(r"<NextContinuationToken>(.*?)</NextContinuationToken>")


def last_key(answer: str) -> str:
    return re.findall("<Key>(.*?)</Key>", answer)[-1]


def without_objects(answer: str) -> str:
    return re.sub("<Contents>.*</Contents>", "", answer)


def in_reverse(answer: str, *_: object) -> str:
    objects = re.findall("<Contents>.*?</Contents>", answer)
    return without_objects(answer).replace("</ListBucketResult>", "".join(objects[::-1]) + "</ListBucketResult>")


def each_twice(answer: str, *_: object) -> str:
    return re.sub("(<Contents>.*?</Contents>)", r"\1\1", answer)


def a_constant_token(answer: str, *_: object) -> str:
    return TOKEN.sub(f"<NextContinuationToken>{KEYS[0].encode().hex()}</NextContinuationToken>", answer)


def two_alternating_tokens(answer: str, query: dict[str, str], number: int) -> str:
    """Back and forth, like a cache whose key is too short."""
    back = "in/" if number % 2 else KEYS[0]
    return TOKEN.sub(f"<NextContinuationToken>{back.encode().hex()}</NextContinuationToken>", answer)


def new_token_for_the_first_page(answer: str, query: dict[str, str], number: int) -> str:
    before_all = "!" * (number + 1)
    return TOKEN.sub(f"<NextContinuationToken>{before_all.encode().hex()}</NextContinuationToken>", answer)


def occasional_empty_pages(answer: str, query: dict[str, str], number: int) -> str:
    """With a token that continues from the same place, as if a page's objects had been deleted."""
    if number % 2 == 0:
        return answer
    token = query.get("continuation-token")
    after = bytes.fromhex(token).decode() if token else query.get("start-after", query.get("marker", ""))
    more = f"true</IsTruncated><NextContinuationToken>{(after + '!').encode().hex()}</NextContinuationToken>"
    return re.sub("(true|false)</IsTruncated>", more, without_objects(TOKEN.sub("", answer)))


SURVIVED: dict[str, Quirk] = {
    "no token": lambda answer, *_: TOKEN.sub("", answer),
    "an empty token": lambda answer, *_: TOKEN.sub("<NextContinuationToken/>", answer),
    "a blank token": lambda answer, *_: TOKEN.sub("<NextContinuationToken> </NextContinuationToken>", answer),
    "a marker, as in version 1": lambda answer, *_: TOKEN.sub(f"<NextMarker>{last_key(answer)}</NextMarker>", answer),
    "a constant token": a_constant_token,
    "two alternating tokens": two_alternating_tokens,
    "always a new token, to the first page": new_token_for_the_first_page,
    "does not say whether it is truncated": lambda answer, *_: re.sub("<IsTruncated>.*?</IsTruncated>", "", answer),
    "nor has a token": lambda answer, *_: re.sub("<IsTruncated>.*?</IsTruncated>", "", TOKEN.sub("", answer)),
    "TRUE": lambda answer, *_: answer.replace("<IsTruncated>true", "<IsTruncated> TRUE "),
    "in reverse order": in_reverse,
    "every object twice": each_twice,
    "every object twice, in reverse order, without a token": lambda *given: in_reverse(
        each_twice(TOKEN.sub("", given[0]))
    ),
    "occasional empty pages": occasional_empty_pages,
}


class OddServer(Server):
    """Answers every request with one of the quirks, or as ``speaks``: only version 1 or 2 of the listing."""

    quirks: tuple[Quirk, ...] = ()
    old = False

    def page(self, bucket: str, query: dict[str, str]) -> str | None:
        if self.old:
            query = {name: value for name, value in query.items() if name != "list-type"}
        answer = super().page(bucket, query)
        assert answer is not None
        number = self.requests - 1
        return self.quirks[number % len(self.quirks)](answer, query, number) if self.quirks else answer


@pytest.fixture(scope="module")
def odd_server() -> Iterator[OddServer]:
    with OddServer(bucket=[Listed(key, 7, "etag") for key in KEYS]) as server:
        yield server


def odd_store(server: OddServer, *quirks: Quirk, old: bool = False, page_size: int = 4) -> S3Store:
    server.quirks, server.old, server.requests = quirks, old, 0
    server.buckets["bucket"] = [Listed(key, 7, "etag") for key in KEYS]
    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id="any",
        aws_secret_access_key="any",
        region_name="us-east-1",
    )
    return S3Store("bucket", "in", client=client, page_size=page_size)


@pytest.mark.parametrize("quirk", SURVIVED)
def test_a_listing_with_quirks_is_complete_and_has_each_object_once(odd_server: OddServer, quirk: str) -> None:
    store = odd_store(odd_server, SURVIVED[quirk])
    assert sorted(keys(store)) == KEYS
    assert odd_server.requests <= 12
    after = [info.key for info in odd_store(odd_server, SURVIVED[quirk]).list(start_after="006.wav")]
    assert sorted(set(after) & {"007.wav", "008.wav", "009.wav"}) == ["007.wav", "008.wav", "009.wav"]
    assert len(after) == len(set(after))


@settings(max_examples=30)
@given(st.lists(st.sampled_from(sorted(SURVIVED)), min_size=1, max_size=4), st.integers(1, 11))
def test_quirks_in_any_order_lose_and_repeat_nothing(odd_server: OddServer, chosen: list[str], page_size: int) -> None:
    store = odd_store(odd_server, *(SURVIVED[quirk] for quirk in chosen), page_size=page_size)
    found = KEYS  # or an error, but never an incomplete listing
    with suppress(StorageUnavailable):
        found = sorted(keys(store))
    assert found == KEYS


def test_a_server_with_only_version_1_of_the_listing(odd_server: OddServer) -> None:
    store = odd_store(odd_server, old=True)
    assert keys(store) == KEYS
    assert [info.key for info in store.list(start_after="006.wav")] == ["007.wav", "008.wav", "009.wav"]


def test_a_server_that_lists_without_order(odd_server: OddServer) -> None:
    """Like directory buckets: pages and keys in any order, opaque tokens."""
    store = odd_store(odd_server)
    shuffled = [KEYS[number * 7 % 10] for number in range(10)]
    sound = odd_server.page

    def page(bucket: str, query: dict[str, str]) -> str:
        begin = int(query.get("continuation-token", "0"))
        odd_server.buckets["bucket"] = [Listed(key, 7, "etag") for key in shuffled[begin : begin + 3]]
        answer = sound(bucket, {"prefix": "", "max-keys": "1000", "list-type": "2"})
        assert answer is not None
        more = f"true</IsTruncated><NextContinuationToken>{begin + 3}</NextContinuationToken>"
        return answer.replace("false</IsTruncated>", more) if begin + 3 < 10 else answer

    odd_server.page = page  # type: ignore[method-assign]
    try:
        assert sorted(keys(store)) == KEYS
    finally:
        del odd_server.page


@pytest.mark.parametrize(
    ("quirk", "said"),
    [
        # Every request gets the first page.
        (
            lambda answer, *_: re.sub("<IsTruncated>false", "<IsTruncated>true", TOKEN.sub("", answer)),
            "repeated",
        ),
        (lambda answer, *_: without_objects(TOKEN.sub("", answer)), "without objects"),
        (lambda answer, *_: answer.replace("<Key>in/", "<Key>other/"), "other/000.wav"),
        (lambda answer, *_: answer.replace("<Key>in/", "<Key>/in/"), "/in/000.wav"),
        (lambda answer, *_: "<html>Please log in</html>", "not a listing"),
    ],
)
def test_an_incompletable_listing_is_one_clear_error(odd_server: OddServer, quirk: Quirk, said: str) -> None:
    store = odd_store(odd_server, quirk)
    with pytest.raises(TransientError) as caught:
        keys(store)
    assert caught.value.code is ErrorCode.STORAGE_UNAVAILABLE
    assert said in caught.value.message
    assert "s3://bucket/in/" in caught.value.message
    assert "ListObjectsV2" in caught.value.remedy


def test_a_server_that_repeats_a_page_is_an_error(server: Server, store: S3Store) -> None:
    page = server.page("bucket", {"prefix": "in/", "max-keys": "4", "list-type": "2"})
    server.page = lambda bucket, query: page  # type: ignore[method-assign]
    with pytest.raises(TransientError):
        keys(store)


def test_a_key_that_is_not_utf8_does_not_hide_the_others(server: Server, store: S3Store) -> None:
    answer = server.page("bucket", {"prefix": "in/", "max-keys": "4", "list-type": "2"})
    assert answer is not None
    server.next_answer = answer.replace("in/001.wav", "in/%FF.wav")
    walk = Walk()
    assert [f"in/{info.key}" for info in store.list(walk=walk)] == [key for key in KEYS if key != "in/001.wav"]
    assert {name: error.code for name, error in walk.unreadable.items()} == {r"\xff.wav": ErrorCode.KEY_UNUSABLE}


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=12)), st.sampled_from([quote, quote_plus]))
def test_decoding_is_the_inverse_of_url_encoding(texts: list[str], encode: object) -> None:
    assert _decode([encode(text) for text in texts]) == texts  # type: ignore[operator]
