"""Locations by name, with credentials of their own; and what a misspelt one says."""

import asyncio
from pathlib import Path

import pytest
from prefect.filesystems import LocalFileSystem
from prefect_aws import AwsCredentials, MinIOCredentials, S3Bucket

from stenopool.errors import ErrorCode, SetupError
from stenopool.orchestration.blocks.locations import opened
from tests.support.seaweedfs import SeaweedFS

pytestmark = pytest.mark.usefixtures("prefect_api")


@pytest.mark.parametrize("credentials", ["aws", "minio"])
def test_a_saved_bucket_needs_nothing_from_the_environment(
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

    async def stored() -> list[str]:
        await saved.asave(f"calls-{credentials}", overwrite=True)
        whole = await opened(f"block://s3-bucket/calls-{credentials}")
        whole.put_bytes("2026/a.wav", b"sound")
        below = await opened(f"block://s3-bucket/calls-{credentials}/2026", must_exist=True)
        assert below.uri == f"s3://{bucket}/calls/2026"
        return [info.key for info in below.list()]

    assert asyncio.run(stored()) == ["a.wav"]


def test_a_saved_folder(tmp_path: Path) -> None:
    (tmp_path / "today").mkdir()
    (tmp_path / "today" / "a.wav").write_bytes(b"sound")

    async def stored() -> list[str]:
        await LocalFileSystem(basepath=str(tmp_path)).asave("inbox", overwrite=True)
        return [info.key for info in (await opened("block://local-file-system/inbox/today", must_exist=True)).list()]

    assert asyncio.run(stored()) == ["a.wav"]


def test_an_address_is_an_address(tmp_path: Path) -> None:
    assert asyncio.run(opened(str(tmp_path))).uri == tmp_path.as_uri()


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("block://s3-bucket/nobody/prefix", ErrorCode.OBJECT_NOT_FOUND),
        ("block://s3-bucket", ErrorCode.OBJECT_NOT_FOUND),
        ("block://secret/password", ErrorCode.LOCATION_INVALID),
        ("block://", ErrorCode.LOCATION_INVALID),
    ],
)
def test_a_misspelt_block_is_named(location: str, code: ErrorCode) -> None:
    with pytest.raises(SetupError) as caught:
        asyncio.run(opened(location))
    assert caught.value.code is code
