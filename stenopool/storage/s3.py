"""S3 through boto3, at any endpoint: AWS, MinIO, SeaweedFS, Google Cloud Storage's interoperability mode.

boto3 reads AWS_ENDPOINT_URL(_S3), AWS_PROFILE, AWS_CA_BUNDLE and the other AWS_* variables; at endpoints other than AWS
it uses path-style addresses. Other requirements of buckets are in `StorageSettings`; see `s3_rules`.
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
_PART = 5 * _CHUNK  # the minimum on S3; 10,000 parts are 50 GB
_STREAM_ATTEMPTS = 6
_BROKEN_STREAM = (aws.IncompleteReadError, aws.ReadTimeoutError, aws.ResponseStreamingError)
_TRANSFER = TransferConfig(multipart_threshold=16 * _CHUNK, multipart_chunksize=16 * _CHUNK, max_concurrency=4)


class S3Store(ObjectStore):
    """Objects in one bucket below one prefix.

    Listings are in the server's order. This is byte order on AWS, MinIO and Google; SeaweedFS lists like a file system,
    with a folder's contents before names that continue with a character below "/" (see `catalog`).

    ``client``: a client with other credentials; by default, one client per process is used for all stores.
    ``reconnect``: creates another client with the same credentials.
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
                f"The address s3://{bucket}/{prefix} ends with more than one slash.",
                remedy="Use at most one slash at the end; to select keys below an empty name, use --prefix /.",
            )
        self.bucket = bucket
        # Only the end is normalized: keys that start with a slash or contain two in a row are different objects.
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
        """The boto3 client, e.g. for presigned addresses. Thread-safe."""
        # One client per process, because a forked child must not use its parent's connections.
        return self._own_client or process_client(os.getpid())

    @property
    def rules(self) -> StorageSettings:
        """Additional parameters that requests must have."""
        return self._rules or get_settings().storage

    @property
    def checksums(self) -> str:
        """When requests contain a checksum: when_required or when_supported."""
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
        """One page of names in a folder, given by its full prefix; empty if it cannot be listed."""
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
        # Intelligent-Tiering has an archive status instead of a separate class.
        fields: dict[str, Any] = {**answer}
        archived = fields.get("ArchiveStatus") or archived_class(fields.get("StorageClass", ""))
        return ObjectInfo(key, answer["ContentLength"], etag, modified, "" if _has_copy(answer) else archived)

    def is_restored(self, key: str) -> bool:
        return _has_copy(self._head(key))

    def _head(self, key: str) -> "HeadObjectOutputTypeDef":
        with self.errors("head", key):
            return self.client.head_object(Bucket=self.bucket, Key=self._whole(key))

    def stream(self, key: str, *, first: int = 0, last: int | None = None, etag: str | None = None) -> Iterator[bytes]:
        """Stream an object. A broken stream is resumed where it broke; raises `SourceChanged` if the content has
        changed.

        boto3's own download requests the size first and cannot check the ETag.
        """
        failures = 0  # consecutive, without receiving a byte
        with self.errors("get", key):
            while True:
                request: dict[str, Any] = {"IfMatch": f'"{etag}"'} if etag else {}
                if first or last is not None:
                    request["Range"] = f"bytes={first}-{'' if last is None else last}"
                answer = self.client.get_object(Bucket=self.bucket, Key=self._whole(key), **request)
                found = answer["ETag"].strip('"')
                if etag not in (None, found):  # some servers and proxies ignore If-Match
                    raise SourceChanged(f"{key} has changed since it was listed.")
                etag, begin = found, first
                unwanted = 0 if "ContentRange" in answer else first  # others ignore Range
                try:
                    # closing(), because the body's own `with` returns urllib3's stream, which raises different errors.
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
        # Not client.upload_file, which replaces the server's error with its own.
        with self.errors("put", key), create_transfer_manager(self.client, _TRANSFER) as manager:
            manager.upload(str(path), self.bucket, self._whole(key), extra).result()

    def put_bytes(self, key: str, data: bytes, *, content_type: str | None = None, if_absent: bool = False) -> bool:
        """Also returns False if an earlier attempt of this call wrote the object but its response was lost."""
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
                # 409: another client is writing or deleting this key.
                if if_absent and (_status(error) == 412 or (_status(error) == 409 and self.exists(key))):
                    return False
                raise
        return True

    def presigned_put(self, key: str, size: int, lifetime: int, sha256: str | None = None) -> PresignedPut:
        if not self.rules.conditional_writes:
            raise LocationInvalid(
                f"{self.uri} has no conditional writes, which direct uploads require.",
                remedy="Send the file in the request.",
            )
        # Never overwrite an object, and never store a type that a browser would open. All of these headers are signed.
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
        # Google returns this error if the object does not exist; S3 returns success.
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
        """Abort a multipart upload, whose parts incur cost until then; no error if it no longer exists."""
        with suppress(self.client.exceptions.NoSuchUpload):  # its writer or another sweep was first
            self.client.abort_multipart_upload(Bucket=self.bucket, Key=whole_key, UploadId=upload)

    def _whole(self, key: str) -> str:
        check_key(key)
        whole = self.prefix + key
        if len(whole.encode()) > LONGEST_KEY:
            raise KeyUnusable(f"With the prefix, a key exceeds {LONGEST_KEY} bytes: {key!r}")
        return whole

    @contextmanager
    def errors(self, operation: str, key: str) -> Iterator[None]:
        """Translate boto3's errors, without the messages of servers and libraries."""
        what = f"{operation} {self.uri}/{key}"
        try:
            yield
        except FileNotFoundError:
            raise  # the local file does not exist: the caller's error, not the store's
        except (aws.ClientError, aws.BotoCoreError, ResponseParserError, HTTPError, OSError) as error:
            # Including urllib3's errors, which botocore does not catch.
            raise _translate(error, what, reads=operation in ("get", "head")) from error


