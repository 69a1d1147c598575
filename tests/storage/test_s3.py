"""S3, in addition to the contract: broken connections, wrong settings, shared and separate clients."""

from pathlib import Path

import pytest
from urllib3.exceptions import DecodeError, HTTPError, IncompleteRead, NewConnectionError, ProtocolError

from stenopool.errors import ErrorCode, SetupError, StorageUnavailable, TransientError
from stenopool.storage import open_store
from stenopool.storage.s3 import S3Store, process_client
from tests.support.faults import CuttingProxy
from tests.support.seaweedfs import SeaweedFS

CONTENT = bytes(range(256)) * 20_000  # 5 MB


@pytest.fixture
def proxy(s3: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> CuttingProxy:
    with CuttingProxy(s3.s3) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        process_client.cache_clear()
        yield proxy


def test_a_download_continues_where_it_was_interrupted(proxy: CuttingProxy, bucket: str, tmp_path: Path) -> None:
    store = open_store(f"s3://{bucket}/p")
    store.put_bytes("a.wav", CONTENT)
    proxy.cuts = [
        3_000_000,
        1_000_000,
        500_000,
    ]  # a download from the start would need more than what remains after these
    proxy.cuts += [4_000_000] * 100
    size = store.get_file("a.wav", tmp_path / "a.wav")
    assert len(proxy.cuts) == 100
    assert size == len(CONTENT)
    assert (tmp_path / "a.wav").read_bytes() == CONTENT


def test_a_server_that_disappears_during_a_download(
    proxy: CuttingProxy, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    process_client.cache_clear()
    store = open_store(f"s3://{bucket}/p")
    store.put_bytes("a.wav", CONTENT)
    proxy.cuts = [1_000_000] + [0] * 100
    with pytest.raises(TransientError) as caught:
        store.get_file("a.wav", tmp_path / "a.wav")
    assert caught.value.code is ErrorCode.STORAGE_UNAVAILABLE
    assert len(proxy.cuts) == 99
    assert list(tmp_path.glob("a.wav*")) == []


@pytest.mark.parametrize("kind", [ProtocolError, IncompleteRead, NewConnectionError, DecodeError])
def test_errors_that_botocore_does_not_wrap_are_transient(bucket: str, kind: type[HTTPError]) -> None:
    """urllib3's exception for a reset in the middle of a response body."""
    store = open_store(f"s3://{bucket}/p")
    assert isinstance(store, S3Store)
    with pytest.raises(StorageUnavailable), store.errors("list", "a"):
        raise kind.__new__(kind)


def test_content_replaced_during_a_download_is_not_mixed(
    proxy: CuttingProxy, s3: SeaweedFS, bucket: str, tmp_path: Path
) -> None:
    store = S3Store(bucket, "p")
    store.put_bytes("a.wav", CONTENT)
    proxy.cuts = [2_000_000]
    real = store.client.get_object
    calls = []

    def replaced_in_between(**arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 2:
            s3.client().put_object(Bucket=bucket, Key="p/a.wav", Body=CONTENT[::-1])
        return real(**arguments)  # type: ignore[arg-type]

    store.client.get_object = replaced_in_between  # type: ignore[method-assign]
    with pytest.raises(TransientError) as caught:
        store.get_file("a.wav", tmp_path / "a.wav")
    assert caught.value.code is ErrorCode.SOURCE_CHANGED
    assert len(calls) == 2


def test_a_server_that_ignores_ranges(proxy: CuttingProxy, bucket: str, tmp_path: Path) -> None:
    store = S3Store(bucket, "p")
    store.put_bytes("a.wav", CONTENT)
    real = store.client.get_object

    def without_range(**arguments: object) -> object:
        return real(**{name: value for name, value in arguments.items() if name != "Range"})  # type: ignore[arg-type]

    store.client.get_object = without_range  # type: ignore[method-assign,assignment]
    proxy.cuts = [1_000_000, 4_000_000]
    store.get_file("a.wav", tmp_path / "a.wav")
    assert proxy.cuts == []
    assert (tmp_path / "a.wav").read_bytes() == CONTENT
    assert b"".join(store.stream("a.wav", first=4_000_000)) == CONTENT[4_000_000:]


def test_a_separate_client_is_used(seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    process_client.cache_clear()
    store = S3Store(seaweedfs.make_bucket(), "p", client=seaweedfs.client())
    store.put_bytes("x", b"1")
    assert store.get_bytes("x") == b"1"
    process_client.cache_clear()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("AWS_MAX_ATTEMPTS", value) for value in ("abc", "0", "-1", "1.5", " ", "²")),
        *(("AWS_RETRY_MODE", value) for value in ("bogus", "Standard ")),
        *(("AWS_ENDPOINT_URL_S3", value) for value in ("nonsense", "http://", "http://[::1", "http://u:secret@x y/")),
        ("AWS_DEFAULT_REGION", "no region!"),
        ("AWS_METADATA_SERVICE_TIMEOUT", "abc"),
        ("AWS_METADATA_SERVICE_NUM_ATTEMPTS", "abc"),
        ("AWS_STS_REGIONAL_ENDPOINTS", "bogus"),
        ("AWS_PROFILE", "missing"),
        ("AWS_SECRET_ACCESS_KEY", ""),
    ],
)
def test_an_invalid_environment_is_reported(
    s3: SeaweedFS, bucket: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    process_client.cache_clear()
    with pytest.raises(SetupError) as caught:
        open_store(f"s3://{bucket}").get_bytes("x")
    assert caught.value.code in (ErrorCode.LOCATION_INVALID, ErrorCode.ACCESS_DENIED)
    assert "secret" not in str(caught.value)
    if name in ("AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE", "AWS_PROFILE"):
        assert name in str(caught.value)


@pytest.mark.parametrize("name", ["AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE"])
def test_an_empty_variable_counts_as_unset(
    s3: SeaweedFS, bucket: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "")
    process_client.cache_clear()
    open_store(f"s3://{bucket}").put_bytes("x", b"")
