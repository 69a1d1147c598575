"""Meaning of S3's errors about one object, in AWS's wording; and storage classes in listings and heads."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from stenopool.errors import (
    AccessDenied,
    KeyUnusable,
    ObjectArchived,
    ObjectEncrypted,
    ObjectNotFound,
    StenopoolError,
    StorageUnavailable,
)
from stenopool.storage import ObjectInfo
from stenopool.storage.s3 import S3Store
from stenopool.storage.s3_listing import Page, _Cut, _parse

KMS = "User: arn:aws:iam::1:user/x is not authorized to perform: kms:Decrypt on resource: arn:aws:kms:eu:1:key/2"
SSE_C = (
    "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to "
    "retrieve the object."
)


def raised(operation: str, code: str, status: int, message: str = "") -> StenopoolError:
    error = ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        operation,
    )
    with pytest.raises(StenopoolError) as caught, S3Store("bucket").errors(operation, "a.wav"):
        raise error
    assert "arn:aws" not in str(caught.value), "messages of servers are not passed on"
    return caught.value


@pytest.mark.parametrize(
    ("code", "status", "message", "reading", "writing"),
    [
        ("InvalidObjectState", 403, "", ObjectArchived, AccessDenied),
        ("KMS.DisabledException", 400, "", ObjectEncrypted, AccessDenied),
        ("KMS.NotFoundException", 400, "", ObjectEncrypted, AccessDenied),
        ("KMS.KMSInvalidStateException", 400, "", ObjectEncrypted, AccessDenied),
        ("AccessDenied", 403, KMS, ObjectEncrypted, AccessDenied),
        (
            "AccessDenied",
            403,
            "The ciphertext refers to a customer master key that does not exist",
            ObjectEncrypted,
            None,
        ),
        ("InvalidRequest", 400, SSE_C, ObjectEncrypted, StorageUnavailable),
        ("InvalidRequest", 400, "Requests specifying SSE-C must provide a key", ObjectEncrypted, StorageUnavailable),
        ("AccessDenied", 403, "Access Denied", AccessDenied, AccessDenied),
        ("403", 403, "Forbidden", AccessDenied, AccessDenied),
        ("NoSuchKey", 404, "", ObjectNotFound, ObjectNotFound),
        ("NoSuchVersion", 404, "", ObjectNotFound, ObjectNotFound),
        ("MethodNotAllowed", 405, "", ObjectNotFound, StorageUnavailable),
        ("NoSuchBucket", 404, "", ObjectNotFound, ObjectNotFound),
        ("ExpiredToken", 400, "", AccessDenied, AccessDenied),
        ("UnavailableForLegalReasons", 451, "", StorageUnavailable, StorageUnavailable),
        ("InternalError", 500, "KMS is down", StorageUnavailable, StorageUnavailable),
        ("KeyTooLongError", 400, "", KeyUnusable, KeyUnusable),
    ],
)
def test_errors_are_classified_for_reading_and_writing(
    code: str, status: int, message: str, reading: type[StenopoolError], writing: type[StenopoolError] | None
) -> None:
    for operation in ("get", "head"):
        assert type(raised(operation, code, status, message)) is reading
    if writing:
        assert type(raised("put", code, status, message)) is writing


def page(*classes: str | None) -> bytes:
    contents = ""
    for number, name in enumerate(classes):
        kind = "" if name is None else f"<StorageClass>{name}</StorageClass>"
        stored = (
            f"<Key>in/{number}.wav</Key><LastModified>2026-11-30T00:00:00Z</LastModified><ETag>&quot;e&quot;</ETag>"
        )
        contents += f"<Contents>{stored}<Size>1</Size>{kind}<Owner><ID>x</ID></Owner></Contents>"
    return f"<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>".encode()


def listed(*classes: str | None) -> list[ObjectInfo]:
    found = _parse(page(*classes), _Cut("in/", 3))
    assert isinstance(found, Page)
    return found.objects


def test_a_listing_shows_archived_objects() -> None:
    classes = (
        "STANDARD",
        "GLACIER",
        None,
        "DEEP_ARCHIVE",
        "GLACIER_IR",
        "INTELLIGENT_TIERING",
        None,
        "ARCHIVE",
        "GLACIER",
    )
    found = [info.archived for info in listed(*classes)]
    assert found == ["", "GLACIER", "", "DEEP_ARCHIVE", "", "", "", "", "GLACIER"]
    assert [info.archived for info in listed(None, None)] == ["", ""]


@pytest.mark.parametrize(
    ("answer", "archived"),
    [
        ({}, ""),
        ({"StorageClass": "STANDARD_IA"}, ""),
        ({"StorageClass": "GLACIER"}, "GLACIER"),
        ({"StorageClass": "GLACIER_IR"}, ""),
        ({"StorageClass": "GLACIER", "Restore": 'ongoing-request="true"'}, "GLACIER"),
        ({"StorageClass": "GLACIER", "Restore": 'ongoing-request="false", expiry-date="Fri, 21 Dec 2029"'}, ""),
        ({"StorageClass": "INTELLIGENT_TIERING", "ArchiveStatus": "DEEP_ARCHIVE_ACCESS"}, "DEEP_ARCHIVE_ACCESS"),
    ],
)
def test_a_head_shows_whether_an_archived_object_is_restored(
    answer: dict[str, Any], archived: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3
    from botocore.stub import Stubber

    client = boto3.client("s3", region_name="eu-central-1", aws_access_key_id="x", aws_secret_access_key="y")
    with Stubber(client) as stubber:
        from datetime import UTC, datetime

        stubber.add_response(
            "head_object", {"ETag": '"e"', "LastModified": datetime.now(UTC), "ContentLength": 1, **answer}
        )
        store = S3Store("bucket", client=client)
        assert store.head("a.wav").archived == archived
        stubber.add_response("head_object", {"ETag": '"e"', **answer})
        assert store.is_restored("a.wav") is ("false" in answer.get("Restore", ""))