class S3Writer:
    """A multipart upload, or a single request for objects smaller than a part. Keeps one part in memory."""

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
    """The client shared by a process's stores. ``process_id`` is only the cache key.

    AWS_MAX_ATTEMPTS and AWS_RETRY_MODE are honoured; the default is 6 attempts with the standard back-off.
    """
    client = connect()
    read_listings_fast(client)
    return client


def connect(session: boto3.Session | None = None, *, trial: Trial | None = None, **parameters: Any) -> "S3Client":
    """Create a client with Stenopool's timeouts, retries and rules.

    ``parameters`` (endpoint_url, ...) are passed to ``session.client``. ``trial``: settings that replace those of the
    environment, for requests without retries.

    Raises `LocationInvalid` or `AccessDenied` if the environment or the parameters are invalid.
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
            # By default, botocore presigns with version 2, which does not sign the length of an upload.
            signature_version="s3v4",
            # Older MinIO, SeaweedFS and Google refuse the checksums that boto3 sends since 1.36.
            request_checksum_calculation=_chosen(session, "request_checksum_calculation", "when_required"),
            response_checksum_validation=_chosen(session, "response_checksum_validation", "when_required"),
        ).merge(own)
        addressing = (own.s3 or {}).get("addressing_style") or rules.addressing  # a block has its own
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
            f"S3 cannot be used: {type(error).__name__}.",  # the message may contain the address with a password
            remedy="Check AWS_ENDPOINT_URL, AWS_CA_BUNDLE, AWS_MAX_ATTEMPTS, AWS_RETRY_MODE, the other AWS_* variables"
            " and ~/.aws/config.",
        ) from error
    add_parameters(client, rules)
    return client


def _chosen(session: boto3.Session, name: str, default: str) -> Any:
    """A botocore setting from the environment or ~/.aws/config, which take precedence over Stenopool's default."""
    return str(os.environ.get(f"AWS_{name.upper()}") or session._session.get_scoped_config().get(name) or default)


def _check_certificates(path: str) -> None:
    """Raise OSError if this is not a file or folder of certificates; boto3 would raise it only during a request."""
    kind = {"capath": path} if Path(path).is_dir() else {"cafile": path}
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(**kind)


def _has_copy(answer: "HeadObjectOutputTypeDef") -> bool:
    return 'ongoing-request="false"' in answer.get("Restore", "")


def _status(error: aws.ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


# Codes take precedence if their HTTP status does not show who has to act.
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


# Errors in reading that concern only one object. In writing, the same codes concern the bucket's own key. Missing
# permission for the key may be a plain AccessDenied whose message mentions kms:Decrypt; reading an object with a
# customer-provided key (SSE-C) gives InvalidRequest. So the messages are searched, but not shown.
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
            f"{what}: the endpoint's certificate is not trusted or not valid for this host name.",
            remedy="Set AWS_CA_BUNDLE to the CA certificate's file. If it does not cover the bucket's host name,"
            " set STENOPOOL_STORAGE__ADDRESSING=path.",
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
        return AccessDenied(what, remedy="Check the state and the policy of the bucket's encryption key (KMS).")
    if code == "RequestTimeTooSkewed":
        return AccessDenied(what, remedy="This machine's clock is wrong. Set it, or use NTP.")
    # 5xx, SlowDown, RequestTimeout and unknown errors are temporary: they never quarantine a recording.
    return (_BY_CODE.get(code) or _BY_STATUS.get(status, StorageUnavailable))(what)
