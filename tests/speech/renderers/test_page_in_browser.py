"""The page in a real browser: text of every script is in its order, and found across sentences."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from stenopool.speech.renderers import render
from stenopool.speech.transcript import Segment, Transcript
from tests.support.browser import needs_chromium, watched

pytestmark = needs_chromium

SENTENCES = {
    "zh": ("我们去广州。", "市场很大。"),
    "th": ("สวัสดีชาว", "โลกวันนี้"),
    "ar": ("OpenAI هي شركة كبيرة،", "أليس كذلك؟"),
    "he": ("GPS הוא מילה,", "נכון?"),
    "en": ("שלום means peace,", "they say."),
    "fr": ("Cafe\u0301 noir,", "Mme le Maire."),
}


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Page:
    segments = [
        Segment(start=9.0 * n + at, end=9.0 * n + at + 1, text=text, language=language)
        for n, (language, sentences) in enumerate(SENTENCES.items())
        for at, text in enumerate(sentences)
    ]
    file = tmp_path / "transcript.html"
    file.write_text(render(Transcript(language="en", duration=60, segments=segments), "html"), encoding="utf-8")
    opened = browser.new_page()
    opened.goto(file.as_uri())
    return opened


def test_words_are_in_the_direction_of_most_of_the_text(page: Page) -> None:
    wrong = watched(page)
    for paragraph, (language, sentences) in zip(page.locator("#text p").all(), SENTENCES.items(), strict=True):
        words = paragraph.locator("[data-t]")
        assert words.count() >= 2
        begins = [box["x"] for word in (words.first, words.last) if (box := word.bounding_box())]
        from_the_right = language in ("ar", "he")
        assert (begins[0] > begins[1]) is from_the_right, sentences
    assert wrong == []


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("广州。市场", 1),
        ("ชาวโลก", 1),
        ("كبيرة، أليس", 1),
        ("peace, they", 1),
        ("café noir, mme", 1),
        ("广州。 市场", 0),
    ],
)
def test_text_is_found_across_sentences(page: Page, query: str, found: int) -> None:
    page.get_by_role("searchbox").fill(query)
    expect(page.locator("#search output")).to_have_text("1 of 1" if found else "No matches")
