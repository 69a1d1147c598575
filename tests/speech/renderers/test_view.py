"""The page: its contents, and that it loads nothing but the recording."""

import base64
import hashlib
import re

from stenopool.speech.renderers import render
from stenopool.speech.transcript import LOW_CONFIDENCE, TRUNCATED, Segment, Transcript
from tests.speech.renderers.samples import conversation, spoken


def test_words_carry_their_times() -> None:
    page = render(conversation(), "html")
    assert '<span data-t="0.5" data-e="1.0">Hello</span> <span data-t="1.0" data-e="1.5">there.</span>' in page


def test_the_header_shows_recording_and_settings() -> None:
    page = render(conversation(), "html")
    for fact in (
        '<h1 dir="auto">call 1.wav</h1>',
        "0:09",
        "English (98%)",
        "base · faster-whisper",
        "22 November 2026",
    ):
        assert fact in page
    assert "<title>Monday&#39;s call</title>" in render(conversation(), "html", title="Monday's call")


def test_flags_are_shown_in_words() -> None:
    transcript = conversation()
    transcript.segments[0].flags = [LOW_CONFIDENCE]
    transcript.flags = [TRUNCATED]
    page = render(transcript, "html")
    assert "may be a hallucination" in page
    assert "low confidence" in page
    assert "<dd>truncated</dd>" in page


def test_speakers_have_a_colour_each_and_a_lane() -> None:
    page = render(conversation(), "html")
    assert len(re.findall(r'<div class="lane c\d">', page)) == 2
    assert '<rect x="2.0" width="2.125" height="1"/>' in page
    assert re.findall(r'<div class="paragraph change (c\d)">', page) == ["c0", "c1"]


def test_without_turns_the_timeline_uses_the_words() -> None:
    page = render(Transcript(duration=9, segments=[spoken("One two.", 1)]), "html")
    assert '<rect x="1.0" width="1.0" height="1"/>' in page


def test_a_change_of_language_is_marked_visibly_and_for_screen_readers() -> None:
    transcript = Transcript(language="en", segments=[spoken("Hello."), spoken("Grüß Gott.", 1, language="de")])
    page = render(transcript, "html")
    assert '<main id="text" lang="en"' in page
    assert '<span lang="de"><abbr dir="ltr">de</abbr><span' in page
    assert page.count("<abbr") == 1


def test_the_player_plays_the_given_audio_and_otherwise_asks_for_a_file() -> None:
    player = re.compile(r"<audio [^>]*>")
    with_audio = render(conversation(), "html", audio='a"b.wav')
    assert 'src="a&#34;b.wav"' in player.search(with_audio).group()  # type: ignore[union-attr]
    assert '<label id="choose" hidden>' in with_audio
    without = render(conversation(), "html")
    assert "src=" not in player.search(without).group()  # type: ignore[union-attr]
    assert '<label id="choose">' in without


def test_the_page_loads_nothing_else() -> None:
    page = render(conversation(), "html")
    assert not re.search(r"<link|<img|<iframe|@import|url\(|https?://", page)
    assert not re.search(r"\sstyle=|\son\w+=", page)  # the policy would block them
    assert "default-src 'none'" in page


def test_the_policy_names_the_actual_script_and_style() -> None:
    page = render(conversation(), "html")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page).group(1)  # type: ignore[union-attr]
    for tag in ("script", "style"):
        (content,) = re.findall(f"<{tag}[^>]*>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}';" in policy


def test_hostile_text_stays_text() -> None:
    hostile = '</script><script>alert(1)</script> " onload=x'
    transcript = Transcript(language=hostile, segments=[Segment(start=0, end=1, text=hostile, speaker=hostile)])
    page = render(transcript, "html", title=hostile)
    assert page.count("<script") == 1
    assert "alert(1)</" not in page


def test_a_long_monologue_is_broken_into_paragraphs() -> None:
    segments = [spoken("word " * 20, start=10 * n) for n in range(30)]
    assert 3 <= render(Transcript(segments=segments), "html").count('class="time"') <= 10
