"""S3 through boto3, at any endpoint: AWS, MinIO, SeaweedFS, Google Cloud Storage's interoperability mode.

boto3 reads AWS_ENDPOINT_URL(_S3), AWS_PROFILE and the other AWS_* itself; with an endpoint of one's own it addresses
buckets by path.
"""

import os
import re
from base64 import b64encode
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import boto3
from boto3.s3.transfer import TransferConfig, create_transfer_manager
from botocore import exceptions as aws
from botocore.config import Config
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from stenopool.errors import (
    AccessDenied,
    KeyUnusable,
    LocationInvalid,
    ObjectArchived,
    ObjectEncrypted,
    ObjectNotFound,
    SourceChanged,
    StenopoolError,
    StorageUnavailable,
)
from stenopool.storage.base import (
    LONGEST_KEY,
    ObjectInfo,
    ObjectStore,
    PresignedPut,
    Walk,
    check_key,
    is_text,
    leave_out_name,
)
from stenopool.storage.s3_listing import archived_class, list_pages, read_listings_fast

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

_CHUNK = 1024 * 1024
_PART = 5 * _CHUNK  # the least that S3 takes; 10,000 of them are 50 GB
_STREAM_ATTEMPTS = 6
_BROKEN_STREAM = (aws.IncompleteReadError, aws.ReadTimeoutError, aws.ResponseStreamingError)
_TRANSFER = TransferConfig(multipart_threshold=16 * _CHUNK, multipart_chunksize=16 * _CHUNK, max_concurrency=4)


