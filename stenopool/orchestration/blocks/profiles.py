"""Saved options, selected by name in a form, a schedule or a request, and edited in the Prefect UI."""

from typing import Annotated, Any, TypeVar

from prefect.blocks.core import Block
from pydantic import BaseModel, Field, ValidationError, WrapValidator

from stenopool.errors import ObjectNotFound, OptionsInvalid
from stenopool.options import STORED, ExecutionOptions, TranscriptionOptions

M = TypeVar("M", bound=BaseModel)


def _read_stored(options: Any, _: object) -> TranscriptionOptions:
    return TranscriptionOptions.model_validate(options, context=STORED)


class TranscriptionProfile(Block):
    """Named options, e.g. `calls-german`. They contain no secrets: tokens and keys come from the environment."""

    _block_type_name = "Transcription Profile"
    _block_type_slug = "transcription-profile"
    _description = "How recordings are transcribed: engine, model, language, speakers, formats."
    _code_example = "uv run stenopool deploy --target local"

    options: Annotated[TranscriptionOptions, WrapValidator(_read_stored)] = Field(
        default_factory=TranscriptionOptions, description="Transcription options; part of the fingerprint."
    )
    execution: ExecutionOptions = Field(
        default_factory=ExecutionOptions, description="Execution options: device, formats, limits."
    )


async def register() -> None:
    """Register Stenopool's and prefect-aws's block types; save the profile `default` if it does not exist."""
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
    """The saved profile's options, overridden by given options that are not the default.

    Raises `ObjectNotFound` for an unknown name, and `OptionsInvalid` if the two cannot be combined.
    """
    if not profile:
        return options, execution
    try:
        saved: TranscriptionProfile = await TranscriptionProfile.aload(profile)
    except ValueError as error:
        raise ObjectNotFound(
            f"The transcription profile {profile!r} does not exist.",
            remedy="The Prefect UI lists saved profiles under Blocks. Or leave the profile empty.",
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
            f"The profile {profile!r} cannot be combined with the given options: {faults}.",
            remedy="Change the given options, or the profile in the Prefect UI under Blocks.",
        ) from error
