"""The block types made known to a server, and a first profile to start from. As often as one likes."""

from prefect.blocks.core import Block

from stenopool.orchestration.blocks.profiles import TranscriptionProfile

DEFAULT_PROFILE = "default"


async def register() -> None:
    """Register our block types and prefect-aws's; save the profile `default` unless somebody has."""
    from prefect.filesystems import LocalFileSystem
    from prefect_aws import AwsCredentials, MinIOCredentials, S3Bucket

    kinds: tuple[type[Block], ...] = (AwsCredentials, MinIOCredentials, S3Bucket, LocalFileSystem, TranscriptionProfile)
    for kind in kinds:
        await kind.aregister_type_and_schema()
    try:
        await TranscriptionProfile.aload(DEFAULT_PROFILE)
    except ValueError:
        await TranscriptionProfile().asave(DEFAULT_PROFILE)
