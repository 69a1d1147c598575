"""Saved options: chosen by name in a form, a schedule or a request, changed in Prefect's page."""

from typing import Annotated, Any, TypeVar

from prefect.blocks.core import Block
from pydantic import BaseModel, Field, ValidationError, WrapValidator

from stenopool.errors import ObjectNotFound, OptionsInvalid
from stenopool.options import STORED, ExecutionOptions, TranscriptionOptions

M = TypeVar("M", bound=BaseModel)


def _read_stored(options: Any, _: object) -> TranscriptionOptions:
    return TranscriptionOptions.model_validate(options, context=STORED)


class TranscriptionProfile(Block):
    """Options under a name, e.g. `calls-german`. It holds no secret: tokens and keys come from the environment."""

    _block_type_name = "Transcription Profile"
    _block_type_slug = "transcription-profile"
    _description = "How recordings are transcribed: engine, model, language, speakers, formats."
    _code_example = "uv run stenopool deploy --target local"

    options: Annotated[TranscriptionOptions, WrapValidator(_read_stored)] = Field(
        default_factory=TranscriptionOptions, description="What to transcribe how; makes the fingerprint."
    )
    execution: ExecutionOptions = Field(
        default_factory=ExecutionOptions, description="How it is done: device, formats, limits."
    )


async def register() -> None:
    """Register our block types and prefect-aws's; save the profile `default` unless somebody has."""
    from prefect.filesystems import LocalFileSystem
    from prefect_aws import AwsCredentials, MinIOCredentials, S3Bucket

    kinds: tuple[type[Block], ...] = (AwsCredentials, MinIOCredentials, S3Bucket, LocalFileSystem, TranscriptionProfile)
    for kind in kinds:
        await kind.aregister_type_and_schema()
    try:
        await TranscriptionProfile.aload("default")
    except ValueError:
        await TranscriptionProfile().asave("default")


async def apply_profile(
    profile: str | None, options: TranscriptionOptions, execution: ExecutionOptions
) -> tuple[TranscriptionOptions, ExecutionOptions]:
    """The saved profile's options; whatever was given besides and is not the default goes before them.

    Raises `ObjectNotFound` for an unknown name, `OptionsInvalid` where the two do not go together.
    """
    if not profile:
        return options, execution
    try:
        saved: TranscriptionProfile = await TranscriptionProfile.aload(profile)
    except ValueError as error:
        raise ObjectNotFound(
            f"There is no transcription profile {profile!r}.",
            remedy="Prefect's page lists the saved ones under Blocks; or leave the profile empty.",
        ) from error
    return _over(profile, saved.options, options), _over(profile, saved.execution, execution)


def _over(profile: str, saved: M, given: M) -> M:
    try:
        return type(given).model_validate(saved.model_dump() | given.model_dump(exclude_defaults=True))
    except ValidationError as error:
        faults = "; ".join(
            ": ".join([*map(str, fault["loc"]), fault["msg"].removeprefix("Value error, ")]) for fault in error.errors()
        )
        raise OptionsInvalid(
            f"The profile {profile!r}, with the options given, cannot be used: {faults}.",
            remedy="Change the options given, or the profile: Prefect's page lists it under Blocks.",
        ) from error
