"""S3 through boto3, at any endpoint: AWS, MinIO, SeaweedFS, Google Cloud Storage's interoperability mode.

boto3 reads AWS_ENDPOINT_URL(_S3), AWS_PROFILE, AWS_CA_BUNDLE and the other AWS_* itself; at other endpoints than AWS
it addresses buckets by path. What else buckets demand of requests is in `StorageSettings`; see `s3_rules`.
"""

import os
import re
import ssl
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
from stenopool.settings import StorageSettings, get_settings
from stenopool.storage.absence import find_absence
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
from stenopool.storage.s3_rules import Trial, add_parameters, explain_refusal, signed_headers

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
    ``client`` is for other credentials, and ``reconnect`` makes another one with them; without, one client per
    process serves all stores.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        client: "S3Client | None" = None,
        reconnect: "Callable[..., S3Client] | None" = None,
        rules: StorageSettings | None = None,
        page_size: int = 1000,
    ) -> None:
        if prefix == "/" or prefix.endswith("//"):
            raise LocationInvalid(
                f"The address s3://{bucket}/{prefix} ends in more than one slash.",
                remedy="End it in one slash at most; keys below an empty name are found with --prefix /.",
            )
        self.bucket = bucket
        # Only the end is changed: objects whose keys begin with a slash, or have two in a row, are others.
        self.prefix = f"{prefix.removesuffix('/')}/" if prefix else ""
        self.uri = self.address = f"s3://{bucket}/{self.prefix}".removesuffix("/")
        if client:
            read_listings_fast(client)
        self._own_client = client
        self.reconnect = reconnect or connect
        self._rules = rules
        self._page_size = page_size

    @property
    def client(self) -> "S3Client":
        """The boto3 client, e.g. for presigned addresses. Safe to share between threads."""
        # After a fork the parent's open connections must not be used: hence by process.
        return self._own_client or process_client(os.getpid())

    @property
    def rules(self) -> StorageSettings:
        """What requests have to say in addition."""
        return self._rules or get_settings().storage

    @property
    def checksums(self) -> str:
        """When requests have a checksum: when_required, when_supported."""
        config: Any = self.client.meta.config
        return str(config.request_checksum_calculation)

    def with_client(self, client: "S3Client", rules: StorageSettings) -> "S3Store":
        """The same store with other settings."""
        return S3Store(self.bucket, self.prefix, client=client, reconnect=self.reconnect, rules=rules)

    def attempt(self, step: Callable[[ObjectStore], object]) -> None:
        try:
            step(self)
        except StenopoolError as error:
            explanation = explain_refusal(self, error, step)
            if explanation is error:
                raise
            raise explanation from error

    def find_absence(self, prefix: str = "") -> ObjectNotFound | None:
        whole = self.prefix + prefix
        return find_absence(whole, f"s3://{self.bucket}/", self._is_object, self._list_names) if whole else None

    def _is_object(self, key: str) -> bool:
        with suppress(StenopoolError), self.errors("head", key):
            return int(self.client.head_object(Bucket=self.bucket, Key=key)["ContentLength"]) > 0
        return False

    def _list_names(self, folder: str, beginning: str) -> Collection[str]:
        """Names in a folder, which is a whole prefix: a page of them, or none where we may not list it."""
        with suppress(StenopoolError), self.errors("list", ""):
            answer = self.client.list_objects_v2(Bucket=self.bucket, Prefix=folder + beginning, Delimiter="/")
            folders = [one["Prefix"] for one in answer.get("CommonPrefixes", ())]
            objects = [one["Key"] for one in answer.get("Contents", ())]
            return [key[len(folder) :] for key in (*folders, *objects)]
        return []

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
        if if_absent and not self.rules.conditional_writes:
            if_absent = False
            if self.exists(key):
                return False
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
        if not self.rules.conditional_writes:
            raise LocationInvalid(
                f"{self.uri} has no conditional writes: direct uploads are refused.", remedy="Send the file itself."
            )
        # Never over an object, and never as a page that a browser would open. All of these are signed.
        request = {"ContentType": "application/octet-stream", "IfNoneMatch": "*"}
        headers = {"Content-Type": "application/octet-stream", "If-None-Match": "*"}
        if sha256:
            checksum = b64encode(bytes.fromhex(sha256)).decode()
            request["ChecksumSHA256"] = headers["x-amz-checksum-sha256"] = checksum
        headers |= signed_headers(self.client, self.rules)
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


def connect(session: boto3.Session | None = None, *, trial: Trial | None = None, **parameters: Any) -> "S3Client":
    """A client with our time-outs, retries and rules; ``parameters`` (endpoint_url, ...) go to ``session.client``.

    ``trial``: other settings than those of the environment, in requests that are made once.

    Raises `LocationInvalid` or `AccessDenied` when the environment or the parameters cannot be used.
    """
    rules = get_settings().storage
    try:
        session = session or boto3.Session()
        own: Any = parameters.pop("config", None) or Config()
        config: Any = Config(
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
            request_checksum_calculation=_chosen(session, "request_checksum_calculation", "when_required"),
            response_checksum_validation=_chosen(session, "response_checksum_validation", "when_required"),
        ).merge(own)
        addressing = (own.s3 or {}).get("addressing_style") or rules.addressing  # a block's is its own
        if trial and trial.addressing:
            addressing = trial.addressing
        if addressing:
            styles: Any = {**(config.s3 or {}), "addressing_style": addressing}
            config = config.merge(Config(s3=styles))
        if trial:
            config = config.merge(Config(connect_timeout=5, read_timeout=20, retries={"total_max_attempts": 1}))
            if trial.checksums:
                config = config.merge(Config(request_checksum_calculation=cast("Any", trial.checksums)))
        client = session.client("s3", config=config, **parameters)
        authorities = parameters.get("verify") or session._session.get_config_variable("ca_bundle")
        if isinstance(authorities, str):
            _check_certificates(authorities)
    except (aws.ProfileNotFound, aws.PartialCredentialsError) as error:
        raise AccessDenied(f"S3 cannot be used: {type(error).__name__}.", remedy="Check AWS_PROFILE.") from error
    except (aws.BotoCoreError, ValueError, OSError) as error:
        raise LocationInvalid(
            f"S3 cannot be used: {type(error).__name__}.",  # its text may hold the address, and that a password
            remedy="Check AWS_ENDPOINT_URL, AWS_CA_BUNDLE, AWS_MAX_ATTEMPTS, AWS_RETRY_MODE, the other AWS_* and"
            " ~/.aws/config.",
        ) from error
    add_parameters(client, rules)
    return client


def _chosen(session: boto3.Session, name: str, default: str) -> Any:
    """A setting of botocore as the environment or ~/.aws/config have it: Stenopool's default must not replace those."""
    return str(os.environ.get(f"AWS_{name.upper()}") or session._session.get_scoped_config().get(name) or default)


def _check_certificates(path: str) -> None:
    """OSError if this is not a file or folder of certificates; boto3 would raise it in the middle of a request."""
    kind = {"capath": path} if Path(path).is_dir() else {"cafile": path}
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(**kind)


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
    if isinstance(error, aws.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return LocationInvalid(
            f"{what}: the endpoint's certificate is not trusted, or not made for this name.",
            remedy="Set AWS_CA_BUNDLE to the file of its authority's certificate; if the certificate has no name for"
            " the bucket, set STENOPOOL_STORAGE__ADDRESSING=path.",
        )
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