class S3Store(ObjectStore):
    """Objects of one bucket below one prefix.

    Listings come in the server's order. That is byte order on AWS, MinIO and Google; SeaweedFS lists as a file
    system does, a folder's content before the names that go on with a character below "/" (see `catalog`).
    ``client`` is for credentials of one's own; without it, one client per process serves all stores.
    """

    def __init__(
        self, bucket: str, prefix: str = "", *, client: "S3Client | None" = None, page_size: int = 1000
    ) -> None:
        self.bucket = bucket
        prefix = prefix.strip("/")
        self.prefix = f"{prefix}/" if prefix else ""
        self.uri = self.address = f"s3://{bucket}/{prefix}".rstrip("/")
        if client:
            read_listings_fast(client)
        self._own_client = client
        self._page_size = page_size

    @property
    def client(self) -> "S3Client":
        """The boto3 client, e.g. for presigned addresses. Safe to share between threads."""
        # After a fork the parent's open connections must not be used: hence by process.
        return self._own_client or process_client(os.getpid())

    def uri_of(self, key: str) -> str:
        return f"s3://{self.bucket}/{self._whole(key)}"

    def list(
        self,
        prefix: str = "",
        *,
        start_after: str = "",
        page_size: int | None = None,
        endings: Collection[str] | None = None,
        walk: Walk | None = None,
    ) -> Iterator[ObjectInfo]:
        request: dict[str, Any] = {"StartAfter": self.prefix + start_after} if start_after else {}
        request |= {"Bucket": self.bucket, "Prefix": self.prefix + prefix}
        request["MaxKeys"] = min(page_size or self._page_size, self._page_size)
        with self.errors("list", prefix):
            for page in list_pages(self.client, skip=len(self.prefix), **request):
                odd = [info.key for info in page if not is_text(info.key)]
                for name in odd:
                    leave_out_name(name, walk)
                fit = [info for info in page if info.key not in odd] if odd else page
                yield from fit if endings is None else [one for one in fit if one.key[len(prefix) :] in endings]

    def head(self, key: str) -> ObjectInfo:
        answer = self._head(key)
        etag, modified = answer["ETag"].strip('"'), answer["LastModified"].timestamp()
        # In place of a class of its own, intelligent tiering has an archive status.
        told: dict[str, Any] = {**answer}
        archived = told.get("ArchiveStatus") or archived_class(told.get("StorageClass", ""))
        return ObjectInfo(key, answer["ContentLength"], etag, modified, "" if _has_copy(answer) else archived)

    def is_restored(self, key: str) -> bool:
        return _has_copy(self._head(key))

    def _head(self, key: str) -> "HeadObjectOutputTypeDef":
        with self.errors("head", key):
            return self.client.head_object(Bucket=self.bucket, Key=self._whole(key))

    def stream(self, key: str, *, first: int = 0, last: int | None = None, etag: str | None = None) -> Iterator[bytes]:
        """A broken stream goes on where it broke, with the same content or SOURCE_CHANGED.

        boto3's own download asks for the size first and cannot be told which content is meant.
        """
        failures = 0  # in a row, without a byte gained
        with self.errors("get", key):
            while True:
                request: dict[str, Any] = {"IfMatch": f'"{etag}"'} if etag else {}
                if first or last is not None:
                    request["Range"] = f"bytes={first}-{'' if last is None else last}"
                answer = self.client.get_object(Bucket=self.bucket, Key=self._whole(key), **request)
                found = answer["ETag"].strip('"')
                if etag not in (None, found):  # some servers and proxies pay no heed to If-Match
                    raise SourceChanged(f"{key} is not the content that was listed.")
                etag, begin = found, first
                unwanted = 0 if "ContentRange" in answer else first  # others none to Range
                try:
                    # closing: the body's own `with` hands out urllib3's stream, and its errors are not botocore's.
                    with closing(answer["Body"]) as body:
                        while chunk := body.read(_CHUNK):
                            wanted, unwanted = chunk[unwanted:], max(0, unwanted - len(chunk))
                            first += len(wanted)
                            yield wanted
                    return
                except _BROKEN_STREAM:
                    failures = 0 if first > begin else failures + 1
                    if failures == _STREAM_ATTEMPTS:
                        raise

    def put_file(self, key: str, path: Path, *, content_type: str | None = None) -> None:
        extra = {"ContentType": content_type} if content_type else {}
        # Not client.upload_file, which hides the server's error in one of its own.
        with self.errors("put", key), create_transfer_manager(self.client, _TRANSFER) as manager:
            manager.upload(str(path), self.bucket, self._whole(key), extra).result()

    def put_bytes(self, key: str, data: bytes, *, content_type: str | None = None, if_absent: bool = False) -> bool:
        """False also if an earlier try of this call wrote the object and its answer was lost: it is there."""
        extra: dict[str, Any] = {"ContentType": content_type} if content_type else {}
        if if_absent:
            extra["IfNoneMatch"] = "*"
        with self.errors("put", key):
            try:
                self.client.put_object(Bucket=self.bucket, Key=self._whole(key), Body=data, **extra)
            except aws.ClientError as error:
                # 409: somebody else writes (or deletes) this key at this moment.
                if if_absent and (_status(error) == 412 or (_status(error) == 409 and self.exists(key))):
                    return False
                raise
        return True

    def presigned_put(self, key: str, size: int, lifetime: int, sha256: str | None = None) -> PresignedPut:
        # Never over an object, and never as a page that a browser would open. All of these are signed.
        request = {"ContentType": "application/octet-stream", "IfNoneMatch": "*"}
        headers = {"Content-Type": "application/octet-stream", "If-None-Match": "*"}
        if sha256:
            checksum = b64encode(bytes.fromhex(sha256)).decode()
            request["ChecksumSHA256"] = headers["x-amz-checksum-sha256"] = checksum
        whole = {"Bucket": self.bucket, "Key": self._whole(key), "ContentLength": size, **request}
        with self.errors("presign", key):
            return PresignedPut(self.client.generate_presigned_url("put_object", whole, lifetime), headers)

    def writer(self, key: str) -> "S3Writer":
        return S3Writer(self, self._whole(key))

    def delete(self, key: str) -> None:
        # Google answers so where there is nothing; S3 does not mind.
        with self.errors("delete", key), suppress(self.client.exceptions.NoSuchKey):
            self.client.delete_object(Bucket=self.bucket, Key=self._whole(key))

    def sweep_partial(self, older_than_seconds: float) -> int:
        before, swept = datetime.now(UTC) - timedelta(seconds=older_than_seconds), 0
        with self.errors("sweep", ""):
            pages = self.client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=self.prefix)
            for upload in (upload for page in pages for upload in page.get("Uploads", ())):
                if upload["Initiated"] < before:
                    self.abort(upload["Key"], upload["UploadId"])
                    swept += 1
        return swept

    def abort(self, whole_key: str, upload: str) -> None:
        """End an upload in parts, whose parts are paid for until then; one that is gone is well."""
        with suppress(self.client.exceptions.NoSuchUpload):  # its writer, or another sweep, came first
            self.client.abort_multipart_upload(Bucket=self.bucket, Key=whole_key, UploadId=upload)

    def _whole(self, key: str) -> str:
        check_key(key)
        whole = self.prefix + key
        if len(whole.encode()) > LONGEST_KEY:
            raise KeyUnusable(f"With the prefix, a key exceeds {LONGEST_KEY} bytes: {key!r}")
        return whole

    @contextmanager
    def errors(self, operation: str, key: str) -> Iterator[None]:
        """boto3's errors as ours, without what servers and libraries may have put into their messages."""
        what = f"{operation} {self.uri}/{key}"
        try:
            yield
        except FileNotFoundError:
            raise  # the local file is not there: the caller's mistake, not the storage's
        except (aws.ClientError, aws.BotoCoreError, ResponseParserError, HTTPError, OSError) as error:
            # urllib3's, too: botocore lets them out.
            raise _translate(error, what, reads=operation in ("get", "head")) from error


