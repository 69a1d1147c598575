"""OpenAI's fields as clients write them: all spellings mean the same; what promises something is not ignored."""

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stenopool.api.allow_lists import AllowLists
from stenopool.api.openai_form import _PROMPT, FIELDS, IGNORED, _cut, parse_form
from stenopool.api.problems import Problem
from stenopool.api.service import Service
from stenopool.api.uploads import Form
from stenopool.languages import _spellings, language_names
from stenopool.settings import ApiSettings

DEFAULTS = {"engine", "model", "diarization"}


@pytest.fixture(scope="module")
def service() -> Service:
    """As much of a service as a form needs."""
    service = object.__new__(Service)
    service.allow_lists = AllowLists(ApiSettings(model="large-v3", models=("base",)))
    return service


def parse(service: Service, **fields: str | list[str]) -> Any:
    values = {name: [value] if isinstance(value, str) else value for name, value in fields.items()}
    return parse_form(service, Form(values), "transcribe")


@pytest.mark.parametrize(
    ("values", "meant"),
    [
        (["word"], ("word",)),
        (["segment", "word"], ("segment", "word")),
        (["word,segment"], ("segment", "word")),
        (["word, segment"], ("segment", "word")),
        (['["word"]'], ("word",)),
        (['["word", "segment"]'], ("segment", "word")),
        (['"word"'], ("word",)),
        (["word", "word"], ("word",)),
        ([""], ()),
        (["[]"], ()),
    ],
)
def test_granularities(service: Service, values: list[str], meant: tuple[str, ...]) -> None:
    asked = parse(service, **{"timestamp_granularities[]": values, "response_format": "verbose_json"})
    assert asked.granularities == meant


@pytest.mark.parametrize("values", [["syllable"], ["[1]"], ['{"a": 1}'], ["[["], ["word;segment"]])
def test_granularities_that_mean_nothing(service: Service, values: list[str]) -> None:
    with pytest.raises(Problem) as refused:
        parse(service, **{"timestamp_granularities[]": values, "response_format": "verbose_json"})
    assert "timestamp_granularities[]" in refused.value.detail


@given(st.integers(0, 100), st.sampled_from(["{}", "{:.2f}", "{:.1f}", "{:g}", " {} ", "+{}", "{:e}"]))
def test_every_way_to_write_a_temperature(service: Service, hundredths: int, form: str) -> None:
    text = form.format(hundredths / 100)
    assert parse(service, temperature=text).options.temperature == float(text)


@pytest.mark.parametrize("text", ["0", "0.0", "0.00", "-0", "0e0", ""])
def test_the_default_temperature_changes_no_fingerprint(service: Service, text: str) -> None:
    assert "temperature" not in parse(service, temperature=text).options.model_dump(exclude_defaults=True)


@pytest.mark.parametrize(
    ("texts", "meant"),
    [(["true", "True", "TRUE", "1", "on", "yes"], True), (["false", "False", "0", "off", "no", "", " "], False)],
)
def test_every_way_to_write_a_boolean(service: Service, texts: list[str], meant: bool) -> None:
    for text in texts:
        assert parse(service, stream=text).is_streamed is meant
        assert parse(service, highlight_words=text).subtitles.highlight_words is meant


@pytest.mark.parametrize("text", ["42", " 42", "42.0"])
def test_every_way_to_write_a_number(service: Service, text: str) -> None:
    assert parse(service, max_line_width=text).subtitles.max_line_width == 42


def _languages() -> list[tuple[str, str]]:
    """Each language in each of its spellings, and in those that clients make of them."""
    tags = ["{}-US", "{}_BR", "{}-Hant", "{}-Latn-RS", "{}_DE.UTF-8"]
    found = []
    for code, spellings in _spellings().items():
        for spelling in {code, *spellings}:
            forms = ["{}"] if len(spelling) > 3 else ["{}", *tags]
            found += [
                (change(form.format(spelling)), code) for form, change in product(forms, [str, str.upper, str.title])
            ]
    return found


def test_every_spelling_of_every_language(service: Service) -> None:
    cases = _languages()
    assert {code for _, code in cases} == set(language_names())
    for text, code in cases:
        assert parse(service, language=text).options.language == code, text
    assert parse(service, language="auto").options.language == "auto"


def test_fields_that_promise_nothing_are_ignored(service: Service) -> None:
    plain = parse(service)
    for name, values in IGNORED.items():
        assert name in FIELDS
        for value in ("", *(values or ("x",)), *(values or ())[:1]):
            for text in (value, value.upper(), f" {value} "):
                assert parse(service, **{name: text}) == plain, name
        if values is not None:
            with pytest.raises(Problem) as refused:
                parse(service, **{name: "other"})
            assert name in refused.value.detail


@given(st.text(st.characters(codec="utf-8", exclude_characters="<|>"), max_size=3 * _PROMPT))
def test_of_a_prompt_the_end_is_kept(prompt: str) -> None:
    cut, whole = _cut(prompt), prompt.strip()
    assert whole.endswith(cut)
    assert len(cut) <= _PROMPT
    assert cut == whole or len(whole) > _PROMPT


def test_a_long_prompt_is_cut_at_a_word(service: Service) -> None:
    prompt = parse(service, prompt="Stenopool " * 1000).options.prompt
    assert prompt.split() == ["Stenopool"] * len(prompt.split())
    assert len(prompt) > _PROMPT - 20


def test_an_unknown_model_is_answered_with_the_list(service: Service) -> None:
    with pytest.raises(Problem) as refused:
        parse(service, model="nova-2")
    assert "'nova-2'" in refused.value.detail
    for name in ("large-v3", "base", "whisper-1"):
        assert name in refused.value.remedy
    assert parse(service, model="base").options.model == "base"
    assert parse(service, model="whisper-1").options.model == "large-v3"
