"""Saved options, combined with options in the request."""

import asyncio

import pytest

from stenopool.errors import ErrorCode, SetupError
from stenopool.options import STORED, ExecutionOptions, TranscriptionOptions
from stenopool.orchestration.blocks.profiles import TranscriptionProfile, apply_profile

pytestmark = pytest.mark.usefixtures("prefect_api")

GERMAN = TranscriptionProfile(
    options=TranscriptionOptions(language="de", diarization="off"),
    execution=ExecutionOptions(formats=("json", "srt"), max_line_width=30),
)


def resolved(profile: str | None, **given: object) -> tuple[TranscriptionOptions, ExecutionOptions]:
    async def both() -> tuple[TranscriptionOptions, ExecutionOptions]:
        await GERMAN.asave("german", overwrite=True)
        return await apply_profile(profile, TranscriptionOptions.model_validate(given), ExecutionOptions())

    return asyncio.run(both())


def test_a_profile_returns_the_saved_options() -> None:
    assert resolved("german") == (GERMAN.options, GERMAN.execution)


def test_given_options_take_precedence_over_the_profile() -> None:
    options, _ = resolved("german", beam_size=2, language="fr")
    assert options == TranscriptionOptions(language="fr", diarization="off", beam_size=2)


def test_without_a_profile_nothing_changes() -> None:
    assert resolved(None, beam_size=2) == (TranscriptionOptions(beam_size=2), ExecutionOptions())


def test_an_unknown_profile_is_reported() -> None:
    with pytest.raises(SetupError, match="'dutch'") as caught:
        resolved("dutch")
    assert caught.value.code is ErrorCode.OBJECT_NOT_FOUND


def test_a_profile_and_options_that_disagree_are_refused() -> None:
    with pytest.raises(SetupError) as caught:
        resolved("german", speakers=2)
    assert caught.value.code is ErrorCode.OPTIONS_INVALID


@pytest.mark.parametrize(
    ("stored", "given", "named"),
    [
        ({"model": "turbo", "task": "translate"}, {}, "model=turbo and task=translate"),
        ({"model": "distil-large-v3"}, {"language": "de"}, "model=distil-large-v3 and language=de"),
        ({"model": "turbo"}, {"task": "translate"}, "use large-v3 or medium"),
        ({"prompt": "<|nospeech|>"}, {}, "control token"),
    ],
)
def test_a_profile_that_its_model_cannot_honour_is_refused(
    stored: dict[str, str], given: dict[str, str], named: str
) -> None:
    profile = TranscriptionProfile(options=TranscriptionOptions.model_validate(stored, context=STORED))

    async def apply() -> None:
        await profile.asave("stored", overwrite=True)
        await apply_profile("stored", TranscriptionOptions.model_validate(given), ExecutionOptions())

    with pytest.raises(SetupError, match=named) as caught:
        asyncio.run(apply())
    assert caught.value.code is ErrorCode.OPTIONS_INVALID
    assert "stored" in caught.value.message


def test_an_old_profile_without_bounds_is_read_and_refused_by_its_field() -> None:
    old = GERMAN.model_copy()
    old.options = TranscriptionOptions.model_validate({"vocabulary": ["x"] * 600}, context=STORED)

    async def apply() -> None:
        await old.asave("old", overwrite=True)
        assert len((await TranscriptionProfile.aload("old")).options.vocabulary) == 600
        await apply_profile("old", TranscriptionOptions(), ExecutionOptions())

    with pytest.raises(SetupError, match="vocabulary") as caught:
        asyncio.run(apply())
    assert caught.value.code is ErrorCode.OPTIONS_INVALID