class S3Writer:
    """An upload in parts, or one request for what is smaller than a part. Holds one part in memory."""

    def __init__(self, store: S3Store, whole_key: str) -> None:
        self._store = store
        self._key = whole_key
        self._upload: str | None = None
        self._parts: list[Any] = []
        self._buffer = bytearray()

    def write(self, data: bytes | bytearray) -> None:
        self._buffer += data
        if len(self._buffer) >= _PART:
            self._send()

    def commit(self) -> None:
        if self._upload is None:
            self._call("put_object", Body=self._buffer)
            return
        if self._buffer:
            self._send()
        self._call("complete_multipart_upload", UploadId=self._upload, MultipartUpload={"Parts": self._parts})
        self._upload = None

    def abort(self) -> None:
        self._buffer.clear()
        upload, self._upload = self._upload, None
        if upload:
            with self._store.errors("abort", self._key):
                self._store.abort(self._key, upload)

    def _send(self) -> None:
        part, self._buffer = self._buffer, bytearray()
        if self._upload is None:
            self._upload = self._call("create_multipart_upload")["UploadId"]
        number = len(self._parts) + 1
        answer = self._call("upload_part", UploadId=self._upload, PartNumber=number, Body=part)
        self._parts.append({"PartNumber": number, "ETag": answer["ETag"]})

    def _call(self, method: str, **request: Any) -> Any:
        with self._store.errors("put", self._key):
            return getattr(self._store.client, method)(Bucket=self._store.bucket, Key=self._key, **request)


@lru_cache(maxsize=2)
def process_client(process_id: int) -> "S3Client":  # noqa: ARG001
    """The client that a process's stores share. ``process_id`` is only what it is remembered by.

    AWS_MAX_ATTEMPTS and AWS_RETRY_MODE are honoured; unset, 6 tries with the standard back-off.
    """
    client = connect()
    read_listings_fast(client)
    return client


