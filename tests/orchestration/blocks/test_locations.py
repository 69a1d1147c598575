"""Locations by name, with their own credentials; and the error for a misspelled name."""

import asyncio
from pathlib import Path

import pytest
from prefect.filesystems import LocalFileSystem
from prefect_aws import AwsCredentials, MinIOCredentials, S3Bucket

from stenopool.errors import ErrorCode, SetupError
from stenopool.orchestration.blocks.locations import open_location, open_stores
from tests.support.seaweedfs import SeaweedFS

pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.mark.parametrize("credentials", ["aws", "minio"])
def test_a_saved_bucket_needs_no_environment_variables(
    seaweedfs: SeaweedFS, bucket: str, monkeypatch: pytest.MonkeyPatch, credentials: str
) -> None:
    environment = seaweedfs.environment
    for name in environment:
        monkeypatch.delenv(name, raising=False)
    key, secret = environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]
    client = {"endpoint_url": environment["AWS_ENDPOINT_URL_S3"]}
    saved = S3Bucket(
        bucket_name=bucket,
        bucket_folder="calls",
        credentials=AwsCredentials(
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            region_name="us-east-1",
            aws_client_parameters=client,
        )
        if credentials == "aws"
        else MinIOCredentials(
            minio_root_user=key, minio_root_password=secret, region_name="us-east-1", aws_client_parameters=client
        ),
    )

    asyncio.run(saved.asave(f"calls-{credentials}", overwrite=True))
    address = f"block://s3-bucket/calls-{credentials}"
    open_location(address).put_bytes("2026/a.wav", b"sound")
    below, _ = asyncio.run(open_stores(f"{address}/2026", address))
    assert (below.uri, below.address) == (f"s3://{bucket}/calls/2026", f"{address}/2026")
    assert [info.key for info in below.list()] == ["a.wav"]


def test_a_saved_folder_is_opened(tmp_path: Path) -> None:
    (tmp_path / "today").mkdir()
    (tmp_path / "today" / "a.wav").write_bytes(b"sound")

    asyncio.run(LocalFileSystem(basepath=str(tmp_path)).asave("inbox", overwrite=True))
    store = open_location("block://local-file-system/inbox/today", must_exist=True)
    assert [info.key for info in store.list()] == ["a.wav"]
    assert store.uri_of("a.wav") == (tmp_path / "today" / "a.wav").as_uri()


def test_an_address_is_opened_directly(tmp_path: Path) -> None:
    store = open_location(str(tmp_path))
    assert store.uri == store.address == tmp_path.as_uri()


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("block://s3-bucket/nobody/prefix", ErrorCode.OBJECT_NOT_FOUND),
        ("block://s3-bucket", ErrorCode.OBJECT_NOT_FOUND),
        ("block://secret/password", ErrorCode.LOCATION_INVALID),
        ("block://", ErrorCode.LOCATION_INVALID),
    ],
)
def test_a_misspelt_block_name_is_reported(location: str, code: ErrorCode) -> None:
    with pytest.raises(SetupError) as caught:
        open_location(location)
    assert caught.value.code is code
