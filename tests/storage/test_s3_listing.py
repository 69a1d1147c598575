"""Listings over S3: what answers may look like, which calls are ours, and how many requests are made."""

import time
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stenopool.errors import ErrorCode, TransientError
from stenopool.storage.s3 import S3Store
from stenopool.storage.s3_listing import _decode
from tests.support.listing_server import Listed, ListingServer
from tests.support.waiting import wait_until

KEYS = [f"in/{number:03}.wav" for number in range(10)]


class Server(ListingServer):
    """Counts requests, and answers ``next_answer`` once, if that is set, after ``sound_before`` sound ones."""

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


def test_a_listing_is_one_request_a_page(server: Server, store: S3Store) -> None:
    assert keys(store) == KEYS
    assert server.requests == 3


def test_who_only_looks_asks_once(server: Server, store: S3Store) -> None:
    assert next(store.list()).key == "000.wav"
    time.sleep(0.5)  # what is asked for ahead would come in a thread
    assert server.requests == 1


def test_other_calls_of_the_same_client_stay_as_they_are(server: Server, store: S3Store) -> None:
    assert keys(store) == KEYS
    found = store.client.list_objects_v2(Bucket="bucket")["Contents"]
    assert [item["Key"] for item in found] == KEYS
    assert found[0]["LastModified"].year == 2026


@pytest.mark.parametrize("namespace", ["", ' xmlns="http://doc.s3.amazonaws.com/2006-03-01"'])
def test_answers_of_other_servers(server: Server, store: S3Store, namespace: str) -> None:
    server.next_answer = (
        f"<ListBucketResult{namespace}><IsTruncated>false</IsTruncated><Contents><Key>in/</Key><ETag>x</ETag>"
        "<LastModified>2026-01-02T00:00:00Z</LastModified><Size>0</Size></Contents>\n  <Contents>\n"
        "<Size>5</Size><Owner><ID>x</ID></Owner><Key>in/a+b%41&amp;.wav</Key>"
        "<LastModified>2026-01-02T00:00:00Z</LastModified><ETag>&quot;e-2&quot;</ETag></Contents></ListBucketResult>"
    )
    (info,) = store.list()  # not url-encoded, and without the folder's marker
    assert info == ("a+b%41&.wav", 5, "e-2", 1767312000.0, "")


@pytest.mark.parametrize(
    "answer",
    [
        "<html>Please log in</html>",
        "",
        "<ListBucketResult><Contents><Key>in/a</Key></Contents></ListBucketResult>",
    ],
)
def test_what_is_no_listing_is_the_storages_fault(server: Server, store: S3Store, answer: str) -> None:
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
def test_errors_and_broken_answers_with_status_200_are_tried_again(server: Server, store: S3Store, answer: str) -> None:
    server.next_answer = answer
    assert keys(store) == KEYS
    assert server.requests == 4


def test_the_next_page_is_asked_for_ahead_and_its_error_arrives(server: Server, store: S3Store) -> None:
    listing = store.list()
    found = [next(listing).key for _ in range(4)]
    server.next_answer, server.sound_before = "<html>Please log in</html>", 1
    found.append(next(listing).key)  # the second page is there, and the third is under way
    wait_until(lambda: server.requests >= 3, "the third page's request", every=0.01)
    assert server.requests == 3
    found += [next(listing).key for _ in range(3)]
    assert [f"in/{key}" for key in found] == KEYS[:8]
    with pytest.raises(TransientError):
        next(listing)


def test_a_server_that_goes_round_in_a_circle(server: Server, store: S3Store) -> None:
    page = server.page("bucket", {"prefix": "in/", "max-keys": "4"})
    server.page = lambda bucket, query: page  # type: ignore[method-assign]
    with pytest.raises(TransientError):
        keys(store)


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=12)), st.sampled_from([quote, quote_plus]))
def test_decoding_is_the_inverse_of_url_encoding(texts: list[str], encode: object) -> None:
    assert _decode([encode(text) for text in texts]) == texts  # type: ignore[operator]
