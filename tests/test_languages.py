"""Marks that end sentences, wherever they matter: segments, speakers, subtitles; and blanks between texts."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stenopool.languages import (
    CLAUSE_END,
    SENTENCE_END,
    _spellings,
    ends_clause,
    ends_sentence,
    find_blanks,
    find_language,
    have_blank_between,
    join_texts,
    language_names,
    suggest_language,
)
from stenopool.options import SubtitleOptions
from stenopool.speech import speakers
from stenopool.speech.engines.assembly import split_sentences
from stenopool.speech.renderers.subtitles import cues
from stenopool.speech.transcript import Segment, Transcript, Word


def _words(mark: str) -> list[Word]:
    texts = [" aaaa", f" bbbb{mark}", " Cccc", " dddd", " eeee"]
    return [Word(word=text, start=float(n), end=n + 0.9) for n, text in enumerate(texts)]


@pytest.mark.parametrize("mark", [*SENTENCE_END, "؟»", '।"', "。」"])
class TestSentenceEnd:
    def test_segments_are_cut_after_the_mark(self, mark: str) -> None:
        assert [len(part) for part in split_sentences(_words(mark))] == [2, 3]

    def test_speakers_are_smoothed_within_a_sentence(self, mark: str) -> None:
        assert list(speakers._sentences(_words(mark))) == [(0, 2), (2, 5)]

    def test_subtitles_break_after_the_mark(self, mark: str) -> None:
        words = _words(mark)
        text = "".join(word.word for word in words)
        transcript = Transcript(language="en", segments=[Segment(start=0, end=5, text=text, words=words)])
        style = SubtitleOptions(max_line_width=16, max_line_count=1)
        shown = [[token.text for line in cue.lines for token in line] for cue in cues(transcript, style, lambda _: "")]
        assert shown == [["aaaa", f"bbbb{mark}"], ["Cccc", "dddd", "eeee"]]


def test_a_mark_ends_a_sentence_or_a_clause() -> None:
    assert not set(SENTENCE_END) & set(CLAUSE_END)
    assert all(ends_sentence(f"x{mark}") and not ends_clause(f"x{mark}") for mark in SENTENCE_END)
    assert all(ends_clause(f"x{mark}") and not ends_sentence(f"x{mark}") for mark in CLAUSE_END)
    assert not any((ends_sentence("x"), ends_clause("x"), ends_sentence("")))


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("en-US", "en"),
        ("pt_BR", "pt"),
        ("english", "en"),
        ("EN", "en"),
        ("zh-Hant", "zh"),
        ("German", "de"),
        # Related codes: locales, extended and three-letter tags, aliases, names with a country.
        ("de_DE.UTF-8", "de"),
        ("ca_ES@valencia", "ca"),
        ("zh-yue-HK", "yue"),
        ("zh-cmn-Hans-CN", "zh"),
        ("es-419", "es"),
        ("deu", "de"),
        ("ger", "de"),
        ("nb-NO", "no"),
        ("iw", "he"),
        ("fil-PH", "tl"),
        ("Castilian", "es"),
        ("haitian_creole", "ht"),
        ("Chinese (Simplified)", "zh"),
        (" Norwegian ", "no"),
        *((text, None) for text in ("", "klingon", "C", "und", "xx-en", "en-", "en,de", "en-US-", "e", "-en")),
    ],
)
def test_a_language_is_found_in_any_spelling(given: str, code: str | None) -> None:
    assert find_language(given) == code


@given(
    st.sampled_from(sorted({*language_names(), *language_names().values()})),
    st.sampled_from(["", "-US", "_br", "-Latn-RS", "_DE.UTF-8", " (Somewhere)"]),
    st.sampled_from([str.upper, str.title, str.lower]),
)
def test_case_region_and_script_do_not_matter(spelling: str, region: str, change: Callable[[str], str]) -> None:
    code = next(code for code, name in language_names().items() if spelling in (code, name))
    is_tag = len(spelling) <= 3
    assert find_language(change(spelling + (region if is_tag or "(" in region else ""))) == code


def test_no_spelling_has_two_languages() -> None:
    everything = [(code, spelling) for code, spellings in _spellings().items() for spelling in {code, *spellings}]
    assert len({spelling for _, spelling in everything}) == len(everything)


@pytest.mark.parametrize(("given", "said"), [("germn", "de (german)"), ("Protuguese", "pt (portuguese)"), ("qq", "")])
def test_a_misspelt_language_gets_a_suggestion(given: str, said: str) -> None:
    suggestion = suggest_language(given)
    assert said in suggestion if said else suggestion == ""


@pytest.mark.parametrize(
    ("before", "after", "blank"),
    [
        ("Hello.", "Bye.", True),
        ("你好。", "再见", False),
        ("你好吗?", "我很好", False),  # half-width marks, as Whisper often writes them
        ("我生于1990", "年", False),
        ("「はい」", "「いいえ」", False),
        ("สวัสดี", "ชาวโลก", False),
        ("ភាសា។", "ខ្មែរ", False),
        ("မင်္ဂလာပါ။", "ကျေးဇူး", False),
        ("ສະບາຍດີ", "ໂລກ", False),
        ("안녕하세요.", "반갑습니다.", True),
        ("你好。", "Hello.", True),  # also in a recording whose language is Chinese
        ("OpenAI", "Python", True),
        ("नमस्ते।", "दुनिया", True),
    ],
)
def test_the_scripts_on_both_sides_decide_about_the_blank(before: str, after: str, blank: bool) -> None:
    assert have_blank_between(before, after) is blank
    assert join_texts(["", before, " ", f" {after} "]) == f"{before}{' ' * blank}{after}"


def test_blanks_are_found_in_the_text_of_the_words() -> None:
    assert find_blanks(["我用", "Open", "AI", "写", "代码"], "我用Open AI 写代码") == [False, False, True, True, False]
    assert find_blanks(["Hello", "there"], "Hello, there") is None
    assert find_blanks(["Hello"], "Hello there") is None