def connect(session: boto3.Session | None = None, **parameters: Any) -> "S3Client":
    """A client with our time-outs and retries; ``parameters`` (endpoint_url, verify, ...) go to ``session.client``.

    Raises `LocationInvalid` or `AccessDenied` when the environment or the parameters cannot be used.
    """
    try:
        config = Config(
            connect_timeout=10,
            read_timeout=60,
            tcp_keepalive=True,
            max_pool_connections=32,
            retries={
                "mode": cast("Any", os.environ.get("AWS_RETRY_MODE") or "standard"),
                "total_max_attempts": int(os.environ.get("AWS_MAX_ATTEMPTS") or 6),
            },
            # botocore presigns with version 2 unless a version is named; that does not sign the length of an upload.
            signature_version="s3v4",
            # The checksums that boto3 sends since 1.36 are refused by older MinIO, SeaweedFS and by Google.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        own = parameters.pop("config", None)
        return (session or boto3.Session()).client("s3", config=config.merge(own) if own else config, **parameters)
    except (aws.ProfileNotFound, aws.PartialCredentialsError) as error:
        raise AccessDenied(f"S3 cannot be used: {type(error).__name__}.", remedy="Check AWS_PROFILE.") from error
    except (aws.BotoCoreError, ValueError) as error:
        raise LocationInvalid(
            f"S3 cannot be used: {type(error).__name__}.",  # its text may hold the address, and that a password
            remedy="Check AWS_ENDPOINT_URL, AWS_MAX_ATTEMPTS, AWS_RETRY_MODE and the other AWS_*, and ~/.aws/config.",
        ) from error


def _has_copy(answer: "HeadObjectOutputTypeDef") -> bool:
    return 'ongoing-request="false"' in answer.get("Restore", "")


def _status(error: aws.ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


# Codes whose HTTP status does not say who has to act come first.
_BY_CODE: dict[str, Callable[[str], StenopoolError]] = {
    **dict.fromkeys(
        ("ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidAccessKeyId", "SignatureDoesNotMatch"),
        AccessDenied,
    ),
    **dict.fromkeys(
        ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"), ObjectNotFound
    ),
    **dict.fromkeys(("KeyTooLongError", "XMinioInvalidObjectName", "XMinioParentIsObject"), KeyUnusable),
}
_BY_STATUS = {401: AccessDenied, 403: AccessDenied, 404: ObjectNotFound, 412: SourceChanged}


# What reading one object is answered with, where it says nothing about the others. In writing, the same codes are about
# the bucket's own key. A lacking right to the key may be a plain AccessDenied, whose message names kms:Decrypt; reading
# what has a customer's key (SSE-C) is an InvalidRequest. So their messages are searched, but not passed on.
_BY_CODE_OF_OBJECT: dict[str, Callable[[str], StenopoolError]] = {
    **dict.fromkeys(
        ("InvalidObjectState", "ObjectNotInActiveTierError", "ObjectRestoreAlreadyInProgress"), ObjectArchived
    ),
    **dict.fromkeys(("NoSuchVersion", "MethodNotAllowed"), ObjectNotFound),  # a delete marker
}
_ENCRYPTED = re.compile(
    r"\bkms\b|server.side.encryption|\bsse.?c\b|ciphertext|decrypt|customer.provided", re.IGNORECASE
)


def _translate(error: Exception, what: str, *, reads: bool) -> StenopoolError:
    if isinstance(error, (aws.NoCredentialsError, aws.PartialCredentialsError, aws.CredentialRetrievalError)):
        return AccessDenied(f"{what}: {type(error).__name__}.")
    if isinstance(error, aws.ParamValidationError):
        return LocationInvalid(f"{what}: not an S3 address.")
    if not isinstance(error, aws.ClientError):
        return StorageUnavailable(f"{what}: {type(error).__name__}.")
    code, status = error.response.get("Error", {}).get("Code", "?"), _status(error)
    message = error.response.get("Error", {}).get("Message") or ""
    what = f"{what}: {code} (HTTP {status})."
    if reads and (kind := _BY_CODE_OF_OBJECT.get(code)):
        return kind(what)
    if reads and 400 <= status < 500 and (code.startswith("KMS.") or _ENCRYPTED.search(message)):
        return ObjectEncrypted(what)
    if code.startswith("KMS."):
        return AccessDenied(what, remedy="Check the bucket's own encryption key (KMS): its state and its policy.")
    if code == "RequestTimeTooSkewed":
        return AccessDenied(what, remedy="This machine's clock is wrong: set it, or run NTP.")
    # 5xx, SlowDown, RequestTimeout, and whatever is unknown: never a reason to give up on a recording for good.
    return (_BY_CODE.get(code) or _BY_STATUS.get(status, StorageUnavailable))(what)
